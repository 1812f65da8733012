"""How the columns of a table are headed and scaled, and which direction is better."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Look:
    """Appearance of a column.

    Attributes:
        heading: Heading on a terminal.
        latex: Heading as LaTeX source; by default the escaped ``heading``.
        factor: Factor applied to the values before they are shown.
        better: Which direction is better, if one is.
    """

    heading: str
    latex: str | None = None
    factor: float = 1.0
    better: Literal["higher", "lower"] | None = None


_LOOKS = {
    "accuracy": Look("accuracy (%)", r"accuracy (\%)", 100.0, "higher"),
    "sam-share": Look("SAM steps (%)", r"\% SAM", 100.0),
}
# What the papers want low. A lower value is flatter, which does not yet mean that the network generalises better.
_LOWER = (
    *("loss", "gradient-norm", "gradient-noise", "surrogate-gap", "dominant-eigenvalue", "hessian-trace"),
    *("normalized-trace", "adaptive-sharpness", "average-sharpness"),
)


def look(column: str) -> Look:
    """Default appearance of a column, by its measure: ``surrogate-gap:rho=0.1`` as ``surrogate-gap``."""
    better: Literal["lower"] | None = "lower" if column.partition(":")[0] in _LOWER else None
    return _LOOKS.get(column) or Look(column, better=better)
