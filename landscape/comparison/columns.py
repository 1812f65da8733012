"""Columns of a table: their headings, scales and better direction, and the columns of papers' tables by name."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from landscape.registry.names import NameTable, Row, split_of
from landscape.registry.titles import with_options
from landscape.tables.escaping import for_latex
from landscape.tables.latex import heading as latex_heading


@dataclass(frozen=True)
class Look:
    """Heading of a column, the factor of its values, and which direction is better, if one is.

    ``latex`` is the source of the heading. ``symbol_of`` is the measure if the heading is its
    symbol, and otherwise empty.
    """

    heading: str
    latex: str = ""
    factor: float = 1.0
    better: Literal["higher", "lower"] | None = None
    symbol_of: str = ""


# What the papers want low. A lower value is flatter, which does not yet mean that the network generalises better.
_SYMBOLS = {
    "loss": ("L", "$L$"),
    "gradient-norm": ("‖∇L‖", ""),
    "surrogate-gap": ("h", "$h$"),
    "dominant-eigenvalue": ("λ_max", ""),
    "hessian-trace": ("Tr H", r"$\mathrm{Tr}\,H$"),
    "normalized-trace": ("C", r"$\mathcal{C}$"),
}
_LOOKS = {
    **{name: Look(*symbol, better="lower", symbol_of=name) for name, symbol in _SYMBOLS.items()},
    **{
        name: Look(name, better="lower")
        for name in ("gradient-noise", "adaptive-sharpness", "average-sharpness")
    },
    "accuracy": Look("accuracy (%)", factor=100.0, better="higher"),
    "subset-accuracy": Look("subset accuracy (%)", factor=100.0, better="higher"),
    "generalization-gap": Look("gen. gap (pp)", factor=100.0, better="lower"),
    "loss-gap": Look("loss gap", better="lower"),
    "sam-share": Look("SAM steps (%)", factor=100.0),
}


def look(column: str) -> Look:
    """Appearance of a column, by its measure: ``test:surrogate-gap:rho=0.1`` as "h (ρ = 0.1)", without its split."""
    label = split_of(column)[1]
    # Settings are part of a label only where a measure has several.
    measure, _, settings = label.partition(":")
    known = _LOOKS.get(measure)
    if known is None:
        return Look(label, latex_heading(label))
    heading = with_options(known.heading, settings.split(",") if settings else [])
    latex = (known.latex or for_latex(known.heading)) + for_latex(heading.removeprefix(known.heading))
    return replace(known, heading=heading, latex=latex)


def _row(name: str, columns: Sequence[str], summary: str, reference: str) -> Row[tuple[str, ...]]:
    return Row(name, lambda: tuple(columns), summary, reference)


# The papers print the accuracy on test, and their curvature is of the same examples. A column that is no measure, such
# as sam-share, is read from the training history of the runs, and has no split.
PRESETS: NameTable[tuple[str, ...]] = NameTable(
    "comparison preset",
    [
        _row(
            "cr-sam",
            ("test:gradient-norm", "test:hessian-trace", "test:normalized-trace", "test:accuracy"),
            "‖∇L‖, Tr H, C = Tr H/‖∇L‖ and accuracy on test",
            "Wu et al. 2024, table 3",
        ),
        _row(
            "ae-sam",
            ("test:accuracy", "sam-share"),
            "accuracy, share of SAM steps",
            "Jiang et al. 2023, tables 1 and 2",
        ),
        _row(
            "gsam",
            ("test:loss", "test:surrogate-gap", "test:dominant-eigenvalue", "test:accuracy"),
            "loss, surrogate gap, dominant eigenvalue and accuracy on test",
            "Zhuang et al. 2022",
        ),
        _row(
            "robustness",
            ("test:accuracy", *(f"corrupted-{severity}:accuracy" for severity in range(1, 6))),
            "accuracy on test, and on it with 15 corruptions at five severities",
            "Hendrycks and Dietterich 2019; Wu et al. 2024, table 2",
        ),
    ],
)
"""The columns of papers' tables in order, each with its split in front."""
