"""Where the eigenvalue searches of a run start: the eigenvectors of its last two measurements, kept beside it.

In memory alone, they would be lost with the process, and what is measured after an interruption would differ from an
uninterrupted run in the last digits, and in the number of products. They are rounded to two bytes a number, also where
nothing is interrupted: the start of a search is a hint to which a tenth of noise is added, and the file stays about as
large as the weights of the network twice.
"""

import io
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from landscape.checkpoints.opening import open_file
from landscape.checkpoints.pinned import pinned
from landscape.errors import InputError, Remark
from landscape.records.storage import write_whole

Starts = dict[str, dict[int, Tensor]]
"""By split and epoch, ``(n,)`` each."""


def read(path: Path) -> Starts:
    """What :func:`write` wrote; nothing, with a remark, if the file is damaged."""
    if not path.exists():
        return {}
    try:
        with pinned(path) as held:
            content = open_file(held.file, trust=False).content
        if not _is_starts(content):
            raise InputError(f"{path} is of another kind")
    except InputError:
        warnings.warn(
            f"{path} is damaged; eigenvalue searches start from the gradient, with the same results within their "
            "residuals",
            Remark,
            stacklevel=2,
        )
        return {}
    return {split: dict(vectors) for split, vectors in content.items()}  # type: ignore[attr-defined]


def before(starts: Starts, split: str, epoch: int) -> Tensor | None:
    """The eigenvector of the last measurement on a split before an epoch."""
    earlier = [e for e in starts.get(split, {}) if e < epoch]
    return starts[split][max(earlier)] if earlier else None


def write(path: Path, starts: Starts, split: str, epoch: int, vector: Tensor) -> Starts:
    """Keep the eigenvector of an epoch, and the one before it.

    The one before is where the search starts again if the process is killed before the new number is on disk.

    Returns:
        The starts with the new one.
    """
    earlier = {e: v for e, v in starts.get(split, {}).items() if e < epoch}
    kept = {e: earlier[e] for e in sorted(earlier)[-1:]} | {epoch: vector.detach().cpu().bfloat16()}
    starts = {**starts, split: kept}
    buffer = io.BytesIO()
    torch.save({name: starts[name] for name in sorted(starts)}, buffer)
    write_whole(path, buffer.getvalue())
    return starts


def _is_starts(content: object) -> bool:
    return isinstance(content, Mapping) and all(
        isinstance(vectors, Mapping)
        and all(isinstance(epoch, int) and isinstance(vector, Tensor) for epoch, vector in vectors.items())
        for vectors in content.values()
    )
