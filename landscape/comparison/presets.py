"""The tables of the papers by name: which measures, on which data, under which headings. A new one is a row here."""

from collections.abc import Mapping
from dataclasses import dataclass

from landscape.comparison.appearance import Look
from landscape.registry.names import NameTable, Row


@dataclass(frozen=True)
class Preset:
    """A table of a paper.

    Attributes:
        measures: Its columns, in order; from the history of a run where they are no measure.
        split: The data that it is about.
        looks: How its columns are headed.
    """

    measures: tuple[str, ...]
    split: str
    looks: Mapping[str, Look]


_ACCURACY = Look("accuracy (%)", r"Accuracy (\%)", 100.0, "higher")


def _cr_sam() -> Preset:
    looks = {
        "gradient-norm": Look("‖∇L‖", r"$\|\nabla L\|$", better="lower"),
        "hessian-trace": Look("Tr H", r"$\mathrm{Tr}\,H$", better="lower"),
        "normalized-trace": Look("C", r"$\mathcal{C}$", better="lower"),
        "accuracy": _ACCURACY,
    }
    return Preset(tuple(looks), "test", looks)


def _ae_sam() -> Preset:
    looks = {"accuracy": _ACCURACY, "sam-share": Look("% SAM", r"\% SAM", 100.0)}
    return Preset(tuple(looks), "test", looks)


def _gsam() -> Preset:
    looks = {
        "loss": Look("L", "$L$", better="lower"),
        "surrogate-gap": Look("h", "$h$", better="lower"),
        "dominant-eigenvalue": Look("σ_max", r"$\sigma_{\max}$", better="lower"),
        "accuracy": _ACCURACY,
    }
    return Preset(tuple(looks), "test", looks)


PRESETS: NameTable[Preset] = NameTable(
    "comparison preset",
    [
        Row("cr-sam", _cr_sam, "‖∇L‖, Tr H, C = Tr H/‖∇L‖ and accuracy on test", "Wu et al. 2024, table 3"),
        Row("ae-sam", _ae_sam, "accuracy and the share of SAM steps", "Jiang et al. 2023, tables 1 and 2"),
        Row(
            "gsam",
            _gsam,
            "loss, surrogate gap, dominant eigenvalue and accuracy on test",
            "Zhuang et al. 2022",
        ),
    ],
)
