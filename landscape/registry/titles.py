"""Optimizers as papers write them: ``gsam:rho=0.1`` is "GSAM (ρ = 0.1)".

Apart from the table of optimizers, because tables and figures are made without torch.
"""

import re
from collections.abc import Iterable

from landscape.errors import UsageError
from landscape.registry.names import split

# Names that end in "sam" or "sgd", such as "cr-sam", are capitals unless they are listed.
_CAPITALS = re.compile(r"([a-z]+-)?[a-z]*(sam|sgd)|gnp|gam|saf|mesa|swa|sam-on|ssam-[fd]")
_MIXED = {
    "adam": "Adam",
    "adamw": "AdamW",
    "muon": "Muon",
    "schedulefree-sgd": "ScheduleFree-SGD",
    "schedulefree-adamw": "ScheduleFree-AdamW",
    "rmsprop": "RMSProp",
    "adaptive-gsam": "Adaptive-GSAM",
    "weighted-gap": "Weighted gap",
    "looksam": "LookSAM",
    "ae-looksam": "AE-LookSAM",
    "stable-sam": "Stable-SAM",
    "vasso": "VaSSO",
    "focal-sam": "Focal-SAM",
    "functional-sam": "Functional-SAM",
    "tilted-sam": "Tilted SAM",
    "lookbehind-sam": "Lookbehind-SAM",
    "zsharp": "ZSharp",
    "logits-sam": "logits-SAM",
    "unified-sam": "Unified SAM",
    "fisher-sam": "Fisher-SAM",
    "n-step-sam": "n-step SAM",
    "sampa": "SAMPa",
    "eigen-sam": "Eigen-SAM",
    "m-sam": "m-SAM",
    "hessian-trace-reg": "Hessian-trace regularisation",
    "ada-sam": "AdaSAM",
    "bsam": "bSAM",
    "entropy-sgd": "Entropy-SGD",
}
_SYMBOLS = {
    **{
        "rho": "ρ",
        "alpha": "α",
        "beta": "β",
        "gamma": "γ",
        "delta": "δ",
        "eta": "η",
        "sigma": "σ",
        "tau": "τ",
    },
    **{"theta": "θ", "lam": "λ", "beta1": "β₁", "beta2": "β₂", "lambda1": "λ₁", "lambda2": "λ₂", "eps": "ε"},
}


def title(specification: str) -> str:
    """An optimizer with its options as a paper writes it; any other text unchanged.

    Args:
        specification: A name of ``landscape.optim.OPTIMIZERS`` with options, such as ``"gsam:rho=0.1"``.
    """
    try:
        parsed = split(specification)
    except UsageError:  # the text may come from a file
        return specification
    name = parsed.name.replace("_", "-")
    if name not in _MIXED and not _CAPITALS.fullmatch(name):
        return specification
    options = [f"{key}={value}" for key, value in parsed.options.items()]
    return with_options(_MIXED.get(name) or name.upper(), options)


def with_options(name: str, options: Iterable[str]) -> str:
    """``name (ρ = 0.1)`` from the options ``("rho=0.1",)``; the name alone without options."""
    written = []
    for option in options:
        key, equals, value = option.partition("=")
        written.append(f"{_SYMBOLS.get(key, key.replace('_', ' '))}{f' = {value}' if equals else ''}")
    return f"{name} ({', '.join(written)})" if written else name


def row_title(row: str, fields: str) -> str:
    """The label of a table's row with its optimizers as papers write them.

    Args:
        row: The label: the value of the first field, then ``field=value`` for the others, separated by spaces.
        fields: The recipe fields of the rows, such as ``"optimizer, lr"``.
    """
    first, *others = fields.split(", ")
    words = row.split(" ")
    if len(words) != 1 + len(others):
        return row
    titles = [title(words[0]) if first in _OPTIMIZERS else words[0]]
    for word in words[1:]:
        field, _, value = word.partition("=")
        titles.append(f"{field}={title(value)}" if field in _OPTIMIZERS else word)
    return " ".join(titles)


_OPTIMIZERS = ("optimizer", "base")
