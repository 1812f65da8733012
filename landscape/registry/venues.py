"""Conferences and journals, with the widths that their LaTeX styles leave to figures and tables."""

from dataclasses import dataclass

from landscape.errors import UsageError


@dataclass(frozen=True)
class Venue:
    r"""A conference or journal: its ``\columnwidth`` and ``\textwidth`` in inches."""

    column: float
    text: float


VENUES = {
    "neurips": Venue(5.5, 5.5),
    "icml": Venue(3.25, 6.75),
    "iclr": Venue(5.5, 5.5),
    "cvpr": Venue(3.28125, 6.875),
    "ieee": Venue(252 / 72.27, 516 / 72.27),  # the 21 and 43 picas of IEEEtran, in TeX's points
    "jmlr": Venue(6.0, 6.0),
}
"""The venues by name."""


def venue(name: str) -> Venue:
    """The venue of that name; raises :class:`UsageError` with the known ones."""
    if name not in VENUES:
        raise UsageError(f"unknown venue '{name}'; known: {', '.join(VENUES)}")
    return VENUES[name]
