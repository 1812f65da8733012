"""Contours of surfaces: one on axes, or several beside each other on one scale of colours."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure

from landscape.plotting.bands import axis_labels, draw_bands, quantity, write_losses
from landscape.plotting.overlay import draw_landmarks
from landscape.plotting.page import columns_for, fit_height, with_one_title_each
from landscape.plotting.scale import Scale, number, shared_scale
from landscape.plotting.style import Width, figure_width, paper
from landscape.records.surface import Surface
from landscape.tables.escaping import for_mathtext

OWN_SCALES = "Each panel has its own colour scale."
"""Said on a figure whose panels cannot be compared by colour."""

_LARGEST_PANEL = 3.0
_SMALL_PANEL = 1.8


def contour(
    surface: Surface,
    *,
    ax: Axes | None = None,
    levels: Sequence[float] | None = None,
    norm: Normalize | None = None,
    filled: bool = True,
) -> Axes:
    """Draws a surface as filled contours with labelled lines, or as lines only.

    Losses that are not finite, and points that were not computed, are left out and hatched. The centre, where
    the grid has it, is marked. Losses beyond the levels are drawn in the colour of the end, which the colour
    bar shows by an arrow, and dotted.

    Args:
        surface: What to draw.
        ax: Where; by default in a figure of its own, of one column, with a colour bar.
        levels: The losses that lines are drawn at; by default about ten round, log-spaced numbers.
        norm: From loss to colour; by default logarithmic where losses are positive and spread.
        filled: Bands of colour; otherwise lines in the colours of their levels.

    Returns:
        The axes.
    """
    if ax is None:
        return panels([surface], levels=levels, norm=norm, filled=filled).axes[0]
    scale = shared_scale([surface], levels=levels, norm=norm)
    lines = draw_bands(surface, ax, scale, filled=filled)
    draw_landmarks(surface, ax)
    first, second = axis_labels(surface)
    ax.set(xlabel=for_mathtext(first), ylabel=for_mathtext(second))
    write_losses(ax, lines, scale)
    return ax


def panels(
    surfaces: Sequence[Surface],
    titles: Sequence[str] = (),
    *,
    venue: str = "icml",
    width: Width = "column",
    levels: Sequence[float] | None = None,
    norm: Normalize | None = None,
    filled: bool = True,
    shared: bool = True,
    scale: Scale | None = None,
) -> Figure:
    """Draws several surfaces beside each other, on one scale of colours with one colour bar.

    Args:
        surfaces: One or more.
        titles: One for each, or none.
        venue: Whose page the figure is for; see :data:`landscape.plotting.VENUES`.
        width: ``column`` or ``text``: the figure is exactly as wide.
        levels: The losses that lines are drawn at, in all panels.
        norm: From loss to colour, in all panels.
        filled: Bands of colour; otherwise lines in the colours of their levels.
        shared: One scale for all; otherwise each panel has its own, and the figure says so.
        scale: The scale, made before, in place of levels and norm.

    Raises:
        UsageError: No surface, or another number of titles; an unknown venue.
    """
    with_one_title_each("surfaces", len(surfaces), titles)
    inches = figure_width(venue, width)
    columns = columns_for(len(surfaces), inches)
    rows = -(-len(surfaces) // columns)
    common = scale or shared_scale(surfaces, levels=levels, norm=norm)
    scales = [common if shared else shared_scale([surface], levels=levels, norm=norm) for surface in surfaces]
    with paper():
        figure = Figure(layout="compressed")
        FigureCanvasAgg(figure)
        grid = list(figure.subplots(rows, columns, squeeze=False).flat)
        for ax in grid[len(surfaces) :]:
            ax.remove()
        axes = grid[: len(surfaces)]
        drawn = [draw_bands(*each, filled=filled) for each in zip(surfaces, axes, scales, strict=True)]
        for surface, ax in zip(surfaces, axes, strict=True):
            draw_landmarks(surface, ax)
        for title, ax in zip(titles, axes, strict=False):
            ax.set_title(for_mathtext(title))
        for ax in axes:
            ax.locator_params(nbins=4 if inches / columns > _SMALL_PANEL else 2)
        name_axes(figure, axes, [axis_labels(surface) for surface in surfaces])
        if shared or len(surfaces) == 1:
            colour_bar(figure, axes, common, quantity(surfaces))
        else:
            for ax, own, surface in zip(axes, scales, surfaces, strict=True):
                colour_bar(figure, [ax], own, quantity([surface]))
            figure.suptitle(OWN_SCALES, fontsize=7)
        fit_height(figure, inches, rows * min(_LARGEST_PANEL, inches / columns))
        for each in zip(axes, drawn, scales, strict=True):
            write_losses(*each)
    return figure


def name_axes(figure: Figure, axes: Sequence[Axes], names: Sequence[tuple[str, str]]) -> None:
    """Labels the axes, once for all panels if they agree."""
    if len(names) > 1 and len(set(names)) == 1:
        figure.supxlabel(for_mathtext(names[0][0]))
        figure.supylabel(for_mathtext(names[0][1]))
        return
    for ax, (first, second) in zip(axes, names, strict=True):
        ax.set(xlabel=for_mathtext(first), ylabel=for_mathtext(second))


def colour_bar(figure: Figure, axes: Sequence[Axes], scale: Scale, label: str) -> None:
    """One colour bar for the axes; none where nothing was drawn."""
    artists = [artist for ax in axes for artist in ax.collections]
    drawn = [artist for artist in artists if isinstance(artist, QuadContourSet)]
    if not drawn:
        return
    bands = next((artist for artist in drawn if artist.filled and artist.get_rasterized()), None)
    shown = bands or ScalarMappable(scale.norm, scale.colours)
    bar = figure.colorbar(shown, ax=list(axes), aspect=30, pad=0.02, label=for_mathtext(label))
    bar.set_ticks(scale.ticks, labels=[number(tick) for tick in scale.ticks])
    bar.ax.minorticks_off()
