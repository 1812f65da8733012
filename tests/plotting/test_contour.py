"""Contours of surfaces: their levels, colours, holes and labels."""

import dataclasses

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure

from landscape.errors import UsageError
from landscape.plotting import VENUES, contour, panels


def _axes() -> "matplotlib.axes.Axes":
    figure = Figure((3, 3))
    FigureCanvasAgg(figure)
    return figure.add_subplot()


def _contours(ax) -> list[QuadContourSet]:
    return [artist for artist in ax.collections if isinstance(artist, QuadContourSet)]


def _pixels(figure) -> np.ndarray:
    figure.canvas.draw()
    return np.array(figure.canvas.buffer_rgba())


def test_contour_draws_on_the_axes_it_is_given_and_returns_them(bowl):
    ax = _axes()
    assert contour(bowl(), ax=ax) is ax
    assert len(_contours(ax)) == 2
    assert len(ax.figure.axes) == 1


def test_lines_lie_where_the_loss_has_their_level(bowl):
    ax = contour(bowl(points=201), ax=_axes())
    lines = _contours(ax)[1]
    checked = 0
    for level, segments in zip(lines.levels, lines.allsegs, strict=True):
        for segment in segments:
            a, b = segment.T
            assert 0.01 + 10 * (a**2 + 2 * b**2) == pytest.approx(level, rel=0.02, abs=1e-3)
            checked += len(segment)
    assert checked > 1000


def test_first_direction_is_horizontal(bowl):
    surface = bowl(span=(1.0, 3.0))
    ax = contour(surface, ax=_axes())
    assert ax.get_xlim() == (-1, 1)
    assert ax.get_ylim() == (-3, 3)
    assert ax.get_xlabel() == "filter-normalised direction 1"
    assert ax.get_ylabel() == "filter-normalised direction 2"


@pytest.mark.parametrize(("span", "equal"), [((1.0, 1.0), True), ((0.3, 0.3), True), ((1.0, 2.0), False)])
def test_aspect_is_equal_when_the_spans_are(bowl, span, equal):
    ax = contour(bowl(span=span), ax=_axes())
    assert (ax.get_aspect() == 1.0) is equal


def test_centre_is_marked(bowl):
    ax = contour(bowl(), ax=_axes())
    (marker,) = ax.lines
    assert marker.get_xydata().tolist() == [[0.0, 0.0]]


def test_what_is_not_finite_is_hatched_and_nothing_else(bowl):
    whole, broken = contour(bowl(), ax=_axes()), contour(bowl(holes=True), ax=_axes())
    assert not whole.patches
    (patch,) = broken.patches
    assert patch.get_hatch()
    figure = broken.figure
    image = _pixels(figure)
    patch.set_visible(False)
    changed = (image != _pixels(figure)).any(axis=2)
    height = image.shape[0]

    def share(x0: float, x1: float, y0: float, y1: float) -> float:
        (left, bottom), (right, top) = broken.transData.transform([(x0, y0), (x1, y1)])
        return float(changed[int(height - top) : int(height - bottom), int(left) : int(right)].mean())

    assert share(-0.98, -0.62, -0.98, -0.72) > 0.99
    assert share(0.75, 0.85, -0.03, 0.03) > 0.9
    assert share(-0.5, 0.5, -0.9, 0.9) == 0.0
    assert share(-0.98, -0.55, -0.5, 0.98) == 0.0


def test_surface_without_any_number_is_hatched_all_over(bowl):
    ax = contour(bowl(scale=np.nan))
    assert ax.patches
    assert not _contours(ax)
    assert len(ax.figure.axes) == 1


