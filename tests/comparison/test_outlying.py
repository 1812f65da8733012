"""The outlier test finds an outlying seed, and has the stated rate of false alarms on normal draws."""

import math

import numpy as np
import pytest

from landscape.comparison.cell import outlying


@pytest.mark.thorough
@pytest.mark.parametrize("n", [4, 8])
def test_normal_draws_raise_an_alarm_once_in_a_hundred(n):
    samples = np.random.default_rng(0).normal(5.0, 2.0, (6000, n)).tolist()
    alarms = sum(outlying(sample) is not None for sample in samples) / 6000
    assert abs(alarms - 0.01) < 4 * math.sqrt(0.01 * 0.99 / 6000)


def test_the_edge_is_that_of_the_published_table():
    # Grubbs 1969, two-sided 1 % for n = 10: 2.482 standard deviations.
    rest = [-1.0, -0.8, -0.5, -0.2, 0.0, 0.2, 0.5, 0.8, 1.0]

    def distance(far):
        values = np.array([*rest, far])
        return (far - values.mean()) / values.std(ddof=1)

    far = np.linspace(2.0, 9.0, 4000)
    first = next(x for x in far if outlying([*rest, x]) is not None)
    assert distance(first) == pytest.approx(2.482, abs=0.001)
    assert outlying([*rest, first]) == 9


def test_three_values_are_enough_and_may_be_about_zero():
    assert outlying([0.0, 1e-4, 1.0]) == 2
    assert outlying([-0.5, 1e-4, 0.5]) is None


def test_a_diverged_seed_is_named():
    assert outlying([0.97, 0.971, 0.10, 0.969, 0.972]) == 2


@pytest.mark.parametrize(
    "values", [[], [1.0], [1.0, 9.0], [1.0, 1.0, 1.0], [1.0, 1.0, 2.0], [1.0, 2.0, math.nan, 99.0]]
)
def test_where_nothing_can_be_said_none_is_found(values):
    assert outlying(values) is None


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_values_that_differ_by_rounding_alone_have_no_outlier(scale):
    """The farthest of them is far from the others by any test; 10⁻¹² of the mean counts as rounding."""
    others = [1.0, 1 + 1e-14, 1 - 1e-14, 1 + 2e-14]
    assert outlying([scale * value for value in [*others, 1 + 2e-12]]) is None
    assert outlying([scale * value for value in [*others, 1 + 3.4e-12]]) == 4
