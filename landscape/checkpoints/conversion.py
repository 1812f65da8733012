"""Converts any checkpoint to safetensors, a format that cannot hold code."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import safetensors.torch
from torch import Tensor

from landscape.checkpoints.archive import first_line
from landscape.checkpoints.opening import SUM, content_sum
from landscape.checkpoints.reading import RECIPE, Contents, read_checkpoint
from landscape.checkpoints.weights import Weights
from landscape.errors import InputError, UsageError
from landscape.records.storage import whole


def convert(
    source: str | Path,
    output: str | Path,
    *,
    trust: bool = False,
    weights: Weights | None = None,
    drop: Sequence[str] = (),
    rename: Sequence[str] = (),
    overwrite: bool = False,
) -> Contents:
    """Writes the weights of a checkpoint, and the recipe if it is ours, to safetensors.

    Names and types stay as they are, unless names are to change; tensors that share memory are written once each. A
    check sum of all of it is in the header, so that damage is noticed.

    Args:
        source: What :func:`landscape.checkpoints.read_checkpoint` reads.
        output: The file to write, completely or not at all.
        trust: Whether code stored in the file may run; only for files of your own.
        weights: ``"raw"`` or ``"ema"``.
        drop: What to leave out; see :func:`landscape.checkpoints.read_checkpoint`.
        rename: What gets another name.
        overwrite: Whether an existing file may be replaced.

    Returns:
        What was read.

    Raises:
        InputError: The checkpoint cannot be read.
        UsageError: The output exists, or does not end in ``.safetensors``.
    """
    target = Path(output)
    if target.suffix != ".safetensors":
        raise UsageError(
            f"{target}: '{target.suffix}' is not the suffix of safetensors; end it in .safetensors"
        )
    if target.exists() and not overwrite:
        raise UsageError(f"{target} exists; name another file, or add --overwrite (overwrite=True)")
    contents = read_checkpoint(source, trust=trust, weights=weights, drop=drop, rename=rename)
    if target.exists() and contents.path.exists() and target.samefile(contents.path):
        raise UsageError(f"{target} is the checkpoint itself; name another file")
    metadata = {"format": "pt"}  # transformers refuses files that do not say so
    if contents.recipe is not None:
        metadata[RECIPE] = json.dumps(contents.recipe)
    tensors = _apart(contents.state)
    metadata[SUM] = content_sum(tensors, metadata)
    try:
        with whole(target) as place:
            safetensors.torch.save_file(tensors, place, metadata=metadata)
    except (safetensors.SafetensorError, ValueError, KeyError) as failure:
        raise InputError(
            f"{contents.path} cannot be written as safetensors: {first_line(failure)}"
        ) from failure
    return contents


def _apart(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with memory of their own, as safetensors requires: the first in a storage keeps it if it fills it."""
    used: set[int] = set()
    apart = {}
    for name, tensor in state.items():
        storage = tensor.untyped_storage()
        own = storage.data_ptr() not in used and storage.nbytes() == tensor.nbytes and tensor.is_contiguous()
        used.add(storage.data_ptr())
        apart[name] = tensor.detach() if own else tensor.detach().clone().contiguous()
    return apart
