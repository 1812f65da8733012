"""Births and deaths of basins: sums of Gaussians by their closed form, and a sweep over thresholds by scipy."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage, optimize

from landscape.errors import InputError, UsageError
from landscape.records.surface import Surface
from landscape.surfaces.merge_tree import MOST_ROWS, basin_table, merge_tree, tree_of

CROSS = np.ones((3, 3))
TRIANGLES = np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1]])
STRUCTURES = {8: CROSS, 6: TRIANGLES}


def swept(loss, neighbours):
    """Pairs of birth and death by labelling the components below every threshold anew; an independent way."""
    structure, alive, pairs = STRUCTURES[neighbours], {}, []
    for level in np.unique(loss[np.isfinite(loss)]):
        labels, count = ndimage.label(np.nan_to_num(loss, nan=math.inf, posinf=math.inf) <= level, structure)
        births = []
        for label in range(1, count + 1):
            inside = [birth for place, birth in alive.items() if labels[place] == label]
            pairs += [(birth, level) for birth in sorted(inside)[1:]]
            first = np.argwhere(labels == label)[np.argmin(loss[labels == label])]
            births.append((tuple(first), min(inside, default=level)))
        alive = dict(births)
    pairs += [(birth, math.inf) for birth in alive.values()]
    return sorted(pair for pair in pairs if pair[0] < pair[1])


def heights(tree):
    return sorted((basin.birth, basin.death) for basin in tree.basins)


@pytest.mark.parametrize("neighbours", [8, 6])
@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 6), st.integers(1, 7)),
        elements=st.one_of(st.integers(0, 6).map(float), st.sampled_from([math.nan, math.inf])),
    )
)
def test_births_and_deaths_are_those_of_a_sweep_over_all_thresholds(neighbours, loss):
    if not np.isfinite(loss).any():
        with pytest.raises(InputError, match="no loss of the surface is finite"):
            merge_tree(loss, neighbours=neighbours)
        return
    tree = merge_tree(loss, neighbours=neighbours)
    assert heights(tree) == swept(loss, neighbours)
    assert tree.left_out == (~np.isfinite(loss)).sum()
    for number, basin in enumerate(tree.basins):
        assert loss[basin.minimum] == basin.birth
        if basin.saddle is None:
            assert basin.into is None
            continue
        assert loss[basin.saddle] == basin.death
        # A basin joins an older one that is still there.
        other = tree.basins[basin.into]
        assert (other.birth, other.death) <= (basin.birth, math.inf)
        assert other.death >= basin.death
        assert basin.into < number
        labels, _ = ndimage.label(np.nan_to_num(loss, nan=math.inf) < basin.death, STRUCTURES[neighbours])
        # Points at the height of the saddle may have joined before it.
        assert basin.points >= (labels == labels[basin.minimum]).sum()


CENTRES = np.array([[-0.83, -0.41], [0.62, -0.57], [0.13, 0.71]])
WEIGHTS = np.array([1.0, 0.8, 0.6])
WIDTH = 0.35


def gaussians(place):
    """Minus a sum of Gaussians at places ``(…, 2)``."""
    square = ((np.asarray(place)[..., None, :] - CENTRES) ** 2).sum(-1)
    return -(WEIGHTS * np.exp(-square / (2 * WIDTH**2))).sum(-1)


def critical(start):
    """The height of the critical point near a place, by Newton's method on the gradient."""

    def gradient(place):
        step = 1e-5
        return [(gaussians(place + e) - gaussians(place - e)) / (2 * step) for e in step * np.eye(2)]

    return float(gaussians(optimize.fsolve(gradient, start, xtol=1e-10)))


