"""Between the points of a grid, nothing is drawn that the points do not have."""

import dataclasses

import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from landscape.plotting.refine import refined


def made(bowl, x, y, loss):
    absent = dict.fromkeys(("accuracy", "test_loss", "test_accuracy", "gradient_norm"))
    return dataclasses.replace(bowl(), x=x, y=y, loss=loss, computed=np.ones_like(loss, bool), **absent)


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_computed_losses_stay_and_extrema_are_only_where_the_grid_has_them(bowl, seed, holes):
    random = np.random.default_rng(seed)
    n, m = random.integers(2, 12, 2)
    loss = np.exp(3 * random.standard_normal((m, n)))
    if holes:
        loss[random.random((m, n)) < 0.1] = random.choice([np.nan, np.inf])
    x, y = (np.cumsum(random.uniform(0.1, 1, size)) for size in (n, m))
    across, along, fine = refined(made(bowl, x, y, loss))
    k = (len(across) - 1) // (n - 1)
    assert k > 1
    assert np.array_equal(across[::k], x)
    assert np.array_equal(along[::k], y)
    known = np.where(np.isfinite(loss), loss, np.nan)
    assert np.array_equal(fine[::k, ::k], known, equal_nan=True)
    # Every value lies between the corners of its cell, and there is none beside a hole.
    for j, i in np.ndindex(m - 1, n - 1):
        cell, corners = fine[j * k : (j + 1) * k + 1, i * k : (i + 1) * k + 1], known[j : j + 2, i : i + 2]
        if np.isnan(corners).any():
            assert np.isnan(cell[1:-1, 1:-1]).all()
        else:
            assert corners.min() <= cell.min() <= cell.max() <= corners.max()
    around = np.pad(fine, 1, constant_values=np.nan)
    shifts = [(a, b) for a in (0, 1, 2) for b in (0, 1, 2) if (a, b) != (1, 1)]
    neighbours = np.stack([around[a : a + fine.shape[0], b : b + fine.shape[1]] for a, b in shifts])
    for sign in (1, -1):
        lowest = np.where(np.isnan(neighbours), np.inf, sign * neighbours).min(axis=0)
        rows, columns = np.nonzero(sign * fine < lowest)
        assert not (rows % k).any()
        assert not (columns % k).any()


def test_a_smooth_surface_is_closer_than_by_straight_lines(bowl):
    surface = bowl(points=11)
    across, along, fine = refined(surface)
    exact = 0.01 + 10 * (across[None, :] ** 2 + 2 * along[:, None] ** 2)
    straight = RegularGridInterpolator((surface.y, surface.x), surface.loss)(
        tuple(np.meshgrid(along, across, indexing="ij"))
    )
    assert np.abs(fine - exact).mean() < 0.7 * np.abs(straight - exact).mean()


def test_what_is_fine_enough_or_has_no_number_stays(bowl):
    assert refined(bowl(points=101))[0].size == 101
    assert np.isnan(refined(bowl(scale=np.nan))[2]).all()
    huge = bowl(scale=1e306)
    assert np.isfinite(refined(huge)[2]).all()
