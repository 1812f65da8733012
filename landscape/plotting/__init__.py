"""Numbers to matplotlib axes; imports no torch."""

from landscape.plotting.caption import caption
from landscape.plotting.contour import contour, panels
from landscape.plotting.save import save_figure
from landscape.plotting.style import VENUES, paper

__all__ = ["VENUES", "caption", "contour", "panels", "paper", "save_figure"]