@pytest.mark.parametrize(("nx", "ny"), [(31, 27), (61, 50), (121, 101)])
@pytest.mark.parametrize("neighbours", [8, 6])
def test_a_sum_of_gaussians_has_the_births_and_deaths_of_its_critical_points_within_the_doubt(
    nx, ny, neighbours
):
    x, y = np.linspace(-1.7, 1.5, nx), np.linspace(-1.4, 1.6, ny)
    tree = merge_tree(gaussians(np.stack(np.meshgrid(x, y), -1)), neighbours=neighbours)
    births = [critical(centre) for centre in CENTRES]
    passes = {pair: critical(CENTRES[list(pair)].mean(0)) for pair in itertools.combinations(range(3), 2)}
    # Kruskal: the two lowest passes join the three basins, and the shallower of each pair ends there.
    first, second = sorted(passes, key=passes.get)[:2]
    ends = {max(first): passes[first], ({0, 1, 2} - {max(first), 0}).pop(): passes[second]}
    inside = [basin for basin in tree.basins if not basin.is_open]
    assert len(inside) == 3
    assert [basin.is_resolved for basin in inside] == [True] * 3
    for basin in inside:
        row, column = basin.minimum
        k = int(np.argmin(((CENTRES - [x[column], y[row]]) ** 2).sum(1)))
        assert abs(basin.birth - births[k]) <= basin.doubt
        assert basin.birth >= births[k] - 1e-12
        if k:
            assert abs(basin.death - ends[k]) <= basin.doubt
            assert basin.depth == basin.death - basin.birth
        else:
            assert basin.death == math.inf
    assert max(basin.doubt for basin in inside) < 0.35 * (31 / nx)


def test_a_line_has_the_basins_of_its_minima():
    x = np.linspace(0.05, 1, 401)
    tree = merge_tree(np.cos(6 * np.pi * x) + x)
    # Minima near 1/6, 1/2 and 5/6, where the slope of the cosine is −1; maxima between them.
    shift = math.asin(1 / (6 * math.pi)) / (6 * math.pi)
    low = [math.cos(6 * math.pi * p) + p for p in np.array([1, 3, 5]) / 6 - shift]
    high = [math.cos(6 * math.pi * p) + p for p in np.array([2, 4]) / 6 + shift]
    expected = sorted([(low[0], math.inf), (low[1], high[0]), (low[2], high[1])])
    assert np.allclose(heights(tree), expected, atol=1e-3)
    assert [basin.into for basin in tree.basins[1:]] in ([0, 0], [0, 1])


def test_one_basin_joins_the_one_that_it_meets_first():
    tree = merge_tree([0.0, 5.0, 1.0, 3.0, 2.0])
    assert [(basin.birth, basin.death, basin.into) for basin in tree.basins] == [
        (0.0, math.inf, None),
        (1.0, 5.0, 0),
        (2.0, 3.0, 1),
    ]
    assert [basin.points for basin in tree.basins] == [5, 3, 1]
    assert [basin.is_resolved for basin in tree.basins] == [False, False, False]
    assert tree.unresolved == 3


def test_a_wall_of_missing_points_keeps_basins_apart():
    loss = np.array([[0.0, 1.0, math.nan, 2.0, 3.0]] * 3)
    tree = merge_tree(loss)
    assert heights(tree) == [(0.0, math.inf), (2.0, math.inf)]
    assert tree.basins[1].is_open
    assert tree.left_out == 3


def test_diagonals_join_under_eight_neighbours_and_one_of_two_under_six():
    loss = np.ones((3, 3))
    loss[0, 2] = loss[1, 1] = loss[2, 0] = 0.0
    assert len(merge_tree(loss).basins) == 1
    assert len(merge_tree(loss, neighbours=6).basins) == 3
    assert len(merge_tree(loss[::-1], neighbours=6).basins) == 1
    with pytest.raises(UsageError, match="neighbours=4"):
        merge_tree(loss, neighbours=4)  # type: ignore[arg-type]


def surface(loss):
    loss = np.asarray(loss, dtype=float)
    ny, nx = loss.shape
    y = np.zeros(1) if ny == 1 else np.linspace(-1, 1, ny)
    computed = np.ones_like(loss, bool)
    computed[0, -1] = ny == 1
    x = np.linspace(-1, 1, nx)
    return Surface(x=x, y=y, loss=loss, accuracy=None, computed=computed, meta={})


def test_the_table_says_what_the_grid_cannot_tell():
    noise = np.random.default_rng(0).normal(size=(20, 21))
    there = surface(noise)
    tree = tree_of(there)
    assert tree.left_out == 1
    text = basin_table(there, tree).text(width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert f"{len(tree.basins) - MOST_ROWS} shallower basins are not listed." in " ".join(text.split())
    assert f"{tree.unresolved} of {len(tree.basins)} basins are unresolved" in " ".join(text.split())
    assert "the grid is too coarse" in " ".join(text.split())
    assert "1 points without" in " ".join(text.split())
    smooth = surface(np.linspace(-1, 1, 41)[None, :] ** 2)
    text = basin_table(smooth, tree_of(smooth)).text(width=80)
    assert "unresolved" not in text
    assert "both points beside it" in text
