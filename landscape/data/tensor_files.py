"""Examples that are already tensors: ``npz:FILE`` and ``safetensors:FILE``, read without running any code."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from landscape.data.examples import Data, InMemory, classes_in, shape_note
from landscape.data.pixels import moments, moments_note
from landscape.errors import InputError
from landscape.records.reading import check_regular, read_arrays, reading
from landscape.registry.names import Row, options_of

KEYS = (
    ("train_inputs", "train_targets", "test_inputs", "test_targets"),
    ("x_train", "y_train", "x_test", "y_test"),
    ("inputs", "targets", "", ""),
    ("x", "y", "", ""),
    ("train_input_ids", "train_input_ids", "test_input_ids", "test_input_ids"),
    ("input_ids", "input_ids", "", ""),
)
"""Names of the arrays, in order of preference: training inputs and targets, held-out inputs and targets.

Token numbers are both: the loss next-token predicts each from those before it.
"""

Normalisation = Literal["none", "half", "imagenet", "cifar10", "cifar10-per-image", "cifar100", "mnist"] | str


def tensor_file(name: str) -> Row[Data] | None:
    """The row of ``npz:FILE`` or ``safetensors:FILE``; ``None`` for any other name."""
    kind, _, file = name.partition(":")
    if kind not in ("npz", "safetensors") or not file:
        return None
    return Row(name, partial(tensors_at, name), f"tensors in {file}", stated=options_of(tensors_at))


def tensors_at(name: str, *, classes: int | None = None, normalize: Normalisation = "none") -> Data:
    """The examples in a file: arrays ``train_inputs``, ``train_targets``, ``test_inputs``, ``test_targets``.

    Also ``x_train``, ``y_train``, ``x_test``, ``y_test``, or, for training examples alone, ``inputs`` and ``targets``
    (or ``x`` and ``y``). Inputs of 8 bits are images, with the channels first or last or without any, and become
    ``(pixel/255 − mean)/std``; floats and token numbers stay as they are. Whole targets ``(N,)`` are class numbers.
    For the loss ``next-token``, ``input_ids`` ``(N, T)`` alone, or ``train_input_ids`` and ``test_input_ids``.

    Args:
        name: ``npz:FILE`` or ``safetensors:FILE``.
        classes: How many there are; by default one more than the largest class number.
        normalize: For images; see :func:`landscape.data.pixels.moments`.

    Raises:
        InputError: The file is missing, damaged, would run code, or has no such arrays.
    """
    kind, _, file = name.partition(":")
    path = Path(file).expanduser()
    if not path.is_file():
        raise InputError(f"{name}: there is no file {path}")
    arrays = _npz(path) if kind == "npz" else _safetensors(path)
    keys = next((keys for keys in KEYS if keys[0] in arrays and keys[1] in arrays), None)
    if keys is None:
        expected = "; ".join(", ".join(dict.fromkeys(key for key in keys if key)) for keys in KEYS)
        raise InputError(f"{name} holds {', '.join(arrays) or 'nothing'}; expected one of: {expected}")
    parts = [
        _part(name, arrays[x], arrays[y], normalize)
        for x, y in (keys[:2], keys[2:])
        if x in arrays and y in arrays
    ]
    shape, *others = [tuple(part.inputs.shape[1:]) for part in parts]
    if others not in ([], [shape]):
        raise InputError(f"{name}: a training input has the shape {shape}, a held-out one {others[0]}")
    origin = ""
    if classes is None:
        counts = [classes_in(part.targets) for part in parts]
        classes = max((count for count in counts if count is not None), default=None)
        origin = "" if classes is None else ", from the largest class number (classes=… changes it)"
    splits = ", ".join(
        f"{k}: {x} ({len(part)})" for k, x, part in zip(("train", "test"), keys[::2], parts, strict=False)
    )
    notes = [f"{shape_note(shape, classes, origin)}; {splits}"]
    if parts[0].pixels is not None:
        notes.append(moments_note(normalize, *moments(normalize, channels=shape[0], owner=name)))
    return Data(name, parts[0], parts[1] if others else None, classes, shape, notes=tuple(notes))


def _part(name: str, inputs: Tensor, targets: Tensor, normalize: str) -> InMemory:
    if inputs.ndim == 0 or targets.ndim == 0:
        raise InputError(f"{name}: inputs and targets must have one entry an example; one is a single number")
    if not targets.is_floating_point() and targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]  # class numbers in a column, as tables are often stored
    if inputs.dtype != torch.uint8:
        wide = inputs.float() if inputs.dtype == torch.float16 else inputs
        return InMemory(wide if wide.is_floating_point() else wide.long(), targets, name=name)
    if inputs.ndim == 3:
        inputs = inputs.unsqueeze(1)
    elif inputs.ndim == 4 and inputs.shape[1] not in (1, 3) and inputs.shape[3] in (1, 3):
        inputs = inputs.permute(0, 3, 1, 2).contiguous()
    if inputs.ndim != 4:
        raise InputError(f"{name}: inputs {tuple(inputs.shape)} of 8 bits are no pictures; use float32")
    mean, std = moments(normalize, channels=inputs.shape[1], owner=name)
    return InMemory(inputs, targets, mean=mean, std=std, name=name)


def _npz(path: Path) -> Mapping[str, Tensor]:
    tensors = {}
    try:
        with reading(path, "set of examples"):
            for key, array in read_arrays(path, what="set of examples").items():
                # torch knows no larger unsigned integers than 8 bits, and no byte order but the machine's.
                is_wide = array.dtype.kind == "u" and array.dtype.itemsize > 1
                kind = np.dtype(np.int64) if is_wide else array.dtype.newbyteorder("=")
                tensors[key] = torch.from_numpy(array.astype(kind, copy=False))
    except (InputError, ValueError, TypeError) as failure:
        reason = failure if isinstance(failure, InputError) else " ".join(str(failure).split())
        raise InputError(f"{path} cannot be read as npz: {reason}") from failure
    return tensors


def _safetensors(path: Path) -> Mapping[str, Tensor]:
    check_regular(path)
    try:
        with reading(path, "set of examples"):
            return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError, RuntimeError, KeyError) as failure:
        raise InputError(f"{path} cannot be read as safetensors: {failure}") from failure
