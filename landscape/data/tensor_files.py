"""Examples that are already tensors: ``npz:FILE`` and ``safetensors:FILE``, read without running any code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from landscape.data.examples import Data, InMemory
from landscape.data.normalisation import moments
from landscape.errors import InputError
from landscape.records.reading import check_regular, read_arrays, reading
from landscape.registry.names import Row

KEYS = (
    ("train_inputs", "train_targets", "test_inputs", "test_targets"),
    ("x_train", "y_train", "x_test", "y_test"),
    ("inputs", "targets", "", ""),
    ("x", "y", "", ""),
)
"""The names of the arrays, the first set that is there: training inputs and targets, held-out ones."""

Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]
Normalisation = Literal["none", "half", "imagenet", "cifar10", "cifar10-per-image", "cifar100", "mnist"]


def tensor_file(name: str) -> Row[Data] | None:
    """The row of ``npz:FILE`` or ``safetensors:FILE``, or ``None`` where ``name`` is something else."""
    kind, colon, file = name.partition(":")
    if kind not in ("npz", "safetensors") or not colon or not file:
        return None

    def build(*, classes: int | None = None, normalize: Normalisation = "none") -> Data:
        return tensors_at(f"{kind}:{file}", classes=classes, normalize=normalize)

    return Row(name, build, f"tensors in {file}")


def tensors_at(name: str, *, classes: int | None = None, normalize: Normalisation = "none") -> Data:
    """The examples in a file: arrays ``train_inputs``, ``train_targets``, ``test_inputs``, ``test_targets``.

    ``x_train``, ``y_train``, ``x_test``, ``y_test``, or ``inputs`` and ``targets`` (or ``x`` and ``y``) for
    training examples alone, do as well. Inputs of 8 bits are pictures, with the channels first or last or without
    any, and become ``(pixel/255 − mean)/std``; floats and token numbers stay as they are. Whole targets ``(N,)``
    are class numbers.

    Args:
        name: ``npz:FILE`` or ``safetensors:FILE``.
        classes: How many there are; by default one more than the largest class number.
        normalize: Of pictures; see :data:`landscape.data.normalisation.NORMALISATIONS`.

    Raises:
        InputError: The file is missing, damaged, would run code, or does not hold such arrays.
    """
    kind, _, file = name.partition(":")
    path = Path(file).expanduser()
    if not path.is_file():
        raise InputError(f"{name}: there is no file {path}")
    held = _npz(path) if kind == "npz" else _safetensors(path)
    keys = next((keys for keys in KEYS if keys[0] in held and keys[1] in held), None)
    if keys is None:
        expected = "; ".join(", ".join(key for key in keys if key) for keys in KEYS[:3])
        raise InputError(f"{name} holds {', '.join(held) or 'nothing'}; expected one of: {expected}")
    train = _part(name, held[keys[0]], held[keys[1]], normalize)
    test = None
    if keys[2] in held and keys[3] in held:
        test = _part(name, held[keys[2]], held[keys[3]], normalize)
        if test.inputs.shape[1:] != train.inputs.shape[1:]:
            raise InputError(
                f"{name}: a training input has the shape {tuple(train.inputs.shape[1:])}, a held-out one "
                f"{tuple(test.inputs.shape[1:])}"
            )
    if classes is None and not train.targets.is_floating_point() and train.targets.ndim == 1:
        classes = 1 + max(int(part.targets.max()) for part in (train, test) if part is not None)
    return Data(name, train, test, classes, tuple(train.inputs.shape[1:]))


def _part(name: str, inputs: Tensor, targets: Tensor, normalize: str) -> InMemory:
    if inputs.ndim == 0 or targets.ndim == 0:
        raise InputError(
            f"{name}: inputs and targets must have one entry an example, but one is a single number"
        )
    if not targets.is_floating_point() and targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if inputs.dtype != torch.uint8:
        wide = inputs.float() if inputs.dtype == torch.float16 else inputs
        return InMemory(wide if wide.is_floating_point() else wide.long(), targets, name=name)
    if inputs.ndim == 3:
        inputs = inputs.unsqueeze(1)
    elif inputs.ndim == 4 and inputs.shape[1] not in (1, 3) and inputs.shape[3] in (1, 3):
        inputs = inputs.permute(0, 3, 1, 2).contiguous()
    if inputs.ndim != 4:
        raise InputError(
            f"{name}: inputs {tuple(inputs.shape)} of 8 bits are no pictures; store numbers as float32"
        )
    mean, std = moments(normalize, channels=inputs.shape[1], owner=name)
    return InMemory(inputs, targets, mean=mean, std=std, name=name)


def _npz(path: Path) -> Mapping[str, Tensor]:
    try:
        with reading(path, "set of examples"):
            held = read_arrays(path, what="set of examples")
            return {key: torch.from_numpy(_native(array)) for key, array in held.items()}
    except InputError as failure:
        raise InputError(f"{path} cannot be read as npz: {failure}") from failure
    except (ValueError, TypeError) as failure:
        raise InputError(f"{path} cannot be read as npz: {' '.join(str(failure).split())}") from failure


def _native(
    array: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]",
) -> "np.ndarray[tuple[int, ...], np.dtype[np.generic]]":
    """The array in a type that torch knows: the machine's byte order, at most int64."""
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        return array.astype(np.int64)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _safetensors(path: Path) -> Mapping[str, Tensor]:
    check_regular(path)
    try:
        with reading(path, "set of examples"):
            return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError, RuntimeError, KeyError) as failure:
        raise InputError(f"{path} cannot be read as safetensors: {failure}") from failure
