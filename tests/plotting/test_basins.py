"""The drawn merge tree: every basin from its minimum to its saddle, nothing crossing, what is unresolved in grey."""

import numpy as np
import pytest

from landscape.errors import UsageError
from landscape.plotting.basins import MOST_DRAWN, merge_tree_lines
from landscape.plotting.figure_options import FigureOptions
from landscape.plotting.kinds import draw_figure
from landscape.plotting.page import page
from landscape.plotting.style import paper
from landscape.records.surface import Surface
from landscape.surfaces.merge_tree import merge_tree


def drawn(tree):
    """The vertical and the horizontal lines of a tree, as pairs of points."""
    with paper():
        _, (ax,) = page(1, venue="icml", width="column")
        merge_tree_lines(tree, ax=ax)
    lines = [(*each.get_data(), each.get_color()) for each in ax.lines if len(each.get_xdata()) == 2]
    branches = [line for line in lines if str(line[2]).startswith("0.")]
    upright = [(x[0], min(y), max(y), colour) for x, y, colour in branches if x[0] == x[1]]
    across = [(min(x), max(x), y[0]) for x, y, _ in branches if x[0] != x[1]]
    return ax, upright, across


def test_branches_are_the_basins_and_no_line_crosses_another():
    for seed in range(5):
        tree = merge_tree(np.random.default_rng(seed).normal(size=(9, 9)))
        ax, upright, across = drawn(tree)
        shown = tree.basins[:MOST_DRAWN]
        ends = sorted((basin.birth, basin.birth + basin.depth) for basin in shown)
        assert np.allclose(sorted((low, high) for _, low, high, _ in upright), ends, rtol=1e-12)
        assert len(across) == sum(basin.into is not None for basin in shown)
        for left, right, height in across:
            between = [high for x, low, high, _ in upright if left < x < right and low < height]
            assert all(high <= height for high in between)
        ax.figure.draw_without_rendering()
        names = [label.get_text() for label in ax.get_xticklabels()]
        assert sorted(map(int, names)) == [*range(1, len(shown) + 1)]


def test_a_basin_that_the_grid_does_not_resolve_is_grey():
    x = np.linspace(-1, 1, 41)
    loss = x**2
    loss[30] -= 0.1  # a single point
    _, upright, _ = drawn(merge_tree(loss))
    assert [colour for *_, colour in upright] == ["0.1", "0.6"]


def test_the_caption_says_what_is_joined_what_is_left_out_and_what_is_too_coarse(bowl):
    whole = bowl(holes=True)
    loss = whole.loss.copy()
    loss[15, 15] = 0.0
    drawing = draw_figure([Surface(**{**vars(whole), "loss": loss})], FigureOptions(), "basins")
    assert "2 basins, numbered by depth" in drawing.caption
    assert "joined to the 8 points around it" in drawing.caption
    assert "1 of 2 basins are unresolved" in drawing.caption
    assert "22 points without a finite loss are left out" in drawing.caption


def test_several_surfaces_and_a_colour_map_are_refused(bowl):
    with pytest.raises(UsageError, match="basins of one surface, and 2 were given"):
        draw_figure([bowl(), bowl()], FigureOptions(), "basins")
    with pytest.raises(UsageError, match="--vmax does nothing for a figure of kind 'basins'"):
        draw_figure([bowl()], FigureOptions(vmax=1.0), "basins")
