"""Reliefs are seen from where their valley shows, and fill the page."""

import itertools

import numpy as np
import pytest

from landscape.plotting import relief, reliefs
from landscape.plotting.relief import _CLIPPED, _colours, _heights, _ink
from landscape.plotting.scale import shared_scale
from landscape.plotting.viewpoint import HEIGHT, viewpoint

GRID = np.linspace(-1, 1, 21)
X, Y = np.meshgrid(GRID, GRID)


def visible(height, view, row, column):
    """Whether nothing on the straight line from a point to the viewer is higher than the line: one point, in steps."""
    elevation, azimuth = np.radians(view)
    for step in np.arange(0.5, 40, 0.5):
        i, j = row + step * np.sin(azimuth), column + step * np.cos(azimuth)
        if not (0 <= i <= 20 and 0 <= j <= 20):
            return True
        a, b = int(min(i, 19)), int(min(j, 19))
        corners = height[a : a + 2, b : b + 2]
        weights = np.outer([1 - i + a, i - a], [1 - j + b, j - b])
        if HEIGHT * ((corners * weights).sum() - height[row, column]) > step / 20 * np.tan(elevation) + 1e-9:
            return False
    return True


@pytest.mark.parametrize(("dx", "dy"), [(1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_a_valley_behind_a_wall_is_seen_from_its_open_side(dx, dy):
    wall = np.clip(np.maximum(-dx * X, -dy * Y) * 4, 0, 1)  # high everywhere but in the quadrant (dx, dy)
    elevation, azimuth = viewpoint([wall])
    assert elevation == 25
    assert np.sign(np.cos(np.radians(azimuth))) == dx
    assert np.sign(np.sin(np.radians(azimuth))) == dy
    low = np.argwhere(wall == 0)
    assert np.mean([visible(wall, (elevation, azimuth), *place) for place in low[::7]]) > 0.8


def test_a_deep_valley_is_seen_from_higher_up_than_a_shallow_one():
    deep, shallow = np.clip(8 * (X**2 + Y**2), 0, 1), (X**2 + Y**2) / 8
    assert viewpoint([shallow])[0] < viewpoint([deep])[0]
    assert viewpoint([deep, shallow]) == viewpoint([deep])
    with np.errstate(all="raise"):
        assert viewpoint([np.full((3, 2), np.nan)]) == viewpoint([np.zeros((2, 5))]) == (25, -60)


@pytest.mark.parametrize("azimuth", [-60, 30, 120, -150])
def test_heights_are_read_at_the_right(bowl, azimuth):
    figure = relief(bowl(), view=(30, azimuth)).figure
    figure.canvas.draw()
    ax = figure.axes[0]
    places = [tick.label1.get_window_extent().x0 for tick in ax.zaxis.get_major_ticks()]
    assert min(places) > 0.6 * figure.get_size_inches()[0] * figure.dpi
    assert ax.zaxis.label.get_window_extent().x1 <= figure.get_size_inches()[0] * figure.dpi


@pytest.mark.parametrize(("count", "width"), [(1, "column"), (3, "text")])
def test_reliefs_fill_the_page_and_are_on_it(bowl, count, width):
    figure = reliefs([bowl()] * count, ["a", "b", "c"][:count], width=width)
    page = figure.get_size_inches() * figure.dpi
    inks = [_ink(ax) for ax in figure.axes]
    assert min(box.x0 for box in inks) >= 0
    assert min(box.y0 for box in inks) >= 0
    assert max(box.x1 for box in inks) <= page[0]
    assert max(box.y1 for box in inks) <= page[1]
    assert sum(box.width for box in inks) > 0.9 * page[0]
    assert all(first.x1 <= second.x0 for first, second in itertools.pairwise(inks))


def test_losses_beyond_the_scale_are_flat_and_grey(bowl):
    surface = bowl()
    scale = shared_scale([surface], limits=(None, 10.0))
    ax = reliefs([surface], scale=scale).axes[0]
    [drawn] = ax.collections
    assert ax.get_zlim() == (0, 1)
    assert (_heights(surface.loss, scale) == 1).sum() == (surface.loss >= 10).sum()
    colours = drawn.get_facecolor()
    grey = np.ptp(colours[:, :3], axis=1) < 1e-6
    # A cell has the colour of its first corner.
    assert grey.sum() == (surface.loss[:-1, :-1] > 10).sum() > 50
    assert colours[grey].max() <= max(_CLIPPED)


def test_slopes_away_from_the_light_are_darker(bowl):
    [drawn] = relief(bowl(scale=0.5), view=(40, -60)).collections
    shade = drawn.get_facecolor()[:, :3].sum(axis=1).reshape(20, 20)
    # The bowl has the same colours at opposite places, and the light comes from the left of the view.
    assert np.abs(shade - shade[::-1, ::-1]).max() > 0.15


def test_there_is_no_shadow_at_the_edge_of_a_hole(bowl):
    whole, holes = bowl(), bowl(holes=True)
    scale = shared_scale([whole])
    bright = [
        _colours(each, _heights(each.loss, scale), scale, (40, -60))[..., :3].sum(axis=2)
        for each in (whole, holes)
    ]
    there = np.isfinite(holes.loss)
    assert (bright[1][there] / bright[0][there]).min() > 0.9
