"""Matches the tensors of a checkpoint with the names of a network, where wrappers have changed the names."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from landscape.errors import InputError

WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""What DataParallel, torch.compile, FSDP and activation checkpointing put anywhere into a name."""

PREFIXES = (*(f"{wrapper}." for wrapper in WRAPPERS), "model.", "net.", "network.", "backbone.")
"""What wrappers, Lightning modules and others put before every name."""

_AVERAGED = re.compile(r"(^|[._])(ema|swa|shadow|averaged)([._]|$)")


@dataclass(frozen=True)
class Matched:
    """Tensors under the network's names, what lies outside its part of the checkpoint, and what was stripped."""

    named: dict[str, Tensor]
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def matched(state: Mapping[str, Tensor], network: Mapping[str, Tensor], *, source: str) -> Matched:
    """The tensors of a checkpoint under the names of a network's own state.

    Wrappers' names are stripped until none is left; then a prefix under which all names of the network occur; then,
    name by name, the single tensor that ends in the same names and has the same shape, provided that nothing is left
    over on either side.
    """
    if set(state) == set(network):
        return Matched(dict(state))
    plain, own = _unwrapped(state), _unwrapped(network)
    # If two names have become one, nothing can be stripped.
    if len(set(plain.values())) < len(state) or len(set(own.values())) < len(network):
        plain, own = {name: name for name in state}, {name: name for name in network}
    back = {short: name for name, short in own.items()}
    inner = {short: state[name] for name, short in plain.items()}
    shapes = {short: network[name] for short, name in back.items()}
    stripped = {part for name, short in plain.items() if name != short for part in name.split(".")}
    stripped -= {part for name, short in own.items() if name != short for part in name.split(".")}
    notes = [f"'{wrapper}.' was stripped" for wrapper in WRAPPERS if wrapper in stripped]
    prefix = _prefix(inner, shapes, source)
    if prefix is None and (pairs := _by_suffix(inner, shapes)):
        short, name = next(((s, n) for s, n in pairs.items() if s != n), ("", ""))
        notes.append(f"{len(pairs)} names were matched by their ends, such as {name} for {short}")
        return Matched({back[s]: inner[n] for s, n in pairs.items()}, notes=tuple(notes))
    if prefix is None:
        prefix = _closest(inner, shapes)
    inside = {name.removeprefix(prefix): t for name, t in inner.items() if name.startswith(prefix)}
    named = {back.get(short, short): tensor for short, tensor in inside.items()}
    left_out = tuple(name for name in inner if not name.startswith(prefix))
    return Matched(named, left_out, (*notes, *([f"the prefix '{prefix}' was stripped"] if prefix else [])))


def common_prefixes(names: Iterable[str]) -> list[str]:
    """The prefixes of wrappers that all names have, the outermost first."""
    names = list(names)
    common: list[str] = []
    while names and (
        p := next((p for p in PREFIXES if all(n.startswith(p) and n != p for n in names)), None)
    ):
        common.append(p)
        names = [name.removeprefix(p) for name in names]
    return common


def _unwrapped(names: Iterable[str]) -> dict[str, str]:
    """Each name without the parts that wrappers put into it."""
    return {n: ".".join(part for part in n.split(".") if part not in WRAPPERS) or n for n in names}


def _prefix(state: Mapping[str, Tensor], network: Mapping[str, Tensor], source: str) -> str | None:
    """What stands before every name of the network in the checkpoint."""
    # Counters of batch norm are younger than many files, and may be absent.
    needed = [name for name in network if not name.endswith("num_batches_tracked")]
    if not needed:
        return None
    longest = max(needed, key=len)
    starts = [name.removesuffix(longest) for name in state if name.endswith(longest)]
    starts = [s for s in starts if (not s or s.endswith(".")) and all(s + name in state for name in needed)]
    starts = [s for s in starts if not _AVERAGED.search(s)] or starts
    if len(starts) > 1:
        starts = [s for s in starts if all(state[s + n].shape == network[n].shape for n in needed)]
    if len(starts) > 1 and "" not in starts:
        raise InputError(
            f"{source} holds this network {len(starts)} times, under {' and '.join(starts)}; save the one you mean "
            "alone"
        )
    return "" if "" in starts else next(iter(starts), None)


def _by_suffix(state: Mapping[str, Tensor], network: Mapping[str, Tensor]) -> dict[str, str]:
    """For every name of the network the only name of the checkpoint that ends in it, or in which it ends."""
    if len(state) != len(network):
        return {}
    ending = defaultdict(set)
    for name in state:
        for end in (name, *_ends(name)):
            ending[end].add(name)
    pairs: dict[str, str] = {}
    for name, tensor in network.items():
        candidates = ending.get(name, set()) | {end for end in _ends(name) if end in state}
        fitting = [candidate for candidate in candidates if state[candidate].shape == tensor.shape]
        if len(fitting) != 1:
            return {}
        pairs[name] = fitting[0]
    return pairs if len(set(pairs.values())) == len(state) else {}


def _ends(name: str) -> list[str]:
    """The name without its first part, its first two parts, …; at least two parts are left."""
    parts = name.split(".")
    return [".".join(parts[start:]) for start in range(1, len(parts) - 1)]


def _closest(state: Mapping[str, Tensor], network: Mapping[str, Tensor]) -> str:
    """The prefix whose removal makes most names match, with which a mismatch is explained."""
    starts = {"", *(name[: -len(end)] for name in state for end in _ends(name))}
    few = sorted(starts, key=len)[:50]  # a file may have as many beginnings as names
    return max(few, key=lambda s: sum(n.startswith(s) and n.removeprefix(s) in network for n in state))
