"""Figures of losses along one direction, on train and test."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from landscape.plotting.contour import write_losses
from landscape.plotting.scale import Scale, number


def _axes() -> Axes:
    figure = Figure((3, 3))
    FigureCanvasAgg(figure)
    ax = figure.add_subplot()
    ax.set_aspect("equal")
    return ax


def _labelled(loss: np.ndarray, levels: list[float]) -> tuple[Axes, list, list[int]]:
    """The axes, the lines with their labels, and how many vertices each line had before."""
    x = np.linspace(-1, 1, 61)
    ax = _axes()
    lines = ax.contour(x, x, loss, levels=levels)
    vertices = [sum(map(len, segments)) for segments in lines.allsegs]
    write_losses(ax, lines, Scale(tuple(levels), Normalize(0, 1), "neither"))
    ax.figure.canvas.draw()
    return ax, lines, vertices


def _grid() -> list[np.ndarray]:
    return np.meshgrid(*[np.linspace(-1, 1, 61)] * 2)


@pytest.mark.parametrize("shift", np.linspace(0, 1.2, 9))
def test_losses_on_the_lines_are_whole_and_a_line_without_one_has_no_gap(shift):
    a, b = _grid()
    ax, lines, vertices = _labelled(np.hypot(a - shift, b - shift / 2), [0.3, 0.5, 0.7, 0.9, 1.1])
    frame = ax.get_window_extent()
    assert lines.labelTexts
    for text in lines.labelTexts:
        box = text.get_window_extent()
        assert frame.x0 <= box.x0 < box.x1 <= frame.x1
        assert frame.y0 <= box.y0 < box.y1 <= frame.y1
    named = [text.get_text() for text in lines.labelTexts]
    for level, segments, before in zip(lines.levels, lines.allsegs, vertices, strict=True):
        assert number(level) in named or sum(map(len, segments)) == before


def test_loss_that_the_border_would_cut_is_left_out():
    a, b = _grid()
    _, lines, vertices = _labelled(a + 1e-3 * b, [0.0, 0.985])
    assert [text.get_text() for text in lines.labelTexts] == ["0"]
    assert [sum(map(len, segments)) == n for segments, n in zip(lines.allsegs, vertices, strict=True)] == [
        False,
        True,
    ]
    (label,) = lines.labelTexts
    assert label.get_position() == pytest.approx((0, 0), abs=0.9)
    assert abs(label.get_position()[0]) < 0.01


def test_losses_that_no_border_cuts_are_where_matplotlib_puts_them():
    a, b = _grid()
    loss, levels = np.hypot(a, b), [0.3, 0.5, 0.7]
    ours = _labelled(loss, levels)[1]
    ax = _axes()
    x = np.linspace(-1, 1, 61)
    theirs = ax.contour(x, x, loss, levels=levels)
    ax.apply_aspect()
    ax.clabel(theirs, levels, fmt=number, inline=True, inline_spacing=1, fontsize=7)
    assert [t.get_position() for t in ours.labelTexts] == [t.get_position() for t in theirs.labelTexts]
    assert all(
        np.array_equal(p, q)
        for one, two in zip(ours.allsegs, theirs.allsegs, strict=True)
        for p, q in zip(one, two, strict=True)
    )
