"""Options with which every measure is quick, for tests of what all measures share."""

from landscape.measures import MEASURES

SMALL = {
    "quantity": "loss",
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


def short(name: str, options: dict[str, object] = SMALL) -> str:
    """The measure of that name, with those of the options that it has."""
    own = ",".join(f"{key}={options[key]}" for key in MEASURES[name].options if key in options)
    return f"{name}:{own}".rstrip(":")
