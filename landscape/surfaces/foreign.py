"""Surfaces computed by other programs: tomgoldstein/loss-landscape and Landscaper."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landscape.errors import InputError, UsageError
from landscape.records.reading import array_names, check_points, check_regular, read_arrays, reading
from landscape.records.surface import Surface
from landscape.registry.extras import install

HDF5 = b"\x89HDF\r\n\x1a\n"  # the first bytes of such a file
_NOT_COMPUTED = -1.0  # what loss-landscape fills its arrays with
_READ = ("xcoordinates", "ycoordinates", "train_loss", "train_acc", "test_loss", "test_acc")
_EXPECTED = (
    "a surface of tomgoldstein/loss-landscape has xcoordinates and train_loss, and its files of directions and "
    "projections are no surfaces"
)


def from_loss_landscape(path: Path) -> Surface:
    """The surface in an ``.h5`` file of tomgoldstein/loss-landscape.

    The loss is that of the training set if there is one, with that of the test set beside it, otherwise that of the
    test set. Points of value −1 were not computed.

    Reference:
        Li et al., "Visualizing the loss landscape of neural nets", 2018, arXiv:1712.09913; the layout is that of its
        published code, ``scheduler.py``.
    """
    stored = _datasets(path)
    splits = [split for split in ("train", "test") if f"{split}_loss" in stored]
    if "xcoordinates" not in stored or not splits:
        raise InputError(f"{path} holds {', '.join(sorted(stored))}; {_EXPECTED}")
    x, y = stored["xcoordinates"].reshape(-1), stored.get("ycoordinates", np.zeros(1)).reshape(-1)
    fields: dict[str, Any] = {}
    for split in splits:
        prefix = "" if split == splits[0] else "test_"
        fields[f"{prefix}loss"] = stored[f"{split}_loss"]
        if f"{split}_acc" in stored:
            fields[f"{prefix}accuracy"] = stored[f"{split}_acc"] / 100  # percentages
    for name, values in fields.items():
        if values.size != x.size * y.size:
            raise InputError(f"{path} has {values.size} values of {name} on {x.size} × {y.size} coordinates")
    computed = fields["loss"].reshape(-1) != _NOT_COMPUTED
    # Declared (nx, ny) but filled with the first coordinate running fastest: read as (ny, nx).
    fields = {
        name: np.where(computed, values.reshape(-1), np.nan).reshape(y.size, x.size)
        for name, values in fields.items()
    }
    meta = {"source": f"{path.name} of tomgoldstein/loss-landscape", "provenance": {"split": splits[0]}}
    shaped = {"accuracy": None, **fields, "computed": computed.reshape(y.size, x.size)}
    return _surface(path, x=x, y=y, meta=meta, **shaped)


def from_landscaper(path: Path) -> Surface:
    """The surface in an ``.npz`` file of Landscaper 1.3.1, ``LossLandscape.save``.

    Landscaper replaces losses that are not finite by the mean, and adds noise to the largest. That cannot be undone,
    and the caption mentions it.
    """
    arrays = read_arrays(path, what="surface")
    for name, array in arrays.items():
        check_points(path, name, array.size)
    loss, coordinates = arrays["loss"], arrays["coordinates"]
    if not all(array.dtype.kind in "fiu" for array in arrays.values()) or coordinates.ndim != 2:
        raise InputError(
            f"{path} holds no numbers of a surface of Landscaper; copy it again from where it was made"
        )
    if loss.ndim != 2 or len(coordinates) != 2:
        raise InputError(
            f"{path} is a surface of Landscaper along {loss.ndim} directions; drawn are those along two: compute it "
            "with dim=2"
        )
    source = f"{path.name} of Landscaper, which replaces losses that are not finite by their mean"
    x, y = coordinates
    computed = np.ones(loss.T.shape, bool)  # transposed: the first axis of its losses is the first direction
    return _surface(path, x=x, y=y, loss=loss.T, accuracy=None, computed=computed, meta={"source": source})


def is_landscaper(path: Path) -> bool:
    """Whether a file is a surface of Landscaper."""
    return set(array_names(path)) == {"loss", "coordinates"}


def _surface(path: Path, **fields: Any) -> Surface:
    try:
        return Surface(**fields)
    except ValueError as failure:
        raise InputError(f"{path} cannot be drawn: {failure}") from None


def _datasets(path: Path) -> dict[str, NDArray[np.float64]]:
    """The arrays of numbers in an HDF5 file."""
    try:
        import h5py
    except ImportError:
        raise UsageError(f"{path} is an HDF5 file, which needs h5py; {install('hdf5')} adds it") from None
    check_regular(path)
    try:
        with reading(path, "surface"), h5py.File(path, "r") as file:
            datasets = {name: file[name] for name in _READ if _is_stored_here(file, name, h5py)}
            numbers = {name: data for name, data in datasets.items() if data.dtype.kind in "fiu"}
            if not numbers:
                others = ", ".join(itertools.islice(file, 8)) or "nothing"
                raise InputError(f"{path} holds {others}; {_EXPECTED}")
            for name, dataset in numbers.items():
                # Compressed data are unpacked a chunk at a time, so that a chunk must not be too large either.
                check_points(path, name, max(dataset.size or 0, math.prod(dataset.chunks or ())))
            return {name: np.asarray(dataset[()], np.float64) for name, dataset in numbers.items()}
    except InputError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as failure:
        reason = (str(failure).splitlines() or [type(failure).__name__])[0]
        raise InputError(
            f"{path} is damaged or not HDF5 ({reason}); copy it again from where it was made"
        ) from None


def _is_stored_here(file: Any, name: str, h5py: Any) -> bool:
    """Whether a data set lies in the file itself: a link or parts elsewhere would make us open other files."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        return False
    dataset = file[name]
    return isinstance(dataset, h5py.Dataset) and not dataset.is_virtual and not dataset.external
