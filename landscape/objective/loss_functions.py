"""What a loss function is the mean over, as far as the loss itself tells: examples, labels, or class weights."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from landscape.errors import InputError, UsageError

IGNORED = -100
"""The class number that torch's cross-entropy leaves out."""


class BatchLoss:
    """A loss for batches that are not ``(inputs, targets)``: language models, PINNs, dictionaries.

    Args:
        fn: ``fn(model, batch)`` → scalar mean over the batch's examples; or ``(mean, scores, targets)``, so that
            the accuracy is known too.
        size: The number of examples in a batch; by default the leading dimension of its first tensor.
        weight: What the mean of a batch is divided by, where that is not its number of examples: its number of
            labels that count, or the sum of their class weights. Batches are weighted by it.
    """

    def __init__(
        self,
        fn: Callable[[nn.Module, Any], Any],
        *,
        size: Callable[[Any], int] | None = None,
        weight: Callable[[Any], float] | None = None,
    ) -> None:
        self.fn = fn
        self.size = size
        self.weight_of = weight or size


Loss = Callable[[Any, Any], Tensor] | BatchLoss

MEANS = (
    nn.CrossEntropyLoss, nn.NLLLoss, nn.MSELoss, nn.BCEWithLogitsLoss, nn.BCELoss, nn.L1Loss, nn.SmoothL1Loss,
    nn.HuberLoss, nn.SoftMarginLoss, nn.MultiLabelSoftMarginLoss, nn.MultiMarginLoss, nn.MultiLabelMarginLoss,
    nn.PoissonNLLLoss,
)  # fmt: skip
"""Losses that are a weighted mean of what each example contributes by itself."""

FUNCTIONS = (
    functional.cross_entropy, functional.nll_loss, functional.mse_loss, functional.binary_cross_entropy,
    functional.binary_cross_entropy_with_logits, functional.l1_loss, functional.smooth_l1_loss,
    functional.huber_loss,
)  # fmt: skip

_BY_LABELS = (nn.CrossEntropyLoss, nn.NLLLoss)


_IN_FLOAT64 = (
    nn.CrossEntropyLoss, nn.NLLLoss, nn.MSELoss, nn.BCEWithLogitsLoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss,
)  # fmt: skip

FLOAT64_ELEMENTS = 1 << 22
"""Outputs up to which a loss is computed in float64: those of a language model would take too much memory."""


def in_float64(loss: Callable[[Any, Any], Tensor], outputs: Any, targets: Any) -> Tensor:
    """``loss(outputs, targets)``, from the outputs in float64 where the loss is one of torch's without own tensors.

    Beside a perfect fit 1 − p is a rounding error of float32, and so are the loss, its derivatives and what is made of
    them; the outputs themselves are good there.
    """
    # A class derived from one of torch's may compute with tensors in float32; ours do not.
    ours = type(loss).__module__.partition(".")[0] == __name__.partition(".")[0]
    known = type(loss) in _IN_FLOAT64 or (ours and isinstance(loss, _IN_FLOAT64))
    if (
        not (known or any(loss is one for one in FUNCTIONS))
        or (isinstance(loss, nn.Module) and (any(True for _ in loss.buffers()) or _hooked(loss)))
        or not isinstance(outputs, Tensor)
        or outputs.dtype != torch.float32
        or outputs.numel() > FLOAT64_ELEMENTS
        or outputs.device.type == "mps"
    ):
        return loss(outputs, targets)
    wide = isinstance(targets, Tensor) and targets.is_floating_point()
    return loss(outputs.double(), targets.double() if wide else targets)


def refuse_sum(loss: object) -> None:
    """Refuses a loss that says of itself that it is no mean.

    Raises:
        UsageError: It has another ``reduction``.
    """
    function, options = taken_apart(loss)
    reduction = options.get("reduction", getattr(function, "reduction", "mean"))
    if reduction not in ("mean", "batchmean"):
        raise UsageError(f"the loss has reduction='{reduction}'; the mean is needed: pass reduction='mean'")


def taken_apart(loss: object) -> tuple[object, Mapping[str, Any]]:
    """The function of a ``functools.partial`` with keyword arguments alone, and these; any other loss and ``{}``."""
    if isinstance(loss, partial) and not loss.args:
        return loss.func, loss.keywords
    return loss, {}


