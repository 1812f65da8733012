"""Levels and colours of losses: round, few enough, and the same for all panels."""

import numpy as np
import pytest
from matplotlib.colors import LogNorm, Normalize

from landscape.plotting import panels
from landscape.plotting.scale import number, shared_scale
from landscape.records.surface import Surface


def _surface(values) -> Surface:
    loss = np.asarray(values, float).reshape(2, -1)
    return Surface(
        x=np.arange(loss.shape[1], dtype=float),
        y=np.arange(2.0),
        loss=loss,
        accuracy=None,
        computed=np.ones_like(loss, bool),
        meta={},
    )


@pytest.mark.parametrize(
    ("low", "high"),
    [(1e-5, 80), (0.07, 4.7), (1, 3.5), (2.3, 2.31), (1e-30, 1e30), (0.1, 1), (999, 1e5), (1, 1e308)],
)
def test_levels_cover_all_losses_and_are_about_ten(low, high):
    scale = shared_scale([_surface([low, high, high, high])])
    assert scale.levels[0] <= low
    assert scale.levels[-1] >= high
    assert 7 <= len(scale.levels) <= 20
    assert scale.extend == "neither"
    assert 2 <= len(scale.ticks) <= 9


@pytest.mark.parametrize(("low", "high"), [(1e-5, 80), (0.07, 4.7), (1, 3.5)])
def test_positive_and_spread_losses_get_log_spaced_levels(low, high):
    scale = shared_scale([_surface([low, high, high, high])])
    assert isinstance(scale.norm, LogNorm)
    steps = np.diff(np.log(scale.levels))
    assert steps.max() < 3 * steps.min()


@pytest.mark.parametrize("values", [[-1, 3, 2, 2], [2.3, 2.31, 2.3, 2.3]])
def test_other_losses_get_evenly_spaced_levels(values):
    scale = shared_scale([_surface(values)])
    assert type(scale.norm) is Normalize
    steps = np.diff(scale.levels)
    assert steps == pytest.approx(np.full(len(steps), steps[0]))


def test_losses_of_zero_among_positive_ones_are_clipped_and_drawn():
    surface = _surface([0.0, 0.0, 0.01, 1, 0.0, 0.0, 1, 100])
    scale = shared_scale([surface])
    assert scale.extend == "min"
    assert isinstance(scale.norm, LogNorm)
    assert not panels([surface]).axes[0].patches


@pytest.mark.parametrize("value", [0.0, 2.5, -1.0, 1e-12])
def test_constant_surface_has_a_scale_around_it(value):
    scale = shared_scale([_surface([value] * 4)])
    assert scale.levels[0] < value < scale.levels[-1]


def test_nothing_that_is_not_finite_takes_part():
    assert (
        shared_scale([_surface([np.inf, np.nan, 1, 10])]).levels
        == shared_scale([_surface([1, 1, 1, 10])]).levels
    )


def test_given_limits_of_a_norm_bound_the_levels():
    scale = shared_scale([_surface([0.001, 1, 10, 1000])], norm=LogNorm(0.1, 100))
    assert scale.levels[0] == 0.1
    assert scale.levels[-1] == 100
    assert scale.extend == "both"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.003, "0.003"),
        (100.0, "100"),
        (0.0, "0"),
        (-2.5, "−2.5"),
        (1e-5, "$10^{-5}$"),
        (3e-5, r"$3 \cdot 10^{-5}$"),
        (2e6, r"$2 \cdot 10^{6}$"),
    ],
)
def test_numbers_are_written_as_in_a_paper(value, text):
    assert number(value) == text
