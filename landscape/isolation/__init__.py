"""Contexts that leave no trace: random generators, autograd and the kernels of torch are afterwards what they were."""
