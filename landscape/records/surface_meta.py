"""The schema of a surface's meta data: fields and types, validated once when a file is read.

Everything that captions and figures use is described here, so that they need no checks of their own. Fields that are
not described are kept and ignored.
"""

from collections.abc import Mapping, Sequence
from typing import Any

# A type or several; [type] for a list, [type, n] for one of at most n entries; {name: type} for a mapping, where
# "name!" is a required field and "*" stands for every other one.
_NUMBER = (int, float)
_NONE = type(None)
_BARRIER = {"height!": _NUMBER, "at!": _NUMBER}
_LOSSES = {"loss!": _NUMBER, "*": _NUMBER}
_CHECK = {"label!": str, "sha256!": str, "distance!": _NUMBER, "agree!": (bool, _NONE), "held": str}
_PROVENANCE = {"batch_norm": str, "num_examples": int, "parameters": (str, _NONE), "frozen": (str, _NONE)}
_TEXTS = ("batch_norm", "command", "disagreement", "forward", "label", "loss", "source")
META: Mapping[str, Any] = {
    "plane": {
        "settings": {},
        "norms": [_NUMBER, 2],
        "cosine": (*_NUMBER, _NONE),
        "ignored": [str],
        "labels": [str, 2],
        "eigenvalues": [_NUMBER],
        "converged": bool,
        "explained_variance": [_NUMBER],
        "explained_variance_of_a_random_walk": [_NUMBER],
        "curve": {"barrier": _BARRIER},
    },
    "centre": {"loss!": _NUMBER, "sha256": str},
    "provenance": _PROVENANCE,
    "test": _PROVENANCE,
    "barrier": {"*": _BARRIER},
    "checkpoints": [{**_CHECK, "surface!": _LOSSES, "own!": _LOSSES, "stored": _LOSSES}],
    "aligned": {
        "to!": str,
        "networks!": [
            {
                "label!": str,
                "moved!": int,
                "units!": int,
                "distances!": {"before!": _NUMBER, "after!": _NUMBER},
                "held": [str],
            }
        ],
        "before": {"loss!": [_NUMBER], "test_loss": [_NUMBER], "barrier!": {"*": _BARRIER}},
    },
    "asked": {},
    **dict.fromkeys(_TEXTS, str),
}


def misfit(content: object, kind: Any = META, place: str = "meta") -> str | None:
    """The first deviation of the content from its description, in words; ``None`` if there is none."""
    if isinstance(kind, Mapping):
        if not isinstance(content, Mapping):
            return f"{place} is {_abridged(content)}, not a mapping"
        missing = [name[:-1] for name in kind if name.endswith("!") and name[:-1] not in content]
        if missing:
            return f"{place} has no {missing[0]}"
        types = {name.rstrip("!"): each for name, each in kind.items()}
        parts = [(str(name), value, types.get(str(name), types.get("*"))) for name, value in content.items()]
    elif isinstance(kind, list):
        if isinstance(content, str) or not isinstance(content, Sequence):
            return f"{place} is {_abridged(content)}, not a list"
        if len(kind) > 1 and len(content) > kind[1]:
            return f"{place} has {len(content)} entries, more than {kind[1]}"
        parts = [(str(index), value, kind[0]) for index, value in enumerate(content)]
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