def averages_examples(loss: object) -> bool:
    """Whether the loss is known to be a weighted mean over examples none of which sees the others.

    A class of its own says so by an attribute of that name; it is not inherited, as a subclass may do anything.
    """
    function, options = taken_apart(loss)
    if isinstance(loss, nn.Module) and _hooked(loss):
        return False
    # A tensor of weights of binary cross-entropy may hold one weight for each example of one batch.
    weight = options.get("weight", getattr(function, "weight", None))
    by_labels = isinstance(loss, _BY_LABELS) or function in (functional.cross_entropy, functional.nll_loss)
    if weight is not None and not by_labels:
        return False
    known = type(function) in MEANS or any(function is one for one in FUNCTIONS)
    return known or bool(vars(type(loss)).get("averages_examples", False))


def _hooked(module: nn.Module) -> bool:
    """Whether hooks may change what a module returns, or its derivative."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or "forward" in vars(module)
    )


@dataclass(frozen=True)
class LabelWeights:
    """The rule of torch's cross-entropy: a label counts with the weight of its class, or not at all.

    Attributes:
        classes: The weights of the classes; ``None`` for 1 each.
        ignored: The class number that is left out.
        smoothing: Of the labels: what is added to an example does not fall with the weight of its class.
    """

    classes: Tensor | None = None
    ignored: int = IGNORED
    smoothing: float = 0.0

    def each(self, targets: Tensor) -> Tensor:
        """The weight of every example, the sum over its labels, ``(B,)`` in float64."""
        if targets.is_floating_point():
            return targets.new_ones(len(targets), dtype=torch.float64)
        counted = targets != self.ignored
        weights = counted.double()
        if self.classes is not None:
            classes = self.classes.detach().double().to(targets.device)
            weights = weights * classes[torch.where(counted, targets, 0).long()]
            if self.smoothing and bool(counted.any()) and not float(weights.sum()) > 0:
                raise InputError(
                    "a batch has labels of classes of weight 0 alone, and label smoothing divides by the sum of its "
                    "weights: make batches larger, or give those classes a small weight"
                )
        return weights.flatten(1).sum(1) if targets.ndim > 1 else weights


def label_weights(loss: object) -> LabelWeights | None:
    """The rule by which a loss weights its labels; ``None`` for one that is not made of torch's cross-entropy."""
    function, options = taken_apart(loss)
    if isinstance(loss, _BY_LABELS):
        return LabelWeights(loss.weight, loss.ignore_index, getattr(loss, "label_smoothing", 0.0))
    if function is functional.cross_entropy or function is functional.nll_loss:
        names = ("weight", "ignore_index", "label_smoothing")
        classes, ignored, smoothing = (
            options.get(name, default) for name, default in zip(names, (None, IGNORED, 0.0), strict=True)
        )
        return LabelWeights(classes, ignored, smoothing)
    return None


def placed_loss(loss: Loss, device: torch.device, dtype: torch.dtype) -> Loss:
    """The loss with its tensors on a device and its floating-point tensors in ``dtype``; a copy if that moves any.

    Args:
        loss: Never changed. Tensors that a function has in its closure are out of reach and stay as they are.
        device: Where the network computes.
        dtype: Its precision.
    """

    def put(tensor: Tensor) -> Tensor:
        return tensor.to(device, dtype if tensor.is_floating_point() else tensor.dtype)

    def moves(values: Mapping[str, Any]) -> bool:
        return any(isinstance(one, Tensor) and put(one) is not one for one in values.values())

    if isinstance(loss, partial):
        if not moves(loss.keywords):
            return loss
        keywords = {key: put(one) if isinstance(one, Tensor) else one for key, one in loss.keywords.items()}
        return partial(loss.func, *loss.args, **keywords)
    if not isinstance(loss, nn.Module):
        return loss
    inner = list(loss.modules())
    held = {**dict(loss.named_parameters()), **dict(loss.named_buffers())}
    if not moves(held) and not any(moves(vars(module)) for module in inner):
        return loss
    try:
        twin = copy.deepcopy(loss).to(device=device, dtype=dtype)
    except (RuntimeError, TypeError):  # it holds what cannot be copied: a result of autograd, a lock
        return loss
    for module in twin.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, Tensor):
                setattr(module, name, put(value))
    return twin
