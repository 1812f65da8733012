"""The data, network and loss of a recipe, resolved from their names or from the user's task."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from landscape.data import Data, FixedBatches, as_data, load_data
from landscape.errors import InputError, UsageError
from landscape.isolation.randomness import private_randomness
from landscape.losses import cross_entropy_name
from landscape.losses.loss_functions import BatchLoss, Loss, in_float64, refuse_sum
from landscape.losses.next_token import NextToken
from landscape.losses.outputs import applied
from landscape.models import build_model
from landscape.objective.arguments import loss_in
from landscape.objective.wrappers import unwrapped
from landscape.optim import OPTIMIZERS, BatchClosure, MicroBatches
from landscape.optim.batch_closure import Evaluation, Inputs
from landscape.reductions import exact
from landscape.registry.factories import task_parts
from landscape.registry.user_code import code_hash
from landscape.training.recipe import Recipe


@dataclass(frozen=True)
class Subject:
    """The objects behind a recipe.

    Attributes:
        data: The training and the held-out examples.
        network: Returns the network as it begins.
        loss: The loss, where it is not the default one.
        loss_name: The name of the loss in records.
        smoothing: The label smoothing of the default loss.
        code: A hash of the user's own files that are named.
    """

    data: Data
    network: Callable[[], nn.Module]
    loss: Loss | None
    loss_name: str
    smoothing: float
    code: str | None

    @property
    def mean(self) -> Loss:
        """The loss as an objective takes it."""
        return nn.CrossEntropyLoss(label_smoothing=self.smoothing) if self.loss is None else self.loss

    def closure(self, model: nn.Module, *, size: int | None, **batch: Any) -> BatchClosure:
        """The closure of a batch; in pieces of ``size`` examples, if that is set."""
        kinds: tuple[type[BatchClosure], Callable[..., BatchClosure]] = BatchClosure, MicroBatches
        if isinstance(self.loss, _WHOLE):
            kinds = _Whole, _WholePieces
        if size is None:
            return kinds[0](model, self._losses(), **batch)
        return kinds[1](model, self._losses(), size=size, **batch)

    def _losses(self) -> Any:
        """The loss as a closure takes it."""
        if self.loss is None:
            return partial(functional.cross_entropy, label_smoothing=self.smoothing, reduction="none")
        return self.loss if isinstance(self.loss, _WHOLE) else partial(_repeated, self.loss)

    def tested(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> "Tested":
        """The network on a batch of held-out examples, without label smoothing."""
        if isinstance(self.loss, _WHOLE):
            with torch.enable_grad():  # the loss may take derivatives itself
                losses, outputs = _of_batch(self.loss, model, inputs, targets)
            return Tested(losses.detach().mean(), right(outputs, targets), len(targets))
        outputs = model(inputs)
        if self.loss is None:
            # In double precision where there is one, because a sum over a test set in float32 loses digits.
            total = functional.cross_entropy(exact(outputs), targets, reduction="sum")
            return Tested(total, right(outputs, targets), 1)
        mean = _scalar(in_float64(self.loss, outputs, targets))
        return Tested(mean, right(outputs, targets), len(targets))


class Tested(NamedTuple):
    """A loss of some examples, and the number classified correctly; ``None`` without class scores.

    Both are 0-dim tensors, which nobody has waited for. ``weight`` times the loss is the sum over the examples.
    """

    loss: Tensor
    correct: Tensor | None
    weight: int


def subject_of(recipe: Recipe, *, data: Data | None = None) -> Subject:
    """The objects that a recipe names; the task, if there is one, is called with the seed of the recipe.

    Args:
        recipe: The recipe.
        data: Its data, if they are loaded already.

    Raises:
        UsageError: The trainer cannot use one of them, or the optimizer not the loss.
        InputError: Data cannot be loaded, the user's code fails, or the task lacks a part.
    """
    parts: dict[str, Any] = {}
    if recipe.task is not None:
        with private_randomness(seed=recipe.seed):
            parts = task_parts(recipe.task)
    for name in ("model", "data"):
        if getattr(recipe, name) != recipe.task:
            parts[name] = getattr(recipe, name)
        elif name not in parts:
            raise InputError(
                f"--task {recipe.task} gives no {name}; add it to its dictionary, or pass -{name[0]}"
            )
    if data is None:
        named = isinstance(parts["data"], str)
        data = load_data(parts["data"]) if named else as_data(parts["data"], str(recipe.task))
    criterion = recipe.loss if recipe.loss is not None else parts.get("loss")
    if criterion is None:
        loss, loss_name = None, cross_entropy_name(recipe.label_smoothing)
    else:
        loss, loss_name = loss_in(criterion)
    _require_trainable(data, recipe, loss)
    return Subject(
        data=data,
        network=partial(_network, parts["model"], data, recipe.seed),
        loss=loss,
        loss_name=loss_name,
        smoothing=recipe.label_smoothing,
        code=code_hash(recipe.task, recipe.model, recipe.data, recipe.loss),
    )


def right(outputs: Any, targets: Tensor) -> Tensor | None:
    """The number of correct predictions, 0-dim; ``None`` unless outputs are scores ``(B, C)`` of classes."""
    if not isinstance(outputs, Tensor) or outputs.ndim != 2 or outputs.shape[1] < 2:
        return None
    if targets.ndim != 1 or targets.is_floating_point():
        return None
    return (outputs.argmax(1) == targets).sum()


def _network(model: nn.Module | str, data: Data, seed: int) -> nn.Module:
    if isinstance(model, str):
        return build_model(model, classes=data.classes, input_shape=data.input_shape, seed=seed)
    return copy.deepcopy(unwrapped(model)[0])


def _require_trainable(data: Data, recipe: Recipe, loss: Loss | None) -> None:
    """Refuses data that cannot be shuffled, and optimizers that look at more than the mean loss of a batch."""
    if isinstance(data.train, FixedBatches) or isinstance(data.test, FixedBatches):
        raise UsageError(
            f"{data.name} gives batches that are made already, and training draws new ones; return a Dataset or a "
            "DataLoader of single examples"
        )
    data.require_training_pairs(classes=loss is None)
    if loss is None:
        return
    if not isinstance(loss, BatchLoss):
        refuse_sum(loss)
    optimizer = OPTIMIZERS.parse(recipe.optimizer)
    settings, of_scores = OPTIMIZERS.settings(optimizer), optimizer.name in ("saf", "mesa")
    if optimizer.name == "esam" and settings["gamma"] != 1 and not isinstance(loss, NextToken):
        raise UsageError(
            "optimizer=esam selects examples by their losses, and a loss of your own is one number for a batch; use "
            "esam:gamma=1, another optimizer, or the default loss"
        )
    if optimizer.name == "focal-sam":
        raise UsageError(
            "optimizer=focal-sam weighs examples by their classes, and a loss of your own is one number for a batch; "
            "use another optimizer, or the default loss"
        )
    if optimizer.name == "functional-sam" and isinstance(loss, _WHOLE):
        raise UsageError(
            "optimizer=functional-sam follows the outputs of the network, which a loss that calls it itself does not "
            "show; use another optimizer, or a loss of (outputs, targets)"
        )
    if of_scores and (isinstance(loss, _WHOLE) or data.classes is None):
        raise UsageError(
            f"optimizer={optimizer.name} compares class scores, which this loss or these data do not have; use another "
            "optimizer, or a loss of (outputs, targets) on data with classes"
        )


def _scalar(mean: Any) -> Tensor:
    if not isinstance(mean, Tensor) or mean.ndim != 0:
        kind = f"shape {tuple(mean.shape)}" if isinstance(mean, Tensor) else type(mean).__name__
        raise UsageError(f"the loss is not a scalar ({kind}); it must return the mean over the batch")
    return mean


def _repeated(loss: Callable[[Any, Any], Tensor], outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean loss of a batch once for each example, which has the same mean and the same gradient."""
    return _scalar(loss(outputs, targets)).expand(len(targets))