def test_panels_share_one_norm_one_set_of_levels_and_one_colour_bar(bowl):
    figure = panels([bowl(), bowl(scale=30.0), bowl(holes=True)], ["SGD", "SAM", "CR-SAM"], width="text")
    *drawn, bar = figure.axes
    assert [ax.get_title() for ax in drawn] == ["SGD", "SAM", "CR-SAM"]
    bands = [_contours(ax)[0] for ax in drawn]
    assert {tuple(b.levels) for b in bands} == {tuple(bands[0].levels)}
    assert {(b.norm.vmin, b.norm.vmax) for b in bands} == {(bands[0].norm.vmin, bands[0].norm.vmax)}
    assert all(isinstance(b.norm, LogNorm) for b in bands)
    assert bands[0].levels[0] <= 0.01
    assert bands[0].levels[-1] >= 900
    assert bar.get_ylabel() == "loss"
    assert len(figure.axes) == 4


def test_losses_that_explode_are_drawn(bowl):
    surface = bowl(scale=1e36)
    loss = surface.loss.copy()
    loss[10, 10] = 1e-9
    figure = panels([dataclasses.replace(surface, loss=loss)])
    assert len(_contours(figure.axes[0])[1].levels) > 5
    assert np.isfinite(_pixels(figure)).all()


def test_colour_bar_is_there_when_the_first_panel_is_empty(bowl):
    assert len(panels([bowl(scale=np.nan), bowl()]).axes) == 3


def test_axes_are_named_once_for_all_panels(bowl):
    figure = panels([bowl(), bowl()])
    assert figure.get_supxlabel() == "filter-normalised direction 1"
    assert figure.get_supylabel() == "filter-normalised direction 2"
    assert figure.axes[0].get_xlabel() == ""


@pytest.mark.parametrize(
    ("venue", "width", "count"),
    [("icml", "column", 2), *((name, "text", 1) for name in ("icml", "ieee", "jmlr"))],
)
def test_figure_has_the_width_of_the_venue_and_all_ink_is_on_the_page(bowl, venue, width, count):
    figure = panels([bowl()] * count, venue=venue, width=width)
    inches = getattr(VENUES[venue], width)
    assert figure.get_size_inches()[0] == inches
    box = figure.get_tightbbox()
    assert box.x0 >= 0
    assert box.x1 <= inches
    assert box.y0 >= 0
    assert box.y1 <= figure.get_size_inches()[1]


def test_type_is_seven_to_nine_points(bowl):
    figure = panels([bowl(), bowl()], ["SGD", "SAM"])
    sizes = {text.get_fontsize() for text in figure.findobj(matplotlib.text.Text) if text.get_text().strip()}
    assert sizes
    assert sizes <= {7.0, 8.0, 9.0}


def test_levels_and_norm_can_be_chosen_and_what_is_beyond_is_marked_on_the_bar(bowl):
    figure = panels([bowl()], levels=[0.1, 1, 10], norm=LogNorm(0.1, 10))
    bands = _contours(figure.axes[0])[0]
    assert bands.extend == "both"
    assert bands.norm.vmin == 0.1


def test_norm_and_rcparams_of_the_caller_are_not_changed(bowl):
    norm = LogNorm()
    before = dict(matplotlib.rcParams)
    panels([bowl()], norm=norm)
    assert dict(matplotlib.rcParams) == before
    assert norm.vmin is None


def test_settings_of_the_user_change_nothing(bowl):
    plain = _pixels(panels([bowl()]))
    with matplotlib.rc_context(
        {"font.size": 30, "axes.grid": True, "image.cmap": "jet", "lines.linewidth": 9}
    ):
        assert np.array_equal(_pixels(panels([bowl()])), plain)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"titles": ["only one"]}, "2 panels and 1 titles"),
        ({"venue": "nature"}, "unknown venue 'nature'; known: neurips, icml"),
        ({"width": "page"}, "column, text"),
        ({"levels": [1.0, 1.0]}, "increasing"),
        ({"levels": [1.0]}, "two or more"),
    ],
)
def test_what_is_not_allowed_is_answered_with_what_is(bowl, given, message):
    with pytest.raises(UsageError, match=message):
        panels([bowl(), bowl()], **given)
    with pytest.raises(UsageError, match="0 panels"):
        panels([])
