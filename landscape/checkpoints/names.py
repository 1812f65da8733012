"""Which tensor of a checkpoint belongs to which name of a network, where wrappers have changed the names."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from landscape.errors import InputError

WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""What DataParallel, torch.compile, FSDP and activation checkpointing put anywhere into a name."""

PREFIXES = ("model.", "net.", "network.", "backbone.")
"""What Lightning modules and others put before every name."""

_AVERAGED = re.compile(r"(^|[._])(ema|swa|shadow|averaged)([._]|$)")


@dataclass(frozen=True)
class Matched:
    """Tensors under the names that the network uses.

    Attributes:
        named: All of the checkpoint's tensors; those that match under the network's names.
        left_out: Names of the checkpoint that lie outside the network's part of it.
        notes: How the names were made to match.
    """

    named: dict[str, Tensor]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]


def matched(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *, source: str) -> Matched:
    """Finds the network's tensors in a checkpoint.

    Wrappers' names are stripped until none is left; then a prefix under which all names of the network are
    found; then, name by name, the one tensor that ends in the same names and has the same shape, provided that
    nothing is left over on either side.

    Args:
        state: The checkpoint.
        wanted: The network's own state.
        source: What to call the checkpoint in messages.

    Raises:
        InputError: The network is found under several prefixes.
    """
    if set(state) == set(wanted):
        return Matched(dict(state), (), ())
    plain, own = _unwrapped(state), _unwrapped(wanted)
    back = {short: name for name, short in own.items()}
    inner = {short: state[name] for name, short in plain.items()}
    notes = _said(plain, own)
    if len(inner) < len(state) or len(back) < len(wanted):  # two names have become one
        inner, back, notes = dict(state), {name: name for name in wanted}, []
    prefix = _prefix(inner, {short: wanted[name] for short, name in back.items()}, source)
    if prefix is None:
        by_suffix = _by_suffix(inner, {short: wanted[name] for short, name in back.items()})
        if by_suffix:
            notes.append(f"{len(by_suffix)} names were matched by their ends, such as {_example(by_suffix)}")
            return Matched({back[short]: inner[name] for short, name in by_suffix.items()}, (), tuple(notes))
        prefix = _closest(inner, set(back))
    named, left_out = {}, []
    for name, tensor in inner.items():
        if name.startswith(prefix):
            short = name.removeprefix(prefix)
            named[back.get(short, short)] = tensor
        else:
            left_out.append(name)
    if prefix:
        notes.append(f"the prefix '{prefix}' was stripped")
    return Matched(named, tuple(left_out), tuple(notes))


def common_prefixes(names: Iterable[str]) -> list[str]:
    """The prefixes of wrappers that all names have, the outermost first."""
    names = list(names)
    found: list[str] = []
    known = (*(f"{wrapper}." for wrapper in WRAPPERS), *PREFIXES)
    while names and (
        prefix := next((p for p in known if all(n.startswith(p) and n != p for n in names)), None)
    ):
        found.append(prefix)
        names = [name.removeprefix(prefix) for name in names]
    return found


def _unwrapped(names: Iterable[str]) -> dict[str, str]:
    """Each name without the parts that wrappers put into it."""
    return {
        name: ".".join(part for part in name.split(".") if part not in WRAPPERS) or name for name in names
    }


def _said(plain: Mapping[str, str], own: Mapping[str, str]) -> list[str]:
    here = {part for name, short in plain.items() if name != short for part in name.split(".")}
    there = {part for name, short in own.items() if name != short for part in name.split(".")}
    return [f"'{wrapper}.' was stripped" for wrapper in WRAPPERS if wrapper in here - there]


def _prefix(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], source: str) -> str | None:
    """What is before every name of the network in the checkpoint; counters of batch norm may be absent."""
    needed = [name for name in wanted if not name.endswith("num_batches_tracked")]
    if not needed:
        return None
    longest = max(needed, key=len)
    starts = [name.removesuffix(longest) for name in state if name.endswith(longest)]
    found = [
        start
        for start in starts
        if (not start or start.endswith(".")) and all(start + name in state for name in needed)
    ]
    raw = [start for start in found if not _AVERAGED.search(start)] or found
    if len(raw) > 1:
        raw = [start for start in raw if all(state[start + n].shape == wanted[n].shape for n in needed)]
    if len(raw) > 1 and "" not in raw:
        raise InputError(
            f"{source} holds this network {len(raw)} times, under {' and '.join(raw)}; save the one you mean alone"
        )
    return "" if "" in raw else next(iter(raw), None)


def _by_suffix(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, str]:
    """For every name of the network the only name of the checkpoint that ends in it, or in which it ends."""
    if len(state) != len(wanted):
        return {}
    ends = defaultdict(list)
    for name in state:
        ends[name].append(name)
        for end in _ends(name):
            ends[end].append(name)
    found: dict[str, str] = {}
    for name, tensor in wanted.items():
        candidates = {*ends.get(name, ()), *(end for end in _ends(name) if end in state)}
        fitting = [c for c in candidates if tuple(state[c].shape) == tuple(tensor.shape)]
        if len(fitting) != 1:
            return {}
        found[name] = fitting[0]
    return found if len(set(found.values())) == len(state) else {}


def _ends(name: str) -> list[str]:
    """The name without its first part, its first two parts, …; at least two parts are left."""
    parts = name.split(".")
    return [".".join(parts[start:]) for start in range(1, len(parts) - 1)]


def _closest(state: Mapping[str, Tensor], wanted: set[str]) -> str:
    """The prefix whose removal makes most names match: what does not fit is explained with it."""
    starts = {"", *(name[: -len(end)] for name in state for end in _ends(name))}
    few = sorted(starts, key=len)[:50]
    return max(
        few, key=lambda start: sum(n.startswith(start) and n.removeprefix(start) in wanted for n in state)
    )


def _example(pairs: Mapping[str, str]) -> str:
    short, name = next(((s, n) for s, n in pairs.items() if s != n), ("", ""))
    return f"{name} for {short}"
