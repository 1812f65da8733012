"""How the columns of a table are called, scaled, and in which direction they are better."""

from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Look:
    """How a column is shown.

    Attributes:
        heading: On a screen.
        latex: The heading on paper; by default the same with LaTeX's own characters made plain.
        factor: What values are multiplied with before they are shown.
        better: Which row leads; ``None`` where neither end is what one wants.
    """

    heading: str
    latex: str | None = None
    factor: float = 1.0
    better: Better | None = None


LOOKS = {
    "accuracy": Look("accuracy (%)", r"accuracy (\%)", 100.0, "higher"),
    "sam-share": Look("SAM steps (%)", r"\% SAM", 100.0),
    "gradients": Look("gradients", "gradients", 1.0),
    "seconds": Look("seconds", "seconds", 1.0),
}
_LOWER = frozenset(
    (
        "loss",
        "gradient-norm",
        "gradient-noise",
        "surrogate-gap",
        "dominant-eigenvalue",
        "hessian-trace",
        "normalized-trace",
        "adaptive-sharpness",
        "average-sharpness",
    )
)
"""Measures that the papers want low: to lead is to be flat, which is not yet to generalise."""


def look(column: str) -> Look:
    """How a column is shown, by its measure: ``surrogate-gap:rho=0.1`` as ``surrogate-gap``."""
    measure = column.partition(":")[0]
    if column in LOOKS:
        return LOOKS[column]
    return Look(column, better="lower" if measure in _LOWER else None)
