"""Levels and colours of losses: round, few enough, and the same for all panels."""

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import LogNorm, Normalize, SymLogNorm

from landscape.errors import UsageError
from landscape.plotting import panels
from landscape.plotting.scale import check_colour_map, diverging_scale, number, shared_scale
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


def test_limits_bound_the_levels_exactly_and_say_what_is_beyond():
    scale = shared_scale([_surface([0.001, 1, 10, 1000])], limits=(0.15, 70))
    assert (scale.levels[0], scale.levels[-1], scale.extend) == (0.15, 70, "both")
    assert (scale.norm.vmin, scale.norm.vmax) == (0.15, 70)
    assert isinstance(scale.norm, LogNorm)
    upper = shared_scale([_surface([0.001, 1, 10, 1000])], limits=(None, 70))
    assert (upper.levels[0], upper.levels[-1], upper.extend) == (0.001, 70, "max")
    assert type(shared_scale([_surface([0.001, 1, 10, 1000])], limits=(0, 70)).norm) is Normalize


def test_a_scale_is_linear_or_logarithmic_as_requested():
    linear = shared_scale([_surface([0.001, 1, 10, 1000])], log=False)
    assert type(linear.norm) is Normalize
    assert np.ptp(np.diff(linear.levels)) < 1e-9
    narrow = shared_scale([_surface([2.0, 2.1, 2.2, 2.3])], log=True)
    assert isinstance(narrow.norm, LogNorm)
    assert len(narrow.levels) >= 4
    for values in ([-1.0, 1, 2, 3], [-1.0, -2, -3, -4], [0.0, 0, 0, 0]):
        with pytest.raises(UsageError, match=r"--log: .* positive losses only"):
            shared_scale([_surface(values)], log=True)
    assert shared_scale([_surface([-1.0, 1, 2, 30])], log=True, limits=(0.5, None)).extend == "min"


def test_differences_are_on_a_symmetric_logarithmic_scale_around_zero():
    values = np.concatenate([-np.geomspace(1e-3, 30, 60), np.geomspace(1e-3, 2, 40)])
    scale = diverging_scale(_surface(values))
    assert isinstance(scale.norm, SymLogNorm)
    assert scale.levels == tuple(-level for level in reversed(scale.levels))
    assert 0.0 in scale.levels
    assert scale.levels[-1] >= 30
    # A tenth of the sizes is in the linear part, and a round number ends it.
    assert np.quantile(np.abs(values), 0.1) / 3 < scale.norm.linthresh <= np.quantile(np.abs(values), 0.1)
    assert float(scale.norm(0.0)) == 0.5
    assert float(scale.norm(0.1)) == pytest.approx(1 - float(scale.norm(-0.1)))
    assert max(colormaps[scale.colours](0.5)[:3]) - min(colormaps[scale.colours](0.5)[:3]) < 0.02
    assert float(scale.norm(0.1) - scale.norm(0.01)) > 5 * 0.09 / 60  # wider than a linear scale has it
    clipped = diverging_scale(_surface(values), limit=1.0)
    assert (clipped.levels[0], clipped.levels[-1], clipped.extend) == (-1.0, 1.0, "both")


@pytest.mark.parametrize("values", [[-1.0, 0.5, 0.8, 1], [0.0, 0, 0, 0], [np.nan, 1, 1, 1]])
def test_differences_of_one_size_are_on_a_linear_scale(values):
    scale = diverging_scale(_surface(values))
    assert type(scale.norm) is Normalize
    assert scale.levels[0] == -scale.levels[-1]


def test_a_map_is_refused_where_its_lightness_misleads():
    for name in ("viridis", "cividis", "magma_r", "Blues", "gray"):
        check_colour_map(name, diverging=False)
    for name in ("RdBu_r", "coolwarm", "PuOr", "berlin"):
        check_colour_map(name, diverging=True)
    for name in (
        "jet",
        "rainbow",
        "turbo",
        "hsv",
        "gist_rainbow",
        "nipy_spectral",
        "twilight",
        "tab10",
        "prism",
    ):
        for diverging in (False, True):
            with pytest.raises(UsageError, match="because its lightness does not go"):
                check_colour_map(name, diverging=diverging)


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
