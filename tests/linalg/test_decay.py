"""How far an eigenvalue search is, against searches whose end is known."""

import math
import random
import statistics

import pytest
import torch

from landscape.linalg import Decay, SymmetricOperator, lanczos, power_iteration
from landscape.linalg.decay import share_of_draws


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
            generator=torch.Generator().manual_seed(5),
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
    assert shares[:7] == [None] * 7
    assert shares[-1] == pytest.approx(30 / 40)


def test_past_the_tolerance_without_an_end_nothing_is_told():
    decay = Decay(1e-3, 1000)
    shares = [decay.share(k + 1, 0.9**k) for k in range(80)]
    assert shares[11] == pytest.approx(12 / (12 + math.log(0.9**11 / 1e-3) / -math.log(0.9)))
    assert shares[-1] is None


def ratios(residuals):
    """What was said to be left relative to what was left, at each step where anything was said."""
    decay, last = Decay(1e-3, 100_000), len(residuals)
    shares = [decay.share(k + 1, r) for k, r in enumerate(residuals)]
    return [
        (step / share - step) / (last - step)
        for step, share in enumerate(shares[:-1], 1)
        if share is not None
    ]


@pytest.mark.parametrize("rate", [0.8, 0.9, 0.98])
def test_of_a_geometric_decay_the_end_is_known_as_soon_as_there_is_a_line(rate):
    steps = math.ceil(math.log(1e-3) / math.log(rate))
    estimates = ratios([rate**k for k in range(steps)])
    assert len(estimates) >= steps - 9
    assert 0.9 < min(estimates) <= max(estimates) < 2.1
    assert statistics.median(estimates) == pytest.approx(1, rel=0.15)


@pytest.mark.parametrize("rate", [0.9, 0.98])
def test_noise_makes_the_estimate_rarer_but_not_biased(rate):
    noise = random.Random(0)
    steps = math.ceil(math.log(1e-3) / math.log(rate))
    estimates = ratios([rate**k * math.exp(noise.gauss(0, 0.3)) for k in range(steps)])
    assert len(estimates) > steps / 3
    assert 0.8 < statistics.median(estimates) < 1.3


def test_on_a_plateau_before_a_drop_nothing_is_promised():
    noise = random.Random(0)
    plateau = [0.1 * math.exp(noise.gauss(0, 0.02)) for _ in range(60)]
    estimates = ratios([*plateau, *(0.1 * 0.6**k for k in range(10))])
    assert len(estimates) < 5
    assert all(ratio > 1 for ratio in estimates)


def test_the_share_of_draws_follows_the_square_of_the_error():
    assert share_of_draws(16, 0.4, 0.1, most=1000) == pytest.approx(1 / 16)
    assert share_of_draws(16, 0.4, 0.1, most=32) == pytest.approx(1 / 2)
    assert share_of_draws(8, 0.05, 0.1, most=1000) == 1.0
    for error, goal in ((math.inf, 0.1), (math.nan, 0.1), (0.4, 0.0), (0.4, math.nan)):
        assert share_of_draws(16, error, goal, most=1000) is None
