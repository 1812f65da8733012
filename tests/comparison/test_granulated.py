"""Correlation within one changed field and without a third quantity: brute force, closed forms, coverage."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from landscape.comparison.granulated import granulated, partial_rank_correlation

GRID = [
    {"lr": lr, "width": width, "opt": opt} for lr, width, opt in itertools.product((1, 2, 3), (8, 16), "ab")
]


def test_each_coefficient_is_that_of_the_pairs_that_differ_in_one_field():
    x, y = np.random.default_rng(0).integers(6, size=(2, len(GRID))).astype(float)
    found = granulated(x, y, GRID)
    for name in GRID[0]:
        signs = [
            (np.sign(x[i] - x[j]), np.sign(y[i] - y[j]))
            for i, j in itertools.combinations(range(len(GRID)), 2)
            if [key for key in GRID[0] if GRID[i][key] != GRID[j][key]] == [name]
        ]
        first, second = np.array(signs).T
        expected = (first * second).sum() / math.sqrt(np.abs(first).sum() * np.abs(second).sum())
        assert found.by_field[name] == pytest.approx(expected, abs=1e-12)
    assert found.psi.tau == pytest.approx(np.mean(list(found.by_field.values())))
    assert found.psi.low < found.psi.tau < found.psi.high
    assert found.psi.n == 3


def test_what_only_follows_one_field_has_no_order_within_the_others():
    rates = [recipe["lr"] for recipe in GRID]
    found = granulated(rates, rates, GRID)
    assert found.by_field == {"lr": 1.0}  # within the others it is constant, which is no order
    shuffled = granulated([r + 0.1 * (k % 2) for k, r in enumerate(rates)], rates, GRID)
    assert shuffled.by_field == {"lr": 1.0}  # the target is constant there


def test_repetitions_pair_with_each_other_across_a_field_and_not_within_one():
    recipes = [*GRID, *GRID]
    x = np.arange(24.0)
    x[12:] = -x[:12]
    found = granulated(x, [recipe["lr"] for recipe in recipes], recipes)
    # Of the pairs across lr, half lie in the same repetition, in which the order is right once and reversed once.
    assert found.by_field["lr"] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("count", [7, 8])
def test_an_interval_needs_eight_runs(count):
    x, y, z = np.random.default_rng(1).normal(size=(3, count))
    recipes = [{"lr": k} for k in range(count)]
    assert math.isnan(granulated(x, y, recipes).psi.low) == (count < 8)
    assert math.isnan(partial_rank_correlation(x, y, z).low) == (count < 8)


def test_without_a_field_that_changes_there_is_no_coefficient():
    found = granulated([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [{"lr": 1}] * 3)
    assert found.by_field == {}
    assert math.isnan(found.psi.tau)


def test_the_partial_coefficient_is_kendalls():
    x, y, z = np.random.default_rng(3).normal(size=(3, 40)) + np.linspace(0, 3, 40)
    xy, xz, yz = (stats.kendalltau(*pair).statistic for pair in ((x, y), (x, z), (y, z)))
    found = partial_rank_correlation(x, y, z)
    assert found.tau == pytest.approx((xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2)), rel=1e-12)
    assert math.isnan(partial_rank_correlation(x, y, x).tau)


def test_what_is_not_finite_is_left_out():
    x, y, z = np.random.default_rng(4).normal(size=(3, 20))
    more = [np.append(v, [math.nan, math.inf]) for v in (x, y, z)]
    assert partial_rank_correlation(*more) == partial_rank_correlation(x, y, z)
    recipes = [{"lr": k % 5, "width": k % 2} for k in range(22)]
    assert granulated(*more[:2], recipes) == granulated(x, y, recipes[:20])


def covered(interval, times=100):
    hits = sum(low <= 0 <= high for low, high in map(interval, range(times)))
    return hits / times, 4 * math.sqrt(0.95 * 0.05 / times)


def test_the_interval_of_psi_covers_nothing_where_there_is_nothing():
    recipes = GRID * 4

    def interval(seed):
        x, y = np.random.default_rng(seed).normal(size=(2, len(recipes)))
        psi = granulated(x, y, recipes, seed=seed).psi
        return psi.low, psi.high

    share, doubt = covered(interval)
    assert share == pytest.approx(0.95, abs=doubt)


def test_the_partial_interval_covers_nothing_where_there_is_nothing():
    def interval(seed):
        found = partial_rank_correlation(*np.random.default_rng(seed).normal(size=(3, 60)), seed=seed)
        return found.low, found.high

    share, doubt = covered(interval)
    assert share == pytest.approx(0.95, abs=doubt)


def test_what_a_third_quantity_explains_is_removed():
    x, y, z = np.random.default_rng(5).normal(size=(3, 400))
    assert stats.kendalltau(x + 2 * z, y + 2 * z).statistic > 0.5
    found = partial_rank_correlation(x + 2 * z, y + 2 * z, z)
    assert abs(found.tau) < 0.2  # not 0: of normal numbers Kendall's partial coefficient is a little above


def test_an_order_without_a_single_exception_has_no_interval():
    recipes = [{"lr": k} for k in range(9)]
    psi = granulated(range(9), range(9), recipes).psi
    assert (psi.tau, psi.n) == (1.0, 1)
    assert math.isnan(psi.low)
