"""Validates the model, loss and data passed by the user: completes short forms, and names the fix of a mistake."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from landscape.errors import InputError, UsageError
from landscape.isolation.loaders import undisturbed
from landscape.losses import build_loss, loss_name
from landscape.losses.loss_functions import BatchLoss, Loss, takes_model
from landscape.losses.outputs import prepared_by, wants_scores
from landscape.reductions import exact_dtype
from landscape.registry.names import Specification

_ORDER = "the order is Objective(model, loss, batches)"
_KINDS = "pass (inputs, targets), a list of such batches, a DataLoader or a Dataset"


def network_in(model: object, loss: object) -> nn.Module:
    """The network; raises :class:`UsageError` for a class, a state dict, a file name, or the loss in its place."""
    is_network = isinstance(loss, nn.Module) and any(True for _ in loss.parameters())
    if is_network and not any(True for _ in getattr(model, "parameters", tuple)()):
        raise UsageError(f"model and loss are swapped: {_ORDER}")
    if isinstance(model, nn.Module):
        return model
    name = getattr(model, "__name__", "")
    if isinstance(model, type):
        problem = f"model={name} is a class: pass a network made of it, with its weights loaded: {name}(…)"
    elif isinstance(model, Mapping):
        problem = (
            "the model is a dictionary of weights, which has no forward pass: load it into a network, "
            "model.load_state_dict(state), and pass that"
        )
    elif isinstance(model, (str, Path)):
        problem = (
            f"model={str(model)!r} is a name: open a file with landscape.load_checkpoint(path, model=…, data=…) and "
            "take its .objective(), or pass a network"
        )
    elif callable(model):
        problem = (
            f"the model is a function ({name or type(model).__name__}): pass the network that it returns"
        )
    else:
        problem = f"the model is a {type(model).__name__}, not a torch.nn.Module: {_ORDER}"
    raise UsageError(problem)


def loss_in(loss: object) -> tuple[Loss, str]:
    """The loss with its name in records: a name is looked up, a function of ``(model, batch)`` is wrapped.

    Raises:
        UsageError: A class, data in place of the loss, or what is no function.
    """
    if isinstance(loss, (str, Specification)):
        return build_loss(loss), loss_name(loss)
    name = getattr(loss, "__name__", type(loss).__name__)
    if isinstance(loss, type):
        raise UsageError(f"loss={name} is a class: pass an instance, {name}()")
    if isinstance(loss, BatchLoss):
        return loss, name
    if isinstance(loss, (DataLoader, Dataset, list, tuple, Mapping, np.ndarray)):
        raise UsageError(f"the loss is a {name}, which looks like the data: {_ORDER}")
    if isinstance(loss, Tensor):
        raise UsageError(
            "the loss is a tensor, a value that was computed already: pass the function, such as "
            "torch.nn.CrossEntropyLoss()"
        )
    if not callable(loss):
        raise UsageError(
            f"the loss is a {name}, not a function: pass torch.nn.CrossEntropyLoss(), a name such as 'cross-entropy', "
            "or loss(outputs, targets)"
        )
    return BatchLoss(loss) if takes_model(loss) else loss, name


def device_in(device: torch.device | str | None) -> torch.device | None:
    """The device; raises :class:`UsageError` if it does not exist here."""
    if device is None:
        return None
    try:
        place = torch.device(device)
    except RuntimeError as failure:
        raise UsageError(
            f"device='{device}' is no device: pass 'cpu', 'cuda', 'cuda:1' or 'mps'"
        ) from failure
    advice = "leave it out for the device of the model, or pass device='cpu'"
    return _usable(place, torch.float32, f"device='{device}'", advice)


def device_named(name: str, *, dtype: torch.dtype = torch.float32, spelling: str = "device=") -> torch.device:
    """The device of a recipe or of the command line, where ``auto`` is the best one for this precision.

    Raises:
        UsageError: It is not there, is none of cpu, cuda and mps, or lacks the precision.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return _usable(torch.device("cuda"), dtype, f"{spelling}auto, cuda here,", "use cpu")
        has_mps = torch.backends.mps.is_available() and dtype != torch.float64
        return torch.device("mps" if has_mps else "cpu")
    title, advice = f"{spelling}{name}", "leave it out for the best device, or use cpu"
    try:
        place = torch.device(name)
    except RuntimeError:
        place = None
    if place is None or place.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"{title} cannot be used: not one of cpu, cuda, cuda:1, mps; {advice}")
    return _usable(place, dtype, title, advice)


