"""The schema of a surface's meta data: fields and types, validated once when a file is read.

Everything that captions and figures use is described here, so that they need no checks of their own. Fields that are
not described are kept and ignored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

Type: TypeAlias = "type | tuple[type, ...] | Many | Fields"


@dataclass(frozen=True)
class Many:
    """A list of entries of one type, with at most ``most`` of them."""

    entry: Type
    most: int | None = None


@dataclass(frozen=True)
class Fields:
    """A mapping with these fields; if ``every`` is given, all others are of that type."""

    needed: Mapping[str, Type] = field(default_factory=dict)
    optional: Mapping[str, Type] = field(default_factory=dict)
    every: "Type | None" = None


_NUMBER = (int, float)
_NONE = type(None)
_BARRIER = Fields({"height": _NUMBER, "at": _NUMBER})
_LOSSES = Fields({"loss": _NUMBER}, every=_NUMBER)
_PLANE = Fields(
    optional={
        "settings": Fields(),
        "norms": Many(_NUMBER, most=2),
        "cosine": (*_NUMBER, _NONE),
        "ignored": Many(str),
        "labels": Many(str, most=2),
        "eigenvalues": Many(_NUMBER),
        "converged": bool,
        "explained_variance": Many(_NUMBER),
        "explained_variance_of_a_random_walk": Many(_NUMBER),
        "curve": Fields(optional={"barrier": _BARRIER}),
    }
)
_CHECK = Fields(
    {
        "label": str,
        "sha256": str,
        "distance": _NUMBER,
        "surface": _LOSSES,
        "own": _LOSSES,
        "agree": (bool, _NONE),
    }
)
_PROVENANCE = Fields(optional={"batch_norm": str, "num_examples": int})
_TEXTS = ("batch_norm", "command", "disagreement", "forward", "label", "loss", "source")
META = Fields(
    optional={
        "plane": _PLANE,
        "centre": Fields({"loss": _NUMBER}, {"sha256": str}),
        "provenance": _PROVENANCE,
        "test": _PROVENANCE,
        "barrier": Fields(every=_BARRIER),
        "checkpoints": Many(_CHECK),
        "asked": Fields(),
        **dict.fromkeys(_TEXTS, str),
    }
)


def misfit(content: object, kind: Type = META, place: str = "meta") -> str | None:
    """The first deviation of the content from its description, in words; ``None`` if there is none.

    Args:
        content: The content of a file.
        kind: Its description.
        place: Its name in the message.
    """
    if isinstance(kind, Fields):
        if not isinstance(content, Mapping):
            return f"{place} is {_abridged(content)}, not a mapping"
        missing = [name for name in kind.needed if name not in content]
        if missing:
            return f"{place} has no {missing[0]}"
        types = {**kind.optional, **kind.needed}
        parts = [(str(name), value, types.get(str(name), kind.every)) for name, value in content.items()]
    elif isinstance(kind, Many):
        if isinstance(content, str) or not isinstance(content, Sequence):
            return f"{place} is {_abridged(content)}, not a list"
        if kind.most is not None and len(content) > kind.most:
            return f"{place} has {len(content)} entries, more than {kind.most}"
        parts = [(str(index), value, kind.entry) for index, value in enumerate(content)]
    else:
        return None if _is(content, kind) else f"{place} is {_abridged(content)}"
    problems = (misfit(value, each, f"{place}.{name}") for name, value, each in parts if each is not None)
    return next((problem for problem in problems if problem is not None), None)


def _is(content: object, kind: type | tuple[type, ...]) -> bool:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if isinstance(content, bool):
        return bool in kinds  # True is an int to isinstance
    if isinstance(content, int) and int in kinds:
        return abs(content) < 1 << 1000  # a larger one has no float
    return isinstance(content, kinds)


def _abridged(content: object) -> str:
    if isinstance(content, int) and content.bit_length() > 64:
        return "a number of more than 64 bits"
    text = repr(content)
    return text if len(text) <= 40 else f"{text[:37]}…"
