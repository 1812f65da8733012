"""The losses that the command line can name."""

import inspect
from functools import partial
from typing import Any

from torch import nn

from landscape.errors import InputError
from landscape.losses.bce_with_logits import BinaryCrossEntropy
from landscape.losses.cross_entropy import CrossEntropy
from landscape.losses.loss_functions import BatchLoss, Loss, takes_model
from landscape.losses.next_token import NextToken
from landscape.losses.own import OwnLoss
from landscape.losses.squared_error import SquaredError
from landscape.registry.factories import (
    FORMS,
    Kind,
    guarded,
    needs_only,
    required_parameters,
    summary_of,
    user_function,
    user_options,
)
from landscape.registry.names import NameTable, Options, Row, Specification


def user_loss(name: str) -> Row[Loss] | None:
    """The row of a loss of the user's own; ``None`` for a name of another form.

    A function of ``(outputs, targets)`` or ``(model, batch)``, distinguished by the name of the first parameter, is
    the loss itself; a function that needs fewer arguments returns the loss.
    """
    named = user_function(name, _OWN)
    if named is None:
        return None
    name, function = named
    needed = required_parameters(function)

    def build(**options: Any) -> Loss:
        loss: Any = function
        if len(needed) == 1 and not inspect.isclass(function):
            raise InputError(
                f"{name} takes {needed[0]}; a loss takes (outputs, targets) or (model, batch), and a function that "
                "returns one needs no argument without a default"
            )
        is_loss = isinstance(function, nn.Module)  # an instance, such as criterion = nn.CrossEntropyLoss()
        if inspect.isclass(function) or (len(needed) < 2 and not is_loss):
            loss = guarded(function, name)(**options)
        elif options:
            loss = partial(function, **options)
        if isinstance(loss, (BatchLoss, nn.Module)):
            return loss
        if not callable(loss):
            raise InputError(
                f"{name} gives a {type(loss).__name__}, not a loss; it must be a function of (outputs, targets) or "
                "(model, batch), or return one"
            )
        return BatchLoss(loss) if takes_model(loss) else loss

    declared = user_options(function, name)
    by_name = {key: option for key, option in declared.by_name.items() if key not in needed[:2]}
    return Row(name, build, summary_of(function), stated=Options(by_name, open=declared.open))


def _is_loss_class(value: Any) -> bool:
    is_ours = inspect.isclass(value) and issubclass(value, (BatchLoss, nn.Module))
    if not is_ours or not needs_only(value):
        return False
    return issubclass(value, BatchLoss) or len(required_parameters(value.forward)) == 2


_OWN = Kind(
    "loss",
    [
        lambda value: inspect.isfunction(value) and len(required_parameters(value)) == 2,
        _is_loss_class,
        lambda value: inspect.isfunction(value) and needs_only(value),
    ],
    "write a function loss(outputs, targets) that returns the mean",
)

LOSSES: NameTable[Loss] = NameTable(
    "loss",
    [
        Row("cross-entropy", CrossEntropy, "−log softmax(f)_y; also of each token or pixel"),
        Row("mse", SquaredError, "squared error; class numbers stand for one-hot vectors"),
        Row("bce-with-logits", BinaryCrossEntropy, "binary cross-entropy, of one label or of several"),
        Row(
            "next-token",
            NextToken,
            "cross-entropy of a language model, over all predicted tokens, or mean=sequence",
        ),
        Row("model", OwnLoss, "the loss that the model computes itself from labels"),
    ],
    fallback=user_loss,
    forms=FORMS,
)


def build_loss(specification: str | Specification) -> Loss:
    """The loss of that name, such as ``build_loss("cross-entropy:label_smoothing=0.1")``.

    Args:
        specification: A name of :data:`LOSSES`, ``package.module:function`` or ``./file.py:function``, and its
            options.

    Raises:
        UsageError: An unknown name or option, or a value that is not allowed.
        InputError: The user's file or function fails, or gives no loss.
    """
    return LOSSES.build(specification)


def loss_name(specification: str | Specification) -> str:
    """The shortest specification of the same loss, without options at their defaults."""
    parsed = LOSSES.parse(specification)
    declared = LOSSES.row(parsed.name).options
    kept = {
        key: value
        for key, value in parsed.options.items()
        if key not in declared or value != declared[key].default
    }
    return str(Specification(parsed.name, kept))


def cross_entropy_name(label_smoothing: float) -> str:
    """The name of the default loss of a recipe."""
    return f"cross-entropy:label_smoothing={label_smoothing}" if label_smoothing else "cross-entropy"
