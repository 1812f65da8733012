"""A network's parameters as one vector θ ∈ ℝⁿ: names, shapes, offsets and filters.

Shared (tied) tensors appear once. Parameters that do not require a gradient are constants of the problem,
unless they are selected by name.
"""

import hashlib
import re
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
        return (
            torch.cat([tensor.reshape(-1) for tensor in tensors])
            if tensors
            else torch.empty(0, device="cpu", dtype=torch.float32)
        )

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
            alone: all that require a gradient but the biases); or a predicate on ``(name, parameter)``. A pattern
            matches whole names, in which ``*`` also stands for dots; one that matches none is matched with what
            follows a dot, so that ``"lora_*"`` are the adapters. A tied tensor matches by any of its names, and is
            listed under its first.

    Raises:
        UsageError: No parameter is free, or a pattern matches none.
    """
    roles = parameter_roles(model)
    entries, offset = [], 0
    for name, parameter in _selected(model, parameters):
        shape, role = tuple(parameter.shape), roles.get(id(parameter), "other")
        entries.append(Entry(name, shape, offset, parameter.numel(), role))
        offset += parameter.numel()
    if offset == 0 and not (parameters is None and _only_integers(model)):
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
    """Which parameters of a model are free, by their ``names``, and which are not; no line if all are free."""
    everything = dict(model.named_parameters())
    integers = integer_weights(model)
    if len(names) == len(everything) and not integers:
        return []
    notes = []
    if integers:
        few = _few([f"{name} ({kind})" for name, kind in integers.items()])
        notes.append(f"integer weights, which have no derivative, are held fixed: {few}")
    if parameters is not None:
        counts = _counted(everything, names)
        notes.append(f"{counts} are free: {selection_name(parameters, names)}")
        notes += [] if callable(parameters) else _split_ties(model, parameters, names)
    fixed = _not_required(everything, parameters, names)
    if fixed:
        counts = _counted(everything, fixed)
        notes.append(f"{counts} do not require a gradient and are held fixed: {_few(fixed)}")
    return notes


def frozen(model: nn.Module, parameters: Selection, names: Sequence[str]) -> str | None:
    """In records, what is held fixed for requiring no gradient, not by the selection; ``None`` for nothing.

    Equal texts are of the same tensors: beyond three names there is a hash of all.
    """
    everything = dict(model.named_parameters())
    fixed = _not_required(everything, parameters, names)
    if not fixed:
        return None
    digest = hashlib.sha256("\n".join(fixed).encode()).hexdigest()[:12]
    return f"{_counted(everything, fixed)}, {_few(fixed)}{f' {digest}' if len(fixed) > 3 else ''}"


def _not_required(
    everything: Mapping[str, nn.Parameter], parameters: Selection, names: Sequence[str]
) -> list[str]:
    """The parameters that are not free because they do not require a gradient."""
    if callable(parameters) or any(not pattern.startswith("!") for pattern in _patterns(parameters or ())):
        return []
    fixed = ((n, p) for n, p in everything.items() if n not in names and p.is_floating_point())
    return [name for name, parameter in fixed if not parameter.requires_grad]


def integer_weights(model: nn.Module) -> dict[str, str]:
    """The integers that a quantised network computes with: names of parameters, buffers and layers, and their kinds."""
    integers = {
        n: _dtype(p) for n, p in model.named_parameters() if not p.is_floating_point() or p.is_quantized
    }
    for name, buffer in model.named_buffers():
        if (
            buffer.dtype in (torch.int8, torch.uint8) and buffer.ndim > 1
        ):  # others are counts, masks and positions
            integers[name] = _dtype(buffer)
    for name, module in model.named_modules():
        # Layers of torch.ao keep theirs in objects that are no tensors; what is inside such a layer is a part of it.
        if ".quantized." in type(module).__module__ and not any(name.startswith(f"{n}.") for n in integers):
            integers[name] = type(module).__name__
    return integers


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _only_integers(model: nn.Module) -> bool:
    """Whether a network has weights, and none in floating point."""
    return not any(p.is_floating_point() for p in model.parameters()) and bool(integer_weights(model))


def _counted(everything: Mapping[str, nn.Parameter], names: Sequence[str]) -> str:
    """``"2 of 4 parameter tensors (8 of 20 weights)"``."""
    part, total = (sum(everything[name].numel() for name in group) for group in (names, everything))
    return f"{len(names)} of {len(everything)} parameter tensors ({part:,} of {total:,} weights)"


def _few(names: Sequence[str]) -> str:
    return "{}, …".format(", ".join(names[:3])) if len(names) > 3 else ", ".join(names)


def _split_ties(model: nn.Module, parameters: Sequence[str], free: Sequence[str]) -> list[str]:
    """A line on each tensor of which the pattern that decides matches some names and not others."""
    notes = []
    patterns, aliases = _patterns(parameters), list(_aliases(model).values())
    every = [name for names in aliases for name in names]
    matched = {pattern: _matched(pattern, every) for pattern in patterns}
    for names in aliases:
        is_free = names[0] in free
        for pattern, matches in matched.items():
            if pattern.startswith("!") != is_free and 0 < len(matches.intersection(names)) < len(names):
                effect = (
                    f"'{pattern}' {'frees' if is_free else 'holds'} all of it{'' if is_free else ' fixed'}"
                )
                notes.append(f"{' and '.join(names)} are one tensor: {effect}")
                break
    return notes


def _patterns(parameters: Sequence[str]) -> list[str]:
    patterns = [parameters] if isinstance(parameters, str) else list(parameters)
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise UsageError(
                f"parameters are selected by name, such as ['layer4.*', 'fc.weight'], not by {type(pattern).__name__}: "
                "pass names or a function of (name, parameter)"
            )
    return patterns


def _aliases(model: nn.Module) -> dict[int, list[str]]:
    """The names of every parameter tensor by its ``id``; tied tensors have several."""
    aliases: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        aliases.setdefault(id(parameter), []).append(name)
    return aliases


def _selected(model: nn.Module, parameters: Selection) -> Iterator[tuple[str, nn.Parameter]]:
    """The free parameters of a model, each tensor once, in the order of ``named_parameters``."""
    aliases = _aliases(model)
    patterns: list[str] = []
    if parameters is not None and not callable(parameters):
        patterns = _patterns(parameters)
    every = [name for names in aliases.values() for name in names]
    matched = {pattern: _matched(pattern, every) for pattern in patterns}
    _refuse_unmatched(matched, every)
    included = [names for pattern, names in matched.items() if not pattern.startswith("!")]
    excluded = [names for pattern, names in matched.items() if pattern.startswith("!")]

    def is_in(parameter: nn.Parameter, groups: Sequence[frozenset[str]]) -> bool:
        return any(not names.isdisjoint(aliases[id(parameter)]) for names in groups)

    for name, parameter in model.named_parameters():
        if not parameter.is_floating_point():
            continue
        if callable(parameters):
            is_free = any(parameters(alias, parameter) for alias in aliases[id(parameter)])
        else:
            is_free = is_in(parameter, included) if included else parameter.requires_grad
            is_free = is_free and not is_in(parameter, excluded)
        if is_free:
            yield name, parameter


def _matched(pattern: str, names: Sequence[str]) -> frozenset[str]:
    """The names that a pattern means: those that it matches as a whole or, if there is none, after a dot."""
    glob = pattern.removeprefix("!")
    whole = frozenset(name for name in names if fnmatchcase(name, glob))
    return whole or frozenset(name for name in names if any(fnmatchcase(end, glob) for end in _ends(name)))


def _ends(name: str) -> list[str]:
    """What follows each dot of a name."""
    return [name[dot + 1 :] for dot, sign in enumerate(name) if sign == "."]


def _refuse_unmatched(matched: Mapping[str, frozenset[str]], names: Sequence[str]) -> None:
    """Raises a :class:`UsageError` for a pattern that matches none of the names, with the nearest one."""
    for pattern in (pattern for pattern, matches in matched.items() if not matches):
        known = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        prefixes = dict.fromkeys(name[:dot] for name in names for dot, sign in enumerate(name) if sign == ".")
        wholes = [*names, *(f"{prefix}.*" for prefix in prefixes)]
        if "*" in pattern:
            wholes = list(dict.fromkeys([*(re.sub(r"\.\d+\.", ".*.", whole) for whole in wholes), *wholes]))
        hint = did_you_mean(pattern.removeprefix("!"), [*wholes, *(end for n in wholes for end in _ends(n))])
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
