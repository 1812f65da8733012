"""Measures of a point in the loss landscape, one quantity a file."""
