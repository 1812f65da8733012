"""Any classification network of torchvision by its name there: ``torchvision:resnet18``, without weights."""

import inspect
from typing import Any

from torch import nn

from landscape.errors import InputError, UsageError
from landscape.registry.names import Option, Options, Row
from landscape.registry.nearest import did_you_mean

_PLAIN = (int, float, bool, str)  # the types that the text of an option can be converted to
_WITHOUT_HEADS = {"aux_logits": False, "init_weights": True}
_FORCED: dict[str, dict[str, Any]] = {
    # Their auxiliary heads change what the network returns while it trains.
    "googlenet": _WITHOUT_HEADS,
    "inception_v3": _WITHOUT_HEADS,
}


def torchvision_model(name: str) -> Row[nn.Module] | None:
    """The row of ``torchvision:NAME``; ``None`` for any other name.

    The options are those of the network's class that are plain values with a default.

    Raises:
        UsageError: torchvision has no classification network of that name, or has one whose prefix was left
            out.
    """
    kind, colon, requested = name.partition(":")
    key = (requested or kind).lower().replace("-", "_")
    # A path such as ./net.py is none of its names, and the import of torchvision takes seconds.
    if kind != "torchvision" and (colon or not key.isidentifier()):
        return None
    from torchvision import models

    known = models.list_models(module=models)
    if not colon:
        if key in known:
            raise UsageError(f"unknown model '{name}' (did you mean 'torchvision:{key}'?)")
        return None
    if key not in known:
        guess = did_you_mean(key, known, prefix="torchvision:")
        raise UsageError(f"torchvision has no classification model '{requested}'{guess}")
    forced = _FORCED.get(key, {})

    def build(*, input_shape: tuple[int, ...] | None = None, **options: Any) -> nn.Module:
        if input_shape is not None and (len(input_shape) != 3 or input_shape[0] != 3):
            raise InputError(
                f"torchvision:{key} takes colour pictures (3, height, width), but one input of this data has "
                f"the shape {input_shape}; use mlp, cnn, resnet18 or resnet20"
            )
        try:
            model: nn.Module = models.get_model(key, weights=None, **forced, **options)
        except (TypeError, ValueError, AssertionError) as failure:
            settings = ", ".join(f"{option}={value}" for option, value in options.items())
            raise UsageError(f"torchvision:{key} cannot be built with {settings}: {failure}") from failure
        return model

    return Row(
        f"torchvision:{key}",
        build,
        f"torchvision's {key}, randomly initialised",
        hidden=frozenset({"input_shape"}),
        stated=_options(models.get_model_builder(key), forced),
    )


def _options(builder: Any, forced: dict[str, Any]) -> Options:
    """The plain options of the class that a torchvision builder returns."""
    network = inspect.signature(builder).return_annotation
    by_name = {"input_shape": Option("input_shape", None, tuple[int, ...] | None)}
    for name, parameter in inspect.signature(network).parameters.items():
        # Vision transformers take the image size from the builder, which has a default for it.
        default = 224 if name == "image_size" else parameter.default
        if default is not parameter.empty and parameter.annotation in _PLAIN and name not in forced:
            by_name[name] = Option(name, default, parameter.annotation)
    return Options(by_name)
