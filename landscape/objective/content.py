"""What examples a data set consists of, as a hash."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.objective.batch import Batch


class Content:
    """A hash of batches that is the same however the examples are divided into batches of tensors.

    Each place in a batch (the inputs, the targets, an entry of a dictionary) has a hash of its own, so that the bytes
    are read once, as they come, and none is copied.
    """

    def __init__(self, batches: Iterable[Batch] = ()) -> None:
        self._hashes: dict[str, Any] = {}
        self._kinds: dict[str, str] = {}
        self._is_opaque = False
        for batch in batches:
            self.add(batch)

    def add(self, batch: Batch, place: str = "") -> None:
        """Adds one more batch."""
        if isinstance(batch, (Mapping, tuple, list)):
            for key, value in batch.items() if isinstance(batch, Mapping) else enumerate(batch):
                self.add(value, f"{place}.{key!r}")
        elif isinstance(batch, Tensor) and batch.layout == torch.strided and not batch.is_nested:
            plain = batch.detach().as_subclass(Tensor).resolve_conj().resolve_neg().cpu().contiguous()
            # The bytes themselves, without a copy of tensors that are on the CPU and contiguous.
            data = plain.reshape(-1).view(torch.uint8).numpy()
            self._update(place, f"{batch.dtype}{list(batch.shape[1:])}", data)
        elif isinstance(batch, np.ndarray) and batch.dtype != object:
            self._update(place, f"{batch.dtype}{list(batch.shape[1:])}", batch.tobytes())
        elif batch is None or isinstance(batch, (bool, int, float, str, bytes)):
            self._update(place, type(batch).__name__, repr(batch).encode())
        else:
            self._is_opaque = True

    def digest(self) -> str | None:
        """The first 12 digits of the SHA-256; ``None`` if a batch contains objects whose bytes are not known."""
        pairs = sorted((place, part.hexdigest()) for place, part in self._hashes.items())
        return None if self._is_opaque else hashlib.sha256(repr(pairs).encode()).hexdigest()[:12]

    def _update(self, place: str, kind: str, data: Any) -> None:
        part = self._hashes.setdefault(place, hashlib.sha256())
        if self._kinds.get(place) != kind:  # at first, and where batches are padded to lengths of their own
            self._kinds[place] = kind
            part.update(kind.encode())
        part.update(data)
