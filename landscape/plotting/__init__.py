"""Figures: numbers drawn on matplotlib axes, without torch."""

from landscape.plotting.basins import basin_figure as basin_figure
from landscape.plotting.basins import merge_tree_lines as merge_tree_lines
from landscape.plotting.caption import caption as caption
from landscape.plotting.contour import contour as contour
from landscape.plotting.contour import panels as panels
from landscape.plotting.dots import dot_panels as dot_panels
from landscape.plotting.dots import dots as dots
from landscape.plotting.history import Curve as Curve
from landscape.plotting.history import history as history
from landscape.plotting.history import history_panels as history_panels
from landscape.plotting.line import line as line
from landscape.plotting.overlay import markers as markers
from landscape.plotting.overlay import trajectory as trajectory
from landscape.plotting.quantiles import quantile_plot as quantile_plot
from landscape.plotting.relief import relief as relief
from landscape.plotting.relief import reliefs as reliefs
from landscape.plotting.save import save_figure as save_figure
from landscape.plotting.spectrum import spectrum as spectrum
from landscape.plotting.style import paper as paper
from landscape.registry.venues import VENUES as VENUES