def _usable(place: torch.device, dtype: torch.dtype, title: str, advice: str) -> torch.device:
    """The device, on which a kernel can compute a number of this precision: torch.device accepts absent ones."""
    refuse_missing_float64(place, dtype, title)
    try:
        torch.zeros(1, device=place, dtype=dtype)
    except (RuntimeError, AssertionError, TypeError) as failure:
        reason = str(failure).splitlines()[0].partition(". ")[0].rstrip(".")
        if place.type == "mps":
            reason = "torch finds no GPU of Apple's"
        there = ", ".join(f"{name} ({text})" if text else name for name, text in devices().items())
        raise UsageError(f"{title} cannot be used: {reason}; torch has {there} here; {advice}") from failure
    return place


def refuse_missing_float64(place: torch.device, dtype: torch.dtype, title: str) -> None:
    """Raises a :class:`UsageError` for float64 on a device that has none."""
    if dtype == torch.float64 != exact_dtype(place):
        raise UsageError(
            f"{title} has no float64, and that is the requested precision or that of the weights: choose float32 "
            "(dtype=torch.float32, --dtype float32), or compute on the cpu"
        )


def devices() -> dict[str, str]:
    """The devices of this machine by name, each with what a reader of a bug report needs to know of it."""
    names = {"cpu": ""}
    for index in range(torch.cuda.device_count()):
        try:
            it = torch.cuda.get_device_properties(index)
        except RuntimeError as failure:  # of the driver, which counts them without an error
            names[f"cuda:{index}"] = f"cannot be used: {str(failure).splitlines()[0]}"
            continue
        memory, capability = f"{it.total_memory / 2**30:.0f} GiB", f"{it.major}.{it.minor}"
        names[f"cuda:{index}"] = f"{it.name}, {memory}, compute capability {capability}"
    if torch.backends.mps.is_available():
        names["mps"] = getattr(torch.backends.mps, "get_name", str)()
    return names


def is_pair(data: object) -> bool:
    """Whether data are ``(inputs, targets)``, two tensors or arrays: one batch rather than a sequence of two."""
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        return False
    return isinstance(data[0], (Tensor, np.ndarray, Mapping)) and isinstance(data[1], (Tensor, np.ndarray))


def batches_in(source: Any, loss: object, batch_size: int | None) -> Any:
    """The data in one of the forms that :class:`~landscape.objective.batches.Batches` reads.

    ``(x, y)`` is one batch, or a data set if there is a batch size, and so is a dictionary; a list of single
    examples ``(x, 3)`` is a data set; arrays become tensors.

    Raises:
        UsageError: A name, a class, a function or inputs without targets, or another object that holds no batches.
        InputError: As many inputs as there are targets are needed, or examples have no batch dimension.
    """
    if isinstance(source, (DataLoader, Dataset)):
        return source
    _refuse_no_batches(source)
    if isinstance(source, Mapping):
        return [tensors_of(source)]
    plain = not isinstance(loss, BatchLoss) and prepared_by(loss) is None
    if is_pair(source):
        if plain:
            pair = tensors_of(tuple(source))
            _refuse_unpaired(*pair)
            return [pair] if batch_size is None or isinstance(pair[0], Mapping) else TensorDataset(*pair)
        if isinstance(source, tuple):
            raise UsageError(
                "the data are two tensors, and it is not clear of how many batches for this loss: write "
                "[(x, y)] for one batch, [x, y] for two"
            )
    if plain and isinstance(source, (list, tuple)) and source:
        # Torch's losses take tensors alone, so that a number is the target of one example; others may take a number.
        if _is_example(source[0]) and wants_scores(loss):
            return DataLoader(source, batch_size=batch_size or 128)  # type: ignore[arg-type]
        if _is_example(source):
            raise InputError(
                "the data are one example without a batch dimension: pass a list of them, [(x, y), …], or the Dataset"
            )
    if isinstance(source, Sequence) and not isinstance(source, (list, tuple)):
        return source  # a custom class, which may load a batch on access
    batches = [tensors_of(batch) for batch in undisturbed(source)]
    if not batches:
        raise InputError(
            f"the data are empty: {type(source).__name__} gives no batch; a generator that was read before gives none "
            "again, pass list(…) of it"
        )
    return batches


