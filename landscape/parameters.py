"""A network's parameters as one vector θ ∈ ℝⁿ: names, shapes, offsets and filters.

Shared (tied) tensors appear once. Parameters that do not require a gradient are constants of the problem,
unless they are selected by name.
"""

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import torch
from torch import Tensor, nn

from landscape.errors import UsageError
from landscape.registry.nearest import did_you_mean

Role = Literal["filter", "embedding", "scale", "bias", "other"]
Selection = Sequence[str] | Callable[[str, nn.Parameter], bool] | None

# The base of batch and instance norms has no public name.
_NORMALISATIONS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@dataclass(frozen=True)
class Entry:
    """One parameter tensor: its name, shape, place in θ and role.

    The role determines how directions are normalised: ``filter`` (weights of linear and convolution layers, one
    filter per output unit), ``embedding`` (one filter per row), ``scale`` (the gain of a normalisation),
    ``bias`` (any shift), ``other`` (one-off tensors such as a class token: the tensor is one filter).
    """

    name: str
    shape: tuple[int, ...]
    offset: int
    size: int
    role: Role

    @property
    def filters(self) -> int:
        """The number of filters in the tensor."""
        return self.shape[0] if self.role in ("filter", "embedding") and self.shape else 1


@dataclass(frozen=True)
class Layout:
    """The layout of θ: entries in the order of ``model.named_parameters()``, deduplicated."""

    entries: tuple[Entry, ...]

    @property
    def dimension(self) -> int:
        """The number of coordinates, n."""
        return sum(entry.size for entry in self.entries)

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters' names, in order."""
        return tuple(entry.name for entry in self.entries)

    def flatten(self, tensors: Sequence[Tensor]) -> Tensor:
        """The vector ``(n,)`` of tensors that are shaped like the parameters, in order."""
        return torch.cat([tensor.reshape(-1) for tensor in tensors])

    def split(self, vector: Tensor) -> list[Tensor]:
        """The views of a vector ``(n,)``, shaped like the parameters, in order."""
        return [vector[e.offset : e.offset + e.size].view(e.shape) for e in self.entries]

    def named(self, vector: Tensor) -> dict[str, Tensor]:
        """The views of a vector ``(n,)`` by parameter name."""
        return dict(zip(self.names, self.split(vector), strict=True))


def layout(model: nn.Module, parameters: Selection = None) -> Layout:
    """The layout of a model's free parameters.

    Args:
        model: Any module.
        parameters: Which parameters are free: ``None`` for all that require a gradient; a list of name
            patterns (``["layer4.*", "fc.weight"]``), of which those with ``!`` in front exclude (``["!*.bias"]``
            alone: all that require a gradient but the biases); or a predicate on ``(name, parameter)``. A tied
            tensor matches by any of its names, and is listed under its first.

    Raises:
        UsageError: No parameter is free, or a pattern matches none.
    """
    roles = parameter_roles(model)
    entries, offset = [], 0
    for name, parameter in _selected(model, parameters):
        shape, role = tuple(parameter.shape), roles.get(id(parameter), "other")
        entries.append(Entry(name, shape, offset, parameter.numel(), role))
        offset += parameter.numel()
    if offset == 0:
        total = sum(1 for _ in model.parameters())
        way_out = "call requires_grad_(True) on those that should vary, or pass parameters=[…]"
        if parameters is not None:
            way_out = f"parameters={selection_name(parameters, ())} excludes all of them"
        raise UsageError(
            f"no free parameter: {type(model).__name__} has {total} parameter tensors and none is chosen; {way_out}"
        )
    return Layout(tuple(entries))


def sharded_by(parameter: Tensor) -> str | None:
    """What has divided a tensor over processes, of which this one holds a part; ``None`` for a plain tensor."""
    # Only who imported the class can have made one; the import costs a second.
    tensors = sys.modules.get("torch.distributed.tensor")
    if tensors is not None and isinstance(parameter, tensors.DTensor):
        return "DTensor, of fully_shard or tensor parallelism"
    return "FullyShardedDataParallel" if getattr(parameter, "_fsdp_flattened", False) else None


