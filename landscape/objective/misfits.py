"""Diagnoses a failed first evaluation: the shapes and values of the data, and the usual fix."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from landscape.errors import InputError
from landscape.losses.loss_functions import BatchLoss, Loss, label_weights, taken_apart
from landscape.losses.outputs import applied, labelled, prepared_by, targets_in
from landscape.objective.batch import Batch, copied

_BY_ELEMENT = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss)
_BY_ELEMENT_FUNCTIONS = (
    functional.mse_loss,
    functional.l1_loss,
    functional.smooth_l1_loss,
    functional.huber_loss,
)
FAILURES = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError)
"""Exceptions that torch and networks raise for data that do not fit."""

_BINARY = (nn.BCEWithLogitsLoss, nn.BCELoss)


def misfit(model: nn.Module, loss: Loss, batch: Batch, failure: Exception) -> str:
    """The failure, the shapes and values of the data, and the usual fix."""
    named = batch if isinstance(batch, Mapping) else {}
    if isinstance(batch, tuple) and len(batch) == 2:
        named = dict(zip(("inputs", "targets"), batch, strict=True))
    shapes = [
        f"{name} {tuple(part.shape)} {_kind(part)}, values {part.min().item():.4g} to {part.max().item():.4g}"
        for name, part in named.items()
        if isinstance(part, Tensor) and part.numel()
    ]
    reason = (str(failure).strip().splitlines() or [type(failure).__name__])[0]
    reason = reason.rstrip(".")
    data = f" ({'; '.join(shapes)})" if shapes else ""
    advice = _advice(model, loss, batch, reason)
    return (
        f"{type(model).__name__} cannot be evaluated on this data{data}: {reason}{advice and f'; {advice}'}"
    )


def refuse_labels(
    loss: Loss, outputs: Any, batches: Iterable[Batch], *, where: str = "batch {} of the data"
) -> None:
    """Raises an :class:`InputError` for class numbers beyond the outputs ``(N, C, …)``, in whatever batch they are.

    On CUDA the loss itself would leave the device unusable for the rest of the process.
    """
    rule = label_weights(loss)
    if rule is None or not isinstance(outputs, Tensor) or outputs.ndim < 2:
        return
    classes, extremes = dict[int, int](), dict[int, Tensor]()
    for index, batch in enumerate(batches):
        labels = targets_in(batch)
        if not isinstance(labels, Tensor) or not labels.numel() or labels.is_floating_point():
            continue
        if outputs.shape[2:] == labels.shape[1:]:
            classes[index] = outputs.shape[1]
        elif outputs.shape[1:-1] == labels.shape[1:]:  # (N, …, C), which ours takes too
            classes[index] = outputs.shape[-1]
        else:
            continue
        # 0 for the ignored ones: every network has a class 0.
        extremes[index] = torch.stack(torch.where(labels != rule.ignored, labels, 0).aminmax())
    # All batches in one transfer, as each waits for the device.
    limits = torch.stack(list(extremes.values())).tolist() if extremes else []
    for (index, count), (low, high) in zip(classes.items(), limits, strict=True):
        if low < 0 or high >= count:
            raise InputError(
                f"{where.format(index)} has labels {low} to {high}, and the network has {count} classes, whose labels "
                f"are 0 to {count - 1}: is it another data set, or do labels start at 1?"
            )


def same_tokens(loss: Loss, batch: Batch) -> tuple[str, ...]:
    """A note if the network sees the token numbers that it is to predict: next-token would shift them."""
    if label_weights(loss) is None or prepared_by(loss) is not None:
        return ()
    inputs, targets = batch if isinstance(batch, (tuple, list)) and len(batch) == 2 else (None, None)
    if not (isinstance(inputs, Tensor) and isinstance(targets, Tensor)) or inputs.ndim != 2:
        return ()
    if inputs.is_floating_point() or inputs.shape != targets.shape or not torch.equal(inputs, targets):
        return ()
    return ("targets are the inputs themselves, unshifted; the loss of a language model is next-token",)


def refuse_broadcast(loss: Loss, outputs: Any, targets: Any) -> None:
    """Raises an :class:`InputError` if a loss by element would compare every output with every target.

    Of outputs ``(N, 1)`` and targets ``(N,)`` torch makes ``(N, N)``, with a warning that is easily missed.
    """
    function, _ = taken_apart(loss)
    if type(loss) not in _BY_ELEMENT and not any(function is other for other in _BY_ELEMENT_FUNCTIONS):
        return
    if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor) or outputs.shape == targets.shape:
        return
    if outputs.numel() == targets.numel() > 1:
        shape = ", ".join(map(str, (-1, *outputs.shape[1:])))
        raise InputError(
            f"outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)} differ in shape, so that the loss "
            f"would compare each with all others: reshape the targets, y.view({shape})"
        )


class RowsWatched(TorchFunctionMode):
    """Inside, an embedding that is asked for a row that it does not have raises an :class:`InputError` with its name.

    Torch's own error names neither, and comes from a GPU after it can no longer be used.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = model

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.embedding and len(args) >= 2:
            refuse_absent_rows(self._model, args[0], args[1])
        return func(*args, **(kwargs or {}))


