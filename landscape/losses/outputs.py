"""Calls of a network: the inputs and targets in a batch, tensors put in for its own, the scores in what it returns."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from landscape.errors import InputError

T = TypeVar("T")

LABELS = ("labels", "label", "targets", "target")
"""Keys of the targets in a dictionary batch, the most usual first."""

SCORES = ("logits", "scores", "out", "outputs", "output", "prediction", "predictions")
"""Keys of the class scores in what a network returns, the most explicit first."""


def labelled(batch: Any) -> tuple[Any, Any]:
    """The inputs and the targets of a batch: a pair, or a dictionary with labels; else an :class:`InputError`."""
    if isinstance(batch, tuple) and len(batch) == 2:
        return batch[0], batch[1]
    if isinstance(batch, Mapping):
        key = next((key for key in LABELS if key in batch), None)
        if key is not None:
            return {name: value for name, value in batch.items() if name != key}, batch[key]
        raise InputError(
            f"a batch is a dictionary of {', '.join(map(str, batch))} without {' or '.join(LABELS[:2])}; a language "
            "model takes the loss next-token, anything else BatchLoss(lambda model, batch: …)"
        )
    parts = f" of {len(batch)}" if isinstance(batch, tuple) else ""
    raise InputError(
        f"a batch is a {type(batch).__name__}{parts}, not a pair (inputs, targets); "
        "wrap the loss: BatchLoss(lambda model, batch: …)"
    )


def prepared_by(loss: object) -> Callable[[Any], tuple[Any, Any]] | None:
    """What makes ``(inputs, targets)`` of batches of another form, for a loss that knows how; else ``None``."""
    return getattr(loss, "inputs_and_targets", None)


def targets_in(batch: Any) -> Any:
    """The targets of a batch, the second of a pair or the labels of a dictionary; ``None`` if it has none."""
    if isinstance(batch, Mapping):
        return next((batch[key] for key in LABELS if key in batch), None)
    return batch[1] if isinstance(batch, (tuple, list)) and len(batch) == 2 else None


def applied(model: nn.Module, inputs: Any) -> Any:
    """The outputs of the network; the entries of a dictionary are its keyword arguments."""
    return model(**inputs) if isinstance(inputs, Mapping) else model(inputs)


def applied_with(model: nn.Module, tensors: Mapping[str, Tensor], inputs: Any) -> Any:
    """The same with some parameters and buffers replaced."""
    args, kwargs = ((), inputs) if isinstance(inputs, Mapping) else ((inputs,), {})
    return called_with(model, tensors, *args, **kwargs)


def called_with(model: nn.Module, tensors: Mapping[str, Tensor], *args: Any, **kwargs: Any) -> Any:
    """``model(*args, **kwargs)`` with parameters and buffers replaced by those of their first names, then put back."""
    named = {id(t): name for name, t in (*model.named_parameters(), *model.named_buffers())}
    # Under every name of its own: torch replaces the tensors of a module with two names twice, and would put back the
    # first replacement.
    places = {
        f"{prefix}.{leaf}" if prefix else leaf: tensors[named[id(t)]]
        for prefix, module in model.named_modules()
        for leaf, t in (*module._parameters.items(), *module._buffers.items())
        if t is not None and named[id(t)] in tensors
    }
    return torch.func.functional_call(model, places, args, kwargs, tie_weights=False)


# torch replaces tensors only during a call of the module that has them.
class _Acting(nn.Module):
    """A module whose call is some action beside a network."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, act: Callable[[], T]) -> T:
        return act()


def acting_with(model: nn.Module, tensors: Mapping[str, Tensor], act: Callable[[], T]) -> T:
    """``act()`` while parameters and buffers are replaced as by :func:`called_with`.

    A backward pass belongs inside, as checkpointed activations are computed again during it.
    """
    named = {f"model.{name}": tensor for name, tensor in tensors.items()}
    result: T = called_with(_Acting(model), named, act)
    return result


def wants_scores(loss: object) -> bool:
    """Whether a loss is one of torch's own or derived from one, which take a tensor and nothing else."""
    return isinstance(loss, nn.modules.loss._Loss) or getattr(loss, "__module__", "") == "torch.nn.functional"


def scores(outputs: Any) -> tuple[Tensor, str]:
    """The tensor of scores in what a network returned and its place in words; an :class:`InputError` if in doubt."""
    if isinstance(outputs, Tensor):
        return outputs, ""
    kind, is_mapping = type(outputs).__name__, isinstance(outputs, Mapping)
    for key in SCORES:
        value = outputs.get(key) if is_mapping else getattr(outputs, key, None)
        if isinstance(value, Tensor):
            return value, f"'{key}' of the {kind}"
    if is_mapping:
        raise InputError(
            f"the model returns a {kind} of {', '.join(map(str, outputs))}, none of which is known to be the scores "
            f"({', '.join(SCORES)}); pass loss(outputs, targets), which chooses"
        )
    if isinstance(outputs, (tuple, list)) and outputs and isinstance(outputs[0], Tensor):
        return outputs[0], f"the first of the {len(outputs)} parts"
    raise InputError(
        f"the model returns a {kind}, not a tensor of scores; pass loss(outputs, targets), which chooses"
    )
