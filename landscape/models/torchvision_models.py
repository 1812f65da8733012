"""Any classification network of torchvision by its name there: ``torchvision:resnet18``, without weights."""

import inspect
from typing import Any

from torch import nn

from landscape.errors import InputError, UsageError
from landscape.registry.names import Row
from landscape.registry.nearest import did_you_mean

_PLAIN = (int, float, bool, str)
_FORCED: dict[str, dict[str, Any]] = {
    # Their auxiliary heads change what the network returns while it trains.
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}


def torchvision_model(name: str) -> Row[nn.Module] | None:
    """The row of ``torchvision:NAME``, or ``None`` where ``name`` is something else.

    The options are those of the network's class that are plain values with a default.

    Raises:
        UsageError: torchvision has no classification network of that name, or has one whose prefix was left
            out.
    """
    kind, colon, wanted = name.partition(":")
    if colon and kind != "torchvision":
        return None
    from torchvision import models

    known = models.list_models(module=models)
    key = (wanted or kind).lower().replace("-", "_")
    if not colon:
        if key in known:
            raise UsageError(f"unknown model '{name}' (did you mean 'torchvision:{key}'?)")
        return None
    if key not in known:
        guess = did_you_mean(key, known, prefix="torchvision:")
        raise UsageError(f"torchvision has no classification model '{wanted}'{guess}")

    def build(**options: Any) -> nn.Module:
        input_shape = options.pop("input_shape", None)
        if input_shape is not None and (len(input_shape) != 3 or input_shape[0] != 3):
            raise InputError(
                f"torchvision:{key} takes colour pictures (3, height, width), but one input of this data has "
                f"the shape {input_shape}; use mlp, cnn, resnet18 or resnet20"
            )
        try:
            model: nn.Module = models.get_model(key, weights=None, **_FORCED.get(key, {}), **options)
        except (TypeError, ValueError, AssertionError) as failure:
            given = ", ".join(f"{name}={value}" for name, value in options.items())
            raise UsageError(f"torchvision:{key} cannot be built with {given}: {failure}") from failure
        return model

    signature = _signature(models.get_model_builder(key), _FORCED.get(key, {}))
    build.__signature__ = signature  # type: ignore[attr-defined]
    build.__annotations__ = {name: p.annotation for name, p in signature.parameters.items()}
    summary = f"torchvision's {key}, randomly initialised"
    return Row(f"torchvision:{key}", build, summary, hidden=frozenset({"input_shape"}))


def _signature(builder: Any, forced: dict[str, Any]) -> inspect.Signature:
    """The plain options of the class that a torchvision builder returns, as keyword-only parameters."""
    network = inspect.signature(builder).return_annotation
    options = []
    for parameter in inspect.signature(network).parameters.values():
        default = parameter.default
        if parameter.name == "image_size":
            # Vision transformers take it from the builder, which has a default for it.
            default = 224
        if default is parameter.empty or parameter.annotation not in _PLAIN or parameter.name in forced:
            continue
        options.append(parameter.replace(kind=parameter.KEYWORD_ONLY, default=default))
    shape = inspect.Parameter(
        "input_shape", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=tuple[int, ...] | None
    )
    return inspect.Signature([*options, shape])