def refuse_absent_rows(model: nn.Module, rows: Tensor, table: Tensor) -> None:
    """Raises an :class:`InputError` for tokens or positions beyond the rows of an embedding of the model."""
    if not rows.numel() or rows.is_floating_point() or rows.is_meta:
        return
    low, high = torch.stack(rows.detach().aminmax()).tolist()
    if low >= 0 and high < len(table):
        return
    name = next((n for n, p in model.named_parameters() if p is table), "an embedding")
    length = rows.shape[-1] if rows.ndim else 1
    if length > 1 and torch.equal(
        rows.reshape(-1, length)[0].cpu(), torch.arange(low, low + length, device="cpu")
    ):
        most = len(table) - low
        raise InputError(
            f"the sequences have {length} tokens, and {type(model).__name__} has {most} positions ({name}): cut them "
            f"to {most} or fewer"
        )
    raise InputError(
        f"the data have tokens {low} to {high}, and {name} of {type(model).__name__} has rows 0 to {len(table) - 1}: "
        "were they made by the tokenizer of another network?"
    )


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _advice(model: nn.Module, loss: Loss, batch: Batch, reason: str) -> str:
    """The usual fix of the failure; empty if none is known."""
    if isinstance(loss, BatchLoss):
        return ""
    inputs, targets = labelled(batch)
    try:
        with torch.no_grad(), RowsWatched(model):
            outputs = applied(model, copied(inputs))
    except InputError as failure:
        return str(failure)
    except FAILURES:
        return _about_inputs(inputs, reason)
    if "object is not callable" in reason:
        return "wrap a loss that takes (model, batch): landscape.BatchLoss(loss)"
    if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
        return ""
    return _about_targets(loss, outputs, targets)


def _about_inputs(inputs: Any, reason: str) -> str:
    """The fix of inputs that the network does not take."""
    if "same device" in reason:
        return (
            "a network whose weights are on several devices has to move its activations between them, as device_map "
            "makes it: otherwise name the one to which it is copied, device=…"
        )
    if isinstance(inputs, Mapping):
        return f"the keys of a batch are the arguments of forward(): {', '.join(map(str, inputs))}"
    if not isinstance(inputs, Tensor):
        return ""
    if not inputs.is_floating_point() and ("dtype" in reason or "type" in reason or "Byte" in reason):
        return "convert the inputs: x.float() / 255 for pictures of bytes, x.long() for tokens"
    length = inputs.shape[-1] if inputs.ndim == 2 else 0
    if not inputs.is_floating_point() and "must match" in reason and f"({length})" in reason:
        return f"if the network has fewer positions than the {length} tokens of a sequence, cut the sequences"
    if inputs.is_floating_point() and "indices" in reason:
        return "convert the tokens to whole numbers: x.long()"
    if "channels" in reason and inputs.ndim == 4 and inputs.shape[-1] in (1, 3, 4):
        return "pictures are (N, C, H, W): x.permute(0, 3, 1, 2)"
    if "channels" in reason and inputs.ndim == 3:
        return "pictures are (N, C, H, W): x[:, None] adds the one channel of grey pictures"
    if "mat1 and mat2" in reason and inputs.ndim > 2:
        return "flatten the inputs: x.flatten(1)"
    return "check the shape and normalisation of the inputs against what the network was trained on"


def _about_targets(loss: Loss, outputs: Tensor, targets: Tensor) -> str:
    """The fix of targets that the loss does not take, for outputs that the network gives."""
    if len(outputs.shape) and len(targets.shape) and len(outputs) != len(targets):
        return (
            f"there are outputs for {len(outputs)} examples and {len(targets)} targets: pass one target each"
        )
    if isinstance(loss, _BINARY):
        shape = ", ".join(map(str, (-1, *outputs.shape[1:])))
        return f"binary cross-entropy takes targets like the outputs {tuple(outputs.shape)}: y.float().view({shape})"
    if label_weights(loss) is None:
        return f"the outputs are {tuple(outputs.shape)} {_kind(outputs)}: the loss must accept both"
    if targets.ndim == 2 and targets.shape[1] == 1:
        return "the labels have one dimension too many: y.squeeze(1).long()"
    if targets.shape == outputs.shape:
        return "labels in one-hot form become class numbers by y.argmax(1), or probabilities by y.float()"
    if outputs.ndim < 2 and not targets.is_floating_point():
        return f"cross-entropy takes scores (N, classes), not {tuple(outputs.shape)}: choose another loss, or head"
    return "cross-entropy takes class numbers: y.long()"
