"""Confidence intervals agree with scipy and statsmodels, and have the stated coverage."""

import math

import numpy as np
import pytest
from scipy import stats

from landscape.comparison.intervals import FEWEST, mean_interval, seeds_needed


def draws(n, *, seed=0, times=1, mean=0.0):
    return np.random.default_rng(seed).normal(mean, 2.0, (times, n))


@pytest.mark.parametrize("n", [2, 3, 10, 40])
def test_the_t_interval_is_that_of_scipy_and_statsmodels(n):
    import statsmodels.stats.weightstats as weightstats

    [values] = draws(n, mean=5.0)
    found = mean_interval(list(values))
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert (found.low, found.high) == pytest.approx(weightstats.DescrStatsW(values).tconfint_mean(), rel=1e-9)
    assert found.excludes_zero == (stats.ttest_1samp(values, 0.0).pvalue < 0.05)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_t_interval_covers_the_mean_of_normal_draws_95_times_in_100(n):
    times = 3000
    hits = sum(i.low <= 1.0 <= i.high for i in map(mean_interval, draws(n, times=times, mean=1.0).tolist()))
    assert abs(hits / times - 0.95) < 4 * math.sqrt(0.95 * 0.05 / times)


def test_the_bootstrap_interval_is_scipys_and_covers_nearly_as_often_from_the_fewest_seeds_on():
    [values] = draws(12)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=9999, random_state=np.random.default_rng(0)
    ).confidence_interval
    found = mean_interval(list(values), method="bootstrap")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-9)
    times = 120
    samples = draws(FEWEST["bootstrap"], times=times, mean=1.0).tolist()
    intervals = [mean_interval(sample, method="bootstrap") for sample in samples]
    share = sum(i.low <= 1.0 <= i.high for i in intervals) / times
    assert 0.80 < share < 0.99


def test_no_interval_of_one_number_of_none_and_of_what_is_not_finite():
    for values in ([], [1.0], [1.0, math.nan, 2.0], [1.0, math.inf]):
        found = mean_interval(values)
        assert math.isnan(found.low)
        assert math.isnan(found.high)
        assert not found.excludes_zero


@pytest.mark.parametrize("method", ["t", "bootstrap"])
def test_equal_numbers_are_told_from_a_narrow_interval(method):
    assert mean_interval([0.1 + 0.2, 0.3, 0.3], method=method).is_degenerate
    assert not mean_interval([0.3, 0.3001, 0.3], method=method).is_degenerate


@pytest.mark.parametrize("effect", [0.15, 0.3, 0.5, 0.8, 1.0, 1.5, 2.5])
def test_the_seeds_needed_are_those_of_statsmodels(effect):
    import statsmodels.stats.power as power

    expected = power.TTestPower().solve_power(effect, power=0.8, alpha=0.05)
    assert seeds_needed(3 * effect, 3.0) == math.ceil(expected - 1e-9)
    assert seeds_needed(-3 * effect, 3.0) == math.ceil(expected - 1e-9)


@pytest.mark.parametrize("effect", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("power", [0.055, 0.06, 0.08, 0.1, 0.2, 0.95])
def test_a_power_counts_differences_found_with_either_sign(effect, power):
    """With a small effect an interval excludes zero on the wrong side nearly as often as on the right one."""
    statsmodels = pytest.importorskip("statsmodels.stats.power")
    n = np.arange(2, 1001)
    enough = statsmodels.TTestPower().power(effect, n, 0.05) >= power
    assert seeds_needed(effect, 1.0, power=power) == (n[enough.argmax()] if enough.any() else None)


def test_so_many_seeds_find_the_difference_four_times_in_five():
    n = seeds_needed(1.0, 1.0)
    samples = np.random.default_rng(1).normal(1.0, 1.0, (2000, n)).tolist()
    share = sum(mean_interval(sample).excludes_zero for sample in samples) / 2000
    assert 0.8 - 0.04 < share < 0.9


def test_differences_that_nobody_can_find_need_no_number():
    assert seeds_needed(0.0, 1.0) is None
    assert seeds_needed(0.01, 1.0) is None
    assert seeds_needed(1e9, 1.0) == 2
    assert seeds_needed(10.0, 1.0) == 3  # two seeds find it in 73 of 100 cases, says statsmodels


def test_a_thousand_seeds_are_the_most_that_is_said():
    import statsmodels.stats.power as power

    effect = power.TTestPower().solve_power(nobs=1000, power=0.8, alpha=0.05)
    assert seeds_needed(effect * 1.0002, 1.0) == 1000
    assert seeds_needed(effect * 0.9998, 1.0) is None
