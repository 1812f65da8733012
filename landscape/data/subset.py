"""A fixed part of a data set, and a hash that tells whether two numbers come from the same examples."""

import hashlib
from collections.abc import Sized
from typing import Any, cast

import torch
from torch.utils.data import Dataset, Subset

from landscape.errors import UsageError


def subset(dataset: Dataset[Any], limit: int | None, *, seed: int = 0) -> tuple[Dataset[Any], str]:
    """The same ``limit`` examples every time, in the order of the data, and a SHA-256 of their indices (12 digits).

    With the same seed, a smaller limit selects a part of what a larger one selects.

    Args:
        dataset: Any data set with a length.
        limit: How many examples; ``None``, or more than there are, gives the data set itself.
        seed: Which examples.

    Raises:
        UsageError: A limit below 1.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"limit={limit}, but at least 1 example is needed; leave it out for all of them")
    size = len(cast(Sized, dataset))
    indices = torch.arange(size, device="cpu")
    if limit is not None and limit < size:
        order = torch.randperm(size, generator=torch.Generator().manual_seed(seed), device="cpu")
        indices = order[:limit].sort().values
        dataset = Subset(dataset, indices.tolist())
    # Little-endian, so that the hash is the same on every machine.
    return dataset, hashlib.sha256(indices.numpy().astype("<i8").tobytes()).hexdigest()[:12]
