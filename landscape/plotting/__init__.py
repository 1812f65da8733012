"""Numbers to matplotlib axes; imports no torch."""

from landscape.plotting.caption import caption
from landscape.plotting.contour import contour, panels
from landscape.plotting.dots import dot_panels, dots
from landscape.plotting.history import Curve, history, history_panels
from landscape.plotting.line import line
from landscape.plotting.overlay import markers, trajectory
from landscape.plotting.quantiles import quantile_plot
from landscape.plotting.relief import relief, reliefs
from landscape.plotting.save import save_figure
from landscape.plotting.spectrum import spectrum
from landscape.plotting.style import VENUES, paper

__all__ = [
    "VENUES",
    "Curve",
    "caption",
    "contour",
    "dot_panels",
    "dots",
    "history",
    "history_panels",
    "line",
    "markers",
    "panels",
    "paper",
    "quantile_plot",
    "relief",
    "reliefs",
    "save_figure",
    "spectrum",
    "trajectory",
]