def tensors_of(batch: Any) -> Any:
    """The batch with NumPy arrays copied into tensors; the same object if it has none."""
    if isinstance(batch, np.ndarray) and batch.dtype.kind in "biuf":
        native = np.array(batch, dtype=batch.dtype.newbyteorder("="), order="C")
        # torch's losses take labels in int64 only; uint8 is kept, as it is the type of pictures.
        return torch.from_numpy(
            native.astype(np.int64) if native.dtype.kind in "iu" and native.itemsize > 1 else native
        )
    if isinstance(batch, (tuple, list)):
        parts = [tensors_of(part) for part in batch]
        changed = any(new is not old for new, old in zip(parts, batch, strict=True))
        return tuple(parts) if changed else batch
    if isinstance(batch, Mapping):
        values = {key: tensors_of(value) for key, value in batch.items()}
        return values if any(values[key] is not batch[key] for key in batch) else batch
    return batch


def _is_example(pair: Any) -> bool:
    """Whether this is one example of a data set: an input with the number of its class, or its target value."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not isinstance(pair[0], (Tensor, np.ndarray)):
        return False
    return isinstance(pair[1], (int, float, np.generic))


def _refuse_no_batches(source: Any) -> None:
    """Raises a :class:`UsageError` for an object that holds no batches."""
    name = getattr(source, "__name__", type(source).__name__)
    if isinstance(source, (Tensor, np.ndarray)):
        shape = tuple(source.shape)
        raise UsageError(
            f"the data are one {'tensor' if isinstance(source, Tensor) else 'array'} of shape {shape}: pass inputs and "
            "targets, (x, y), or [x] for a loss of (model, batch) that needs no targets"
        )
    if isinstance(source, (str, Path)):
        raise UsageError(
            f"the data are a name, {str(source)!r}: pass landscape.data.load_data(name).split('train'), or "
            "landscape.load_checkpoint(path, data=name).objective()"
        )
    if isinstance(source, Mapping) and {"train", "test"} & set(source):
        raise UsageError("the data are a dictionary of splits: pass one of them, such as data['train']")
    if isinstance(source, nn.Module):
        raise UsageError(f"the data are a {name}, which is a network or a loss: {_ORDER}")
    if isinstance(source, type):
        raise UsageError(f"the data are a class, {name}: pass an instance of it")
    if hasattr(source, "split") and hasattr(source, "classes"):
        raise UsageError("the data have several splits: pass one of them, data.split('train')")
    if isinstance(source, Iterable):
        return
    if callable(source):
        raise UsageError(f"the data are a function, {name}: call it, and pass what it returns")
    raise UsageError(f"the data are a {name}: {_KINDS}")


def _refuse_unpaired(inputs: Any, targets: Tensor) -> None:
    """Raises an :class:`InputError` unless there is one target for each input."""
    first = next(iter(inputs.values()), targets) if isinstance(inputs, Mapping) else inputs
    if targets.ndim == 0 or (isinstance(first, Tensor) and first.ndim == 0):
        raise InputError(
            "the data are one example without a batch dimension: pass x[None] and y[None], or the whole Dataset"
        )
    if isinstance(first, Tensor) and len(first) != len(targets):
        raise InputError(
            f"the data are {len(first)} inputs and {len(targets)} targets: pass as many of the one as of the other"
        )
