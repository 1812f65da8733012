"""What a batch is made of and what a network returns, where these are not simply ``(inputs, targets)`` and a tensor."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from landscape.errors import InputError
from landscape.objective.functional import called_with

LABELS = ("labels", "label", "targets", "target")
"""Keys under which the targets of a dictionary batch are found, the most usual first."""

SCORES = ("logits", "scores", "out", "outputs", "output", "prediction", "predictions")
"""Keys under which the class scores are found in what a network returns, the most explicit first."""


def labelled(batch: Any) -> tuple[Any, Any]:
    """The inputs and the targets of a batch: a pair, or a dictionary with its labels taken out.

    Raises:
        InputError: It is neither.
    """
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


def applied(model: nn.Module, inputs: Any) -> Any:
    """What the network returns; the entries of a dictionary are its keyword arguments."""
    return model(**inputs) if isinstance(inputs, Mapping) else model(inputs)


def applied_with(model: nn.Module, tensors: Mapping[str, Tensor], inputs: Any) -> Any:
    """The same with some parameters and buffers replaced."""
    if isinstance(inputs, Mapping):
        return called_with(model, tensors, **inputs)
    return called_with(model, tensors, inputs)


def wants_scores(loss: object) -> bool:
    """Whether a loss is one of torch's own or derived from one, which take a tensor and nothing else."""
    return isinstance(loss, nn.modules.loss._Loss) or getattr(loss, "__module__", "") == "torch.nn.functional"


def scores(outputs: Any) -> tuple[Tensor, str]:
    """The tensor of scores in what a network returned, and where it was.

    Raises:
        InputError: There is none, or it cannot be told which it is.
    """
    if isinstance(outputs, Tensor):
        return outputs, ""
    kind = type(outputs).__name__
    if isinstance(outputs, Mapping):
        for key in SCORES:
            if isinstance(outputs.get(key), Tensor):
                return outputs[key], f"'{key}' of the {kind}"
        held = ", ".join(map(str, outputs))
        raise InputError(
            f"the model returns a {kind} of {held}, none of which is known to be the scores "
            f"({', '.join(SCORES)}); pass loss(outputs, targets), which chooses"
        )
    for name in SCORES:
        if isinstance(getattr(outputs, name, None), Tensor):
            return getattr(outputs, name), f"'{name}' of the {kind}"
    if isinstance(outputs, (tuple, list)) and outputs and isinstance(outputs[0], Tensor):
        return outputs[0], f"the first of the {len(outputs)} parts"
    raise InputError(
        f"the model returns a {kind}, not a tensor of scores; pass loss(outputs, targets), which chooses"
    )
