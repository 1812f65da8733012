"""The networks that the command line and recipes can name."""

import copy
import inspect
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import InputError, is_out_of_memory
from landscape.isolation.modes import on_device, plain_defaults
from landscape.isolation.randomness import private_randomness
from landscape.isolation.weightless import without_values
from landscape.models.cifar_resnet import resnet18, resnet20, resnet50, resnet101
from landscape.models.cnn import CNN
from landscape.models.decoder import Decoder
from landscape.models.huggingface import huggingface_model
from landscape.models.mlp import MLP
from landscape.models.pyramidnet import PyramidNet, pyramidnet110
from landscape.models.timm_models import timm_model
from landscape.models.torchvision_models import torchvision_model
from landscape.models.wide_resnet import WideResNet, wrn28_10
from landscape.registry.factories import FORMS, Kind, needs_only, user_function, user_row
from landscape.registry.names import NameTable, Options, Row, Specification
from landscape.registry.user_code import names_code

_DATA = frozenset({"classes", "input_shape"})  # set by the data, not by the user
_SET = ("classes", "num_classes", "input_shape")  # in the user's own code too


def _is_network(value: Any) -> bool:
    """Whether a value is a network, or a function that by its annotation or parameters returns one."""
    if inspect.isclass(value):
        return issubclass(value, nn.Module) and needs_only(value, _SET)
    if not inspect.isfunction(value) or not needs_only(value, _SET):
        return False
    result = value.__annotations__.get("return")
    is_annotated = inspect.isclass(result) and issubclass(result, nn.Module)
    return is_annotated or any(name in _SET for name in inspect.signature(value).parameters)


_OWN = Kind(
    "model",
    [_is_network, lambda value: inspect.isfunction(value) and needs_only(value)],
    "name one with its arguments, such as ./net.py:Net:width=8, or add a function model() that returns the network",
)


def _own(name: str) -> Row[nn.Module] | None:
    """The row of the user's own network: a class, a factory, or an instance."""
    named = user_function(name, _OWN)
    if named is None or not isinstance(named[1], nn.Module):
        return user_row(name, _OWN)
    return Row(named[0], partial(copy.deepcopy, named[1]), "a network of yours", stated=Options({}))


MODELS: NameTable[nn.Module] = NameTable(
    "model",
    [
        Row("mlp", MLP, "fully connected layers on flattened inputs", hidden=_DATA),
        Row("cnn", CNN, "three small convolutions, no batch normalisation", hidden=_DATA),
        Row("resnet18", resnet18, "ResNet-18 with the CIFAR stem, 11.2 M", "arXiv 1512.03385", hidden=_DATA),
        Row("resnet20", resnet20, "ResNet-20 for CIFAR, 0.27 M", "arXiv 1512.03385", hidden=_DATA),
        Row("resnet50", resnet50, "ResNet-50 with the CIFAR stem, 23.5 M", "arXiv 1512.03385", hidden=_DATA),
        Row(
            "resnet101", resnet101, "ResNet-101 with the CIFAR stem, 42.5 M", "arXiv 1512.03385", hidden=_DATA
        ),
        Row("wrn", WideResNet, "a wide ResNet for CIFAR", "arXiv 1605.07146", hidden=_DATA),
        Row("wrn28-10", wrn28_10, "WRN-28-10, 36.5 M", "arXiv 1605.07146", hidden=_DATA),
        Row("pyramidnet", PyramidNet, "a PyramidNet of basic blocks", "arXiv 1610.02915", hidden=_DATA),
        Row("pyramidnet110", pyramidnet110, "PyramidNet-110, 28.5 M", "arXiv 1610.02915", hidden=_DATA),
        Row("decoder", Decoder, "a causal transformer over token numbers, 0.87 M", "GPT-2", hidden=_DATA),
    ],
    libraries=lambda name: timm_model(name) or torchvision_model(name),
    fallback=lambda name: huggingface_model(name) or _own(name),
    forms=("torchvision:NAME", "timm:NAME", "hf:FOLDER", *FORMS),
)


def build_model(
    specification: str | Specification,
    *,
    classes: int | None = None,
    input_shape: tuple[int, ...] | None = None,
    seed: int | None = None,
    values: bool = True,
) -> nn.Module:
    """A freshly initialised network on the CPU, such as ``build_model("mlp:width=32", classes=10)``.

    Args:
        specification: A name of :data:`MODELS`, ``torchvision:NAME``, ``timm:NAME``, ``hf:FOLDER``,
            ``package.module:factory`` or ``./file.py:factory``, and its options. A factory gets ``classes`` or
            ``num_classes`` and ``input_shape`` if it has a parameter of that name.
        classes: The number of classes of the data; ``None`` leaves the network its own default.
        input_shape: The shape of one input; ``None`` leaves the network its own default. If it is set, one input of
            zeros is passed through a network of ours, torchvision's or timm's to see that they fit.
        seed: Seeds the initialisation; ``None`` starts from the global random state as it stands. That state
            is the same afterwards either way.
        values: Whether parameters have values; otherwise they are on the meta device, and no input is passed through.

    Raises:
        UsageError: An unknown name or option, or a value that is not allowed.
        InputError: The network does not fit the inputs, or has fewer outputs than there are classes.
    """
    context: dict[str, object] = {}
    if classes is not None:
        context.update(classes=classes, num_classes=classes)
    if input_shape is not None:
        context.update(input_shape=input_shape, image_size=input_shape[-1])
    name = str(specification)
    specification = MODELS.parse(specification)  # which runs the user's file, with the user's defaults
    # The type of the numbers in it is the user's business, too.
    defaults = on_device("cpu") if names_code(specification) else plain_defaults()
    with private_randomness(seed=seed), defaults, nullcontext() if values else without_values():
        model = MODELS.build(specification, **context)
        if not isinstance(model, nn.Module):
            raise InputError(
                f"{name} returns a {type(model).__name__}, not a torch.nn.Module; return the network"
            )
        # Networks in the user's files may take and return anything.
        if values and input_shape is not None and not (name.startswith("hf:") or names_code(specification)):
            _check_fit(model, name, classes, input_shape)
    return model


def _check_fit(model: nn.Module, name: str, classes: int | None, input_shape: tuple[int, ...]) -> None:
    training, of_tokens = model.training, getattr(model, "takes_tokens", False)
    kind = torch.int64 if of_tokens else torch.float32
    try:
        with torch.no_grad():
            scores = model.eval()(torch.zeros(1, *input_shape, dtype=kind, device="cpu"))
    except (RuntimeError, ValueError, TypeError, AssertionError) as failure:
        if is_out_of_memory(failure):
            raise
        reason = (str(failure).splitlines() or [type(failure).__name__])[0]
        raise InputError(f"model '{name}' does not take inputs of shape {input_shape}: {reason}") from failure
    finally:
        model.train(training)
    if of_tokens:
        return
    if not isinstance(scores, Tensor) or scores.ndim != 2:
        raise InputError(f"model '{name}' does not return one row of class scores for each input")
    if classes is not None and scores.shape[1] < classes:
        raise InputError(f"model '{name}' has {scores.shape[1]} outputs, but the data have {classes} classes")
