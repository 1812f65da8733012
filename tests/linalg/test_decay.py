"""How far an eigenvalue search is, against searches whose end is known."""

import math

import pytest
import torch

from landscape.linalg import Decay, SymmetricOperator, lanczos, power_iteration


def diagonal(values):
    d = torch.tensor(values, dtype=torch.float64)
    return SymmetricOperator(lambda v: d[:, None] * v if v.ndim == 2 else d * v, len(d), d.device, d.dtype)


def shares_of(search):
    """Every step with the share that was told, and the number of steps that there were."""
    told = []
    decay = Decay(1e-3, 100_000)
    result = search(lambda step, value, residual: told.append((step, decay.share(step, residual))))
    assert result.converged
    return told


@pytest.mark.parametrize("gap", [0.8, 0.9, 0.98, 0.995])
def test_what_is_left_of_a_power_iteration_is_never_told_too_short_and_in_the_end_to_a_factor_of_two(gap):
    values = [1.0, gap, *(0.3 * gap * k / 40 for k in range(40))]
    told = shares_of(
        lambda report: power_iteration(
            diagonal(values),
            max_iterations=100_000,
            generator=torch.Generator().manual_seed(1),
            on_step=report,
        )
    )
    last = told[-1][0]
    estimates = [(step, step / share - step) for step, share in told if share is not None and step < last]
    assert [step for step, _ in estimates if step > 0.75 * last]
    for step, left in estimates:
        assert left >= (last - step) / 2 - 1
        if step > 0.75 * last:
            assert left <= 2 * (last - step) + 2


@pytest.mark.parametrize("count", [1, 5])
def test_a_lanczos_search_is_never_told_to_be_almost_done_before_it_is(count):
    generator = torch.Generator().manual_seed(0)
    values = [*(1 + 0.02 * k for k in range(20)), *torch.linspace(0, 1, 400).tolist()]
    told = shares_of(
        lambda report: lanczos(
            diagonal(values), count=count, max_products=100_000, generator=generator, on_step=report
        )
    )
    last = told[-1][0]
    for step, share in told:
        if share is not None and step < last / 2:
            assert share < 0.9


def test_nothing_is_told_of_residuals_that_rise_or_stay_or_are_none():
    for residuals in (
        [0.1] * 30,
        [0.01 * 1.1**k for k in range(30)],
        [math.nan] * 30,
        [math.inf] * 30,
        [0.0] * 30,
    ):
        decay = Decay(1e-3, 1000)
        assert {decay.share(k + 1, r) for k, r in enumerate(residuals)} == {None}


def test_the_end_of_the_budget_is_the_end():
    decay = Decay(1e-12, 40)
    shares = [decay.share(k + 1, 0.97**k) for k in range(30)]
    assert shares[:11] == [None] * 11
    assert shares[-1] == pytest.approx(30 / 40)


def test_past_the_tolerance_without_an_end_nothing_is_told():
    decay = Decay(1e-3, 1000)
    shares = [decay.share(k + 1, 0.9**k) for k in range(80)]
    assert shares[11] == pytest.approx(12 / (12 + math.log(0.9**11 / 1e-3) / -math.log(0.9)))
    assert shares[-1] is None