def selection_name(parameters: Selection, names: Sequence[str]) -> str | None:
    """The selection in records, as typed, or a hash of the ``names`` that a predicate selected; ``None`` for all."""
    if parameters is None:
        return None
    if callable(parameters):
        digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:12]
        return f"{len(names)} tensors chosen by a function, {digest}"
    return ",".join(_patterns(parameters))


def selection_note(model: nn.Module, parameters: Selection, names: Sequence[str]) -> list[str]:
    """One line on which parameters of a model are free, by their ``names``; no line if all are."""
    everything = dict(model.named_parameters())
    fixed = [name for name in everything if name not in names]
    if not fixed:
        return []
    few = "{}, …".format(", ".join(fixed[:3])) if len(fixed) > 3 else ", ".join(fixed)
    free, total = (sum(everything[name].numel() for name in each) for each in (names, everything))
    if parameters is None:
        return [
            f"{len(fixed)} of {len(everything)} parameter tensors ({total - free:,} of {total:,} weights) do not "
            f"require a gradient and are held fixed: {few}"
        ]
    return [
        f"{len(names)} of {len(everything)} parameter tensors ({free:,} of {total:,} weights) are free: "
        f"{selection_name(parameters, names)}"
    ]


def _patterns(parameters: Sequence[str]) -> list[str]:
    patterns = [parameters] if isinstance(parameters, str) else list(parameters)
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise UsageError(
                f"parameters are selected by name, such as ['layer4.*', 'fc.weight'], not by {type(pattern).__name__}: "
                "pass names or a function of (name, parameter)"
            )
    return patterns


def _selected(model: nn.Module, parameters: Selection) -> Iterator[tuple[str, nn.Parameter]]:
    """The free parameters of a model, each tensor once, in the order of ``named_parameters``."""
    aliases: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):  # tied tensors have several names
        aliases.setdefault(id(parameter), []).append(name)
    patterns: list[str] = []
    if parameters is not None and not callable(parameters):
        patterns = _patterns(parameters)
        _refuse_unmatched(patterns, [name for names in aliases.values() for name in names])
    included = [pattern for pattern in patterns if not pattern.startswith("!")]
    excluded = [pattern[1:] for pattern in patterns if pattern.startswith("!")]

    def matches(parameter: nn.Parameter, globs: Sequence[str]) -> bool:
        return any(fnmatchcase(name, glob) for name in aliases[id(parameter)] for glob in globs)

    for name, parameter in model.named_parameters():
        if callable(parameters):
            is_free = any(parameters(alias, parameter) for alias in aliases[id(parameter)])
        else:
            is_free = matches(parameter, included) if included else parameter.requires_grad
            is_free = is_free and not matches(parameter, excluded)
        if is_free:
            yield name, parameter


def _refuse_unmatched(patterns: Sequence[str], names: Sequence[str]) -> None:
    """Raises a :class:`UsageError` for a pattern that matches none of the names, with the nearest one."""
    prefixes = [name[:dot] for name in names for dot in range(len(name)) if name[dot] == "."]
    globs = [f"{prefix}.*" for prefix in dict.fromkeys(prefixes)]
    for pattern in patterns:
        glob = pattern.removeprefix("!")
        if not any(fnmatchcase(name, glob) for name in names):
            known = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
            hint = did_you_mean(glob, [*names, *globs])
            raise UsageError(f"parameters: '{pattern}' matches none of {known}{hint}")


def parameter_roles(model: nn.Module) -> Mapping[int, Role]:
    """The role of every parameter by ``id``, which the kind of module that owns it decides first."""
    roles: dict[int, Role] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            role: Role = "other"
            if isinstance(module, _NORMALISATIONS):
                role = "scale" if name == "weight" else "bias"
            elif isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
                role = "embedding"
            elif "bias" in name and parameter.ndim <= 1:
                role = "bias"
            # Class tokens and position tables have two dimensions and more, but no output units.
            elif parameter.ndim >= 2 and not name.endswith(("token", "embed", "embedding", "table")):
                role = "filter"
            roles.setdefault(id(parameter), role)
    return roles


def normalisation_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The gains and shifts of the normalisation layers of a model, each tensor once."""
    layers = [module for module in model.modules() if isinstance(module, _NORMALISATIONS)]
    return list(dict.fromkeys(p for layer in layers for p in layer.parameters(recurse=False)))
