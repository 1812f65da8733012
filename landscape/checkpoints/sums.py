"""A check sum in safetensors, a format without: what ``landscape convert`` writes is verified when it is read.

Of safetensors from elsewhere, and of what torch wrote before version 1.6, nothing says what they held. For these, the
records of measures keep the hash of the file, and say when it is another one than that of an earlier measure.
"""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

SUM = "landscape.sha256"
"""Where it is in the header."""


def content_sum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """The SHA-256 of names, types, shapes and values, and of the texts in the header but the sum itself."""
    digest = hashlib.sha256()
    for key in sorted(metadata):
        if key != SUM:
            digest.update(repr((key, metadata[key])).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        digest.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
