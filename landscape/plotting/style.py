r"""How figures look in a paper: a venue's widths, 7–9 pt type, fonts that every printer accepts.

Widths are those of the venue's LaTeX style, in inches: what ``\columnwidth`` and ``\textwidth`` are there. The
user's own matplotlib settings are neither used nor changed.
"""

import contextlib
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

from matplotlib import RcParams, rc_context, rcdefaults, rcParams
from matplotlib.font_manager import fontManager

from landscape.errors import UsageError
from landscape.registry.nearest import did_you_mean

Width = Literal["column", "text"]


@dataclass(frozen=True)
class Venue:
    """A conference or journal: the widths of its column and of its text, in inches."""

    column: float
    text: float


_POINTS = 72.27

VENUES = {
    "neurips": Venue(5.5, 5.5),
    "icml": Venue(3.25, 6.75),
    "iclr": Venue(5.5, 5.5),
    "cvpr": Venue(3.28125, 6.875),
    "ieee": Venue(252 / _POINTS, 516 / _POINTS),
    "jmlr": Venue(6.0, 6.0),
}
"""The venues by name. IEEE's are the 21 and 43 picas of IEEEtran."""

# Read by matplotlib when a file is written, not when the figure is drawn.
OUTPUT = RcParams(
    {
        "pdf.fonttype": 42,
        "ps.fonttype": 42,
        "svg.fonttype": "path",
        "svg.hashsalt": "landscape",
        "savefig.bbox": None,
        "savefig.facecolor": "white",
        "savefig.transparent": False,
        "hatch.linewidth": 0.4,
        "path.simplify": True,
    }
)

_TYPE = RcParams(
    {
        "mathtext.fontset": "stix",
        "font.size": 8.0,
        "axes.titlesize": 9.0,
        "axes.labelsize": 8.0,
        "figure.labelsize": 8.0,
        "xtick.labelsize": 7.0,
        "ytick.labelsize": 7.0,
        "legend.fontsize": 7.0,
    }
)

_INK = RcParams(
    {
        "axes.linewidth": 0.5,
        "axes.labelpad": 2.0,
        "axes.titlepad": 4.0,
        "lines.linewidth": 1.0,
        "patch.linewidth": 0.5,
        "xtick.major.width": 0.5,
        "ytick.major.width": 0.5,
        "xtick.minor.width": 0.4,
        "ytick.minor.width": 0.4,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
        "xtick.major.pad": 2.0,
        "ytick.major.pad": 2.0,
        "figure.constrained_layout.h_pad": 0.02,
        "figure.constrained_layout.w_pad": 0.02,
    }
)


def figure_width(venue: str, width: Width) -> float:
    """The width of a figure in inches.

    Raises:
        UsageError: The venue or the width is not known.
    """
    if venue not in VENUES:
        raise UsageError(f"unknown venue '{venue}'; known: {', '.join(VENUES)}")
    if width not in ("column", "text"):
        raise UsageError(f"width '{width}' is not one of column, text")
    return VENUES[venue].column if width == "column" else VENUES[venue].text


FONT = "STIXGeneral"
"""The font of a figure unless another is asked for: it comes with matplotlib and goes with Times."""

_font: ContextVar[str] = ContextVar("font", default=FONT)


_DRAWING = threading.RLock()
"""Matplotlib has one set of settings for all threads, so that figures are drawn one after the other."""


@contextlib.contextmanager
def paper(font: str | None = None) -> Iterator[None]:
    """A context in which matplotlib draws for a paper; the settings are the caller's again afterwards.

    Args:
        font: A font that is installed; within another such context, by default that one's.

    Raises:
        UsageError: There is no such font.
    """
    chosen = font or _font.get()
    _require(chosen)
    token = _font.set(chosen)
    try:
        with _DRAWING, rc_context():
            rcdefaults()
            for settings in (OUTPUT, _TYPE, _INK):
                rcParams.update(settings)
            # What the font lacks, such as a Greek letter, is taken from those that come with matplotlib.
            rcParams["font.family"] = list(dict.fromkeys([chosen, FONT, "DejaVu Sans"]))
            yield
    finally:
        _font.reset(token)


def _require(font: str) -> None:
    known = sorted({entry.name for entry in fontManager.ttflist})
    if font in known:
        return
    raise UsageError(
        f"there is no font '{font}' among the {len(known)} that matplotlib finds{did_you_mean(font, known)}; "
        f"install it, or leave --font out for {FONT}"
    )
