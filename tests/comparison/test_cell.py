"""The numbers of a cell against numpy."""

import math

import numpy as np
import pytest

from landscape.comparison import Cell


def test_mean_spread_and_sampling_error_are_those_of_numpy():
    values, errors = (1.0, 2.5, 4.0, 8.0), (0.1, None, 0.2, 0.3)
    cell = Cell(values, errors)
    assert cell.mean == pytest.approx(np.mean(values), rel=1e-15)
    assert cell.spread == pytest.approx(np.std(values, ddof=1), rel=1e-15)
    assert cell.monte_carlo == pytest.approx(math.sqrt(0.1**2 + 0.2**2 + 0.3**2) / 4, rel=1e-15)


def test_one_run_has_no_spread_two_have_and_what_is_exact_has_no_sampling_error():
    assert Cell((2.0,)).spread is None
    assert Cell((2.0, 4.0)).spread == pytest.approx(math.sqrt(2), rel=1e-15)
    assert Cell((2.0,), (None,)).monte_carlo is None
    assert Cell((2.0,), (0.0,)).monte_carlo == 0.0


def test_a_run_that_is_not_finite_is_named_and_makes_no_mean():
    cell = Cell((1.0, math.nan, 2.0), seeds=(4, 5, 6))
    assert math.isnan(cell.mean)
    assert math.isnan(cell.spread)
    assert cell.not_finite == (5,)
    assert Cell((1.0, math.inf)).not_finite == (1,)
    assert Cell((1.0, math.inf)).mean == math.inf


def test_values_have_converged_unless_it_is_said():
    assert Cell((1.0,)).converged
