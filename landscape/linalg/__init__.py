"""Iterative linear algebra on symmetric operators; knows nothing of networks."""
