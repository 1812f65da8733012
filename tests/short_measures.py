"""Options with which every measure is quick, for tests of what all measures share."""

from collections.abc import Mapping

from landscape.measures import MEASURES

SMALL = {
    "quantity": "loss",  # accuracies of few examples are steps
    "tolerance": 0.01,
    "k": 2,
    "steps": 3,
    "probes": 2,
    "draws": 3,
    "max_probes": 8,
    "max_pairs": 4,
    "max_directions": 3,
}
"""By the names of options, which mean the same in every measure."""


def short(name: str, options: Mapping[str, object] = SMALL, table: Mapping = MEASURES) -> str:
    """A row of a table, of the measures by default, with those of the options that it has."""
    own = ",".join(f"{key}={value}" for key, value in options.items() if key in table[name].options)
    return f"{name}:{own}".rstrip(":")
