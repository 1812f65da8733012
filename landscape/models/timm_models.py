"""Any network of timm by its name there: ``timm:vit_tiny_patch16_224:img_size=32``, and its pretrained weights."""

import contextlib
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from landscape.errors import InputError, UsageError
from landscape.isolation.randomness import private_randomness
from landscape.models.cnn import channels_of
from landscape.models.hub import reachable_hub
from landscape.registry.extras import install
from landscape.registry.names import Row
from landscape.registry.nearest import did_you_mean

# Options that would download or read weights.
_WEIGHTS = ("pretrained", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")


def timm_model(name: str) -> Row[nn.Module] | None:
    """The row of ``timm:NAME``; ``None`` for any other name.

    The options are those of the network's class. Where the class takes them, the image size and the number of
    channels are those of the data.

    Raises:
        UsageError: timm is not installed, or has no network of that name.
    """
    key = name.removeprefix("timm:")
    if key == name:
        return None
    timm = _library(name, key)
    create: Callable[..., nn.Module] = partial(timm.create_model, key, pretrained=False)

    def build(
        *, num_classes: int = 1000, input_shape: tuple[int, ...] | None = None, **options: Any
    ) -> nn.Module:
        for option in _WEIGHTS:
            if option in options:
                raise UsageError(f"{name} has no option '{option}': the weights are those of the checkpoint")
        if input_shape is not None:
            options = {"in_chans": channels_of(input_shape, name), **options}
            # Whether the class takes a size is only known by trying: timm passes options on to it.
            with contextlib.suppress(TypeError):
                return create(num_classes=num_classes, **{"img_size": input_shape[1:], **options})
        try:
            return create(num_classes=num_classes, **options)
        except (TypeError, ValueError, AssertionError, RuntimeError) as failure:
            settings = ", ".join(f"{option}={value}" for option, value in options.items())
            raise UsageError(f"{name} cannot be built with {settings}: {failure}") from failure

    return Row(name, build, f"timm's {key}, randomly initialised", hidden=frozenset({"input_shape"}))


def timm_weights(name: str) -> tuple[dict[str, Tensor], int]:
    """The pretrained weights of ``timm:NAME``, from the cache or the hub, and the number of their classes.

    Raises:
        InputError: There are none, or they are not in the cache and cannot be fetched.
        UsageError: timm is not installed, or has no network of that name.
    """
    key = name.removeprefix("timm:")
    timm = _library(name, key)
    with reachable_hub() as unreachable:
        try:
            with private_randomness(seed=0):
                network = timm.create_model(key, pretrained=True)
        except Exception as failure:  # of the hub, the network, timm or torch
            reason = unreachable or f"{type(failure).__name__}: {' '.join(str(failure).split())[:160]}"
            raise InputError(
                f"{name}: its weights are not in the cache of timm and cannot be fetched ({reason}); run this once "
                f"where there is a network, or name a file of weights and -m {name}"
            ) from failure
    return dict(network.state_dict()), int(network.num_classes)


def _library(name: str, key: str) -> Any:
    """The module timm, which has a network of that name."""
    try:
        import timm
    except ImportError:
        raise UsageError(f"'{name}' needs timm, which is not installed; {install('timm')} adds it") from None
    # A name and a tag: timm itself would take a hub or a folder for a name with another scheme.
    if not re.fullmatch(r"\w+(\.\w+)?", key) or not timm.is_model(key):
        raise UsageError(f"timm has no model '{key}'{did_you_mean(key, timm.list_models(), prefix='timm:')}")
    return timm
