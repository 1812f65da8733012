"""Describes a checkpoint in numbers and words, without running any code from it."""

import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from landscape.checkpoints.adapters import base_name
from landscape.checkpoints.architectures import UNNAMED, Guess, factory_of, guess
from landscape.checkpoints.names import common_prefixes
from landscape.checkpoints.reading import Contents, read_checkpoint
from landscape.checkpoints.recipes import RecipeInFile
from landscape.checkpoints.weights import Weights
from landscape.errors import UsageError
from landscape.models import MODELS

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Inspection:
    """The description of a checkpoint; see :class:`landscape.checkpoints.Contents` for the fields of both.

    Attributes:
        prefixes: Of wrappers before every name, the outermost first.
        tensors: How many.
        parameters: Numbers in them, without the statistics of batch norm.
        dtypes: How many tensors of each type.
        batch_norms: Layers with running statistics.
        not_finite: Tensors that hold NaN or infinity.
        values: Plain values beside the weights: epoch, metrics, settings.
        looks: A guess at the network; ``None`` where there is none.
        module: The class of the network, if it was pickled as a whole.
        command: The command that measures it.
    """

    path: str
    form: str
    sha256: str
    bytes: int
    key: str
    weights: Weights
    average: str | None
    prefixes: tuple[str, ...]
    tensors: int
    parameters: int
    dtypes: Mapping[str, int]
    batch_norms: int
    not_finite: tuple[str, ...]
    values: Mapping[str, object]
    recipe: Mapping[str, Any] | None
    looks: str | None
    module: str | None
    command: str
    notes: tuple[str, ...]


def inspect_checkpoint(path: str | Path, *, weights: Weights | None = None) -> Inspection:
    """Looks into a checkpoint; code stored in it does not run.

    Args:
        path: What :func:`landscape.checkpoints.read_checkpoint` reads.
        weights: ``"raw"`` or ``"ema"``.

    Raises:
        InputError: It cannot be read, or would run code when opened.
    """
    contents = read_checkpoint(path, weights=weights)
    state, recipe = contents.state, contents.recipe
    similar = guess(state)
    refused = RecipeInFile(contents.path, recipe).refused() if recipe is not None else {}
    notes = [
        f"its recipe names {text} for its {name}, which a file may not" for name, text in refused.items()
    ]
    counted = [tensor for name, tensor in state.items() if name.rpartition(".")[2] not in _STATISTICS]
    return Inspection(
        path=str(path),
        form=contents.form,
        sha256=contents.sha256,
        bytes=contents.stored,
        key=contents.key,
        weights=contents.weights,
        average=contents.average,
        prefixes=tuple(common_prefixes(state)),
        tensors=len(state),
        parameters=sum(tensor.numel() for tensor in counted),
        dtypes=dict(Counter(str(tensor.dtype).removeprefix("torch.") for tensor in state.values())),
        batch_norms=sum(name.endswith("running_mean") for name in state),
        not_finite=tuple(name for name, tensor in state.items() if not _is_finite(tensor)),
        values=contents.extra,
        recipe=recipe,
        looks=similar.looks if similar else None,
        module=contents.module,
        command=_measuring(contents, str(path), similar),
        notes=(*contents.notes, *notes),
    )


def _is_finite(tensor: Tensor) -> bool:
    # torch has no isfinite for most types of 8 bits.
    eight_bits = tensor.is_floating_point() and tensor.element_size() == 1
    return bool(torch.isfinite(tensor.float() if eight_bits else tensor).all())


def _measuring(contents: Contents, path: str, similar: Guess | None) -> str:
    """The command that measures a checkpoint, with capital letters for what must be filled in."""
    command = f"landscape measure {shlex.quote(path)}"
    if contents.adapter is not None:
        base = base_name(contents) or "FOLDER"
        return f"{command} -m {shlex.quote(f'hf:{base}')} -d DATA"
    if contents.model is not None:
        return f"{command} -d DATA"
    if contents.recipe is not None:
        return " ".join([command, *RecipeInFile(contents.path, contents.recipe).flags()])
    names = (contents.extra.get(key) for key in ("arch", "args.arch", "args.model"))
    architecture = next((name for name in names if name), None)
    if contents.config is not None and "architectures" in contents.config:
        model = f"hf:{contents.path.parent}"
    elif contents.module is not None and (own := factory_of(contents.module)) != UNNAMED:
        model = own
    elif similar and (architecture is None or similar.model.startswith(f"timm:{architecture}:")):
        model = similar.model
    elif isinstance(architecture, str) and "timm" in contents.form and "=" not in architecture:
        classes = f":num_classes={similar.classes}" if similar and similar.classes else ""
        model = _existing(f"timm:{architecture}{classes}")
    else:
        model = similar.model if similar else UNNAMED
    return f"{command} -m {shlex.quote(model)} -d DATA"


def _existing(model: str) -> str:
    """The name of a model that a file says, if it is that of one."""
    try:
        return model if MODELS.admitted(model) is not None else UNNAMED
    except UsageError:  # a network that timm does not have, or timm is not installed
        return UNNAMED
