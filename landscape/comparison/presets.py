"""Tables of papers by name: measures, data and headings. A new table is a row of :data:`PRESETS`."""

from collections.abc import Mapping
from dataclasses import dataclass

from landscape.comparison.appearance import Look
from landscape.registry.names import NameTable, Row


@dataclass(frozen=True)
class Preset:
    """A table of a paper.

    Attributes:
        looks: Headings by column; a column that is no measure is read from the history of the runs.
        split: Data that the table is about.
    """

    looks: Mapping[str, Look]
    split: str = "test"

    @property
    def measures(self) -> tuple[str, ...]:
        """The columns in order."""
        return tuple(self.looks)


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

PRESETS: NameTable[Preset] = NameTable(
    "comparison preset",
    [
        Row(
            "cr-sam",
            lambda: Preset(_CR_SAM),
            "‖∇L‖, Tr H, C = Tr H/‖∇L‖, accuracy",
            "Wu et al. 2024, table 3",
        ),
        Row(
            "ae-sam", lambda: Preset(_AE_SAM), "accuracy, share of SAM steps", "Jiang et al. 2023, tables 1–2"
        ),
        Row(
            "gsam",
            lambda: Preset(_GSAM),
            "loss, surrogate gap, dominant eigenvalue, accuracy",
            "Zhuang et al. 2022",
        ),
    ],
)
