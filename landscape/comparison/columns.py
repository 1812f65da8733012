"""Columns of a table: their headings, scales and better direction, and the columns of papers' tables by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from landscape.registry.names import NameTable, Row


@dataclass(frozen=True)
class Look:
    """Headings of a column, the factor of its values, and which direction is better, if one is.

    ``latex`` is source; by default it is the escaped ``heading``.
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


@dataclass(frozen=True)
class Preset:
    """A table of a paper: its columns in order, each with its split in front, and their looks by measure."""

    columns: tuple[str, ...]
    looks: Mapping[str, Look]


_ACCURACY = {"accuracy": Look("accuracy (%)", r"Accuracy (\%)", 100.0, "higher")}
_CR_SAM = {
    "gradient-norm": Look("‖∇L‖", r"$\|\nabla L\|$", better="lower"),
    "hessian-trace": Look("Tr H", r"$\mathrm{Tr}\,H$", better="lower"),
    "normalized-trace": Look("C", r"$\mathcal{C}$", better="lower"),
    **_ACCURACY,
}
_AE_SAM = {**_ACCURACY, "sam-share": Look("% SAM", r"\% SAM", 100.0)}
_GSAM = {
    "loss": Look("L", "$L$", better="lower"),
    "surrogate-gap": Look("h", "$h$", better="lower"),
    "dominant-eigenvalue": Look("σ_max", r"$\sigma_{\max}$", better="lower"),
    **_ACCURACY,
}


def _row(name: str, looks: Mapping[str, Look], summary: str, reference: str) -> Row[Preset]:
    # The papers print the accuracy on test, and their curvature is of the same examples. A column that is no measure,
    # such as sam-share, is read from the training history of the runs, and has no split.
    columns = tuple(name if name in _OF_TRAINING else f"test:{name}" for name in looks)
    return Row(name, lambda: Preset(columns, looks), summary, reference)


_OF_TRAINING = ("sam-share",)
PRESETS: NameTable[Preset] = NameTable(
    "comparison preset",
    [
        _row("cr-sam", _CR_SAM, "‖∇L‖, Tr H, C = Tr H/‖∇L‖ and accuracy on test", "Wu et al. 2024, table 3"),
        _row("ae-sam", _AE_SAM, "accuracy, share of SAM steps", "Jiang et al. 2023, tables 1 and 2"),
        _row(
            "gsam",
            _GSAM,
            "loss, surrogate gap, dominant eigenvalue and accuracy on test",
            "Zhuang et al. 2022",
        ),
    ],
)
