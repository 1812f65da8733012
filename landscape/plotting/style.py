r"""The appearance of figures in a paper: a venue's widths, 7–9 pt type, fonts that every printer accepts.

Widths are ``\columnwidth`` and ``\textwidth`` of the venue's LaTeX style, in inches. The user's own matplotlib settings
are neither used nor changed.
"""

import contextlib
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Literal, NamedTuple

from matplotlib import RcParams, rc_context, rcdefaults, rcParams
from matplotlib.font_manager import fontManager

from landscape.errors import UsageError
from landscape.registry.nearest import did_you_mean
from landscape.registry.venues import venue as page_of

Width = Literal["column", "text"]

_SIZES = {
    7.0: ("xtick.labelsize", "ytick.labelsize", "legend.fontsize"),
    8.0: ("font.size", "axes.labelsize", "figure.labelsize"),
    9.0: ("axes.titlesize",),
    0.5: ("axes.linewidth", "patch.linewidth", "xtick.major.width", "ytick.major.width"),
    0.4: ("xtick.minor.width", "ytick.minor.width"),
    1.0: ("lines.linewidth",),
    2.0: ("axes.labelpad", "xtick.major.pad", "ytick.major.pad"),
    2.5: ("xtick.major.size", "ytick.major.size"),
    4.0: ("axes.titlepad",),
    0.02: ("figure.constrained_layout.h_pad", "figure.constrained_layout.w_pad"),
}
_SETTINGS = RcParams(
    {
        "mathtext.fontset": "stix",
        **{name: size for size, names in _SIZES.items() for name in names},
        # Type 3 fonts, the default, are refused by some conferences.
        **{"pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "path"},
        "svg.hashsalt": "landscape",  # without a salt, every file has other identifiers
        **{"savefig.facecolor": "white", "hatch.linewidth": 0.4},
    }
)


def figure_size(venue: str, width: Width) -> tuple[float, float | None]:
    """The width and height of a figure in inches; ``None`` for the height of its content.

    Raises:
        UsageError: The venue or the width is not known.
    """
    page = page_of(venue)
    if width not in ("column", "text"):
        raise UsageError(f"width '{width}' is not one of column, text")
    return chosen_look().size or (page.column if width == "column" else page.text, None)


FONT = "STIXGeneral"
"""The default font of a figure: it comes with matplotlib and goes with Times."""


class Look(NamedTuple):
    """The arguments of the enclosing :func:`paper`."""

    font: str
    size: tuple[float, float] | None
    log: bool | None


_DEFAULT = Look(FONT, None, None)
_look = ContextVar("look", default=_DEFAULT)
chosen_look = _look.get
_DRAWING = threading.RLock()  # matplotlib has one set of settings for all threads


@contextlib.contextmanager
def paper(
    font: str | None = None, size: tuple[float, float] | None = None, log: bool | None = None
) -> Iterator[None]:
    """A context in which matplotlib draws for a paper; afterwards, the caller's settings are restored.

    What is left out is as in an enclosing context.

    Args:
        font: An installed font; by default :data:`FONT`.
        size: Width and height of figures in inches; by default the venue's width and the height of the content.
        log: Whether axes of losses and measures are logarithmic; by default where it suits the numbers.

    Raises:
        UsageError: There is no such font.
    """
    outer = _look.get()
    font = font or outer.font
    known = sorted({entry.name for entry in fontManager.ttflist})
    if font not in known:
        raise UsageError(
            f"there is no font '{font}' among the {len(known)} that matplotlib finds{did_you_mean(font, known)}; "
            f"install it, or omit --font to use {FONT}"
        )
    token = _look.set(Look(font, size or outer.size, outer.log if log is None else log))
    try:
        with _DRAWING, rc_context():
            rcdefaults()  # a user's matplotlibrc must not change figures
            rcParams.update(_SETTINGS)
            # Glyphs that the font lacks, such as Greek letters, come from those shipped with matplotlib.
            rcParams["font.family"] = list(dict.fromkeys([font, FONT, "DejaVu Sans"]))
            yield
    finally:
        _look.reset(token)