def _of_batch(
    loss: BatchLoss | NextToken, model: nn.Module, inputs: Inputs, targets: Tensor
) -> tuple[Tensor, Any]:
    """The losses of the examples ``(B,)``, and the scores if ``loss(model, batch)`` returns any.

    A loss that is one number for a batch is that of each example: the mean and the gradient are the same.
    """
    if isinstance(loss, NextToken):
        tokens, following = loss.inputs_and_targets((inputs, targets))
        return loss.each(applied(model, tokens), following), None
    result = loss.fn(model, (inputs, targets))
    mean, scores = result[:2] if isinstance(result, tuple) and len(result) == 3 else (result, None)
    return _scalar(mean).expand(len(targets)), scores


_WHOLE = BatchLoss, NextToken


class _Whole(BatchClosure):
    """A closure of a loss that is a function of the network and the batch, or of whole sequences."""

    _loss: BatchLoss | NextToken  # type: ignore[assignment]

    def _evaluated(self, inputs: Inputs, targets: Tensor) -> Evaluation:
        with torch.autocast(targets.device.type, self._autocast, enabled=self._autocast is not None):
            losses, outputs = _of_batch(self._loss, self.model, inputs, targets)
        scores = outputs if isinstance(outputs, Tensor) else targets.new_empty(len(targets), 0)
        return Evaluation(scores, losses)


class _WholePieces(_Whole, MicroBatches):
    """The same, piece by piece."""
