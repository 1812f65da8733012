"""Hutchinson's estimator against its own theory."""

import importlib
import math

import problems
import pytest
import torch

from landscape.linalg import dense, hutchinson
from landscape.linalg.hutchinson import MIN_PROBES

module = importlib.import_module("landscape.linalg.hutchinson")  # the package has a function of that name


def matrix(n: int = 40) -> torch.Tensor:
    q = problems.orthogonal(n)
    return q @ torch.diag(torch.linspace(-1, 4, n, dtype=torch.float64)) @ q.T


def estimate(a: torch.Tensor, seed: int, **options: float) -> object:
    return hutchinson(dense(a), generator=torch.Generator().manual_seed(seed), **options)


def test_the_trace_is_within_four_standard_errors_of_the_truth() -> None:
    a = matrix()
    for seed in range(20):
        found = estimate(a, seed, tolerance=0.05)
        assert abs(found.value - float(a.trace())) <= 4 * found.standard_error


def test_the_variance_is_the_theoretical_one() -> None:
    a = matrix()
    samples = estimate(a, 0, tolerance=1e-9, max_probes=4000).samples
    variance = 2 * float((a - torch.diag(a.diagonal())).square().sum())
    # the sample variance of m near-normal forms has relative standard deviation √(2/m)
    assert float(samples.var()) == pytest.approx(variance, rel=5 * math.sqrt(2 / 4000))


def test_it_stops_on_the_standard_error_and_not_before_enough_probes() -> None:
    a = matrix()
    found = estimate(a, 0, tolerance=0.05)
    assert found.converged
    assert found.standard_error <= 0.05 * abs(found.value)
    earlier = found.samples[: len(found.samples) - 8]
    assert len(earlier) < MIN_PROBES or earlier.std() / math.sqrt(len(earlier)) > 0.05 * abs(earlier.mean())
    assert len(estimate(torch.eye(5, dtype=torch.float64), 0).samples) == MIN_PROBES


def test_a_diagonal_matrix_is_exact_from_the_first_probe() -> None:
    found = estimate(torch.diag(torch.arange(6.0, dtype=torch.float64)), 0)
    assert found.value == 15
    assert found.standard_error == 0


def test_a_budget_that_is_too_small_is_said() -> None:
    found = estimate(matrix(), 0, tolerance=1e-6, max_probes=21)
    assert len(found.samples) == 21
    assert not found.converged


def test_the_same_seed_gives_the_same_samples_whatever_the_block() -> None:
    a = matrix()
    one = estimate(a, 3, block=1, max_probes=32, tolerance=1e-9).samples
    assert torch.allclose(one, estimate(a, 3, block=8, max_probes=32, tolerance=1e-9).samples, rtol=1e-12)
    assert not torch.allclose(one, estimate(a, 4, block=8, max_probes=32, tolerance=1e-9).samples)


def test_one_probe_has_no_standard_error_and_every_block_is_told() -> None:
    told: list[tuple[int, float, float]] = []
    one = estimate(matrix(), 0, max_probes=1)
    assert (len(one.samples), one.standard_error, one.converged) == (1, math.inf, False)
    assert math.isfinite(estimate(matrix(), 0, max_probes=2).standard_error)
    found = estimate(matrix(), 0, max_probes=20, tolerance=1e-9, on_step=lambda *step: told.append(step))
    assert [probes for probes, _, _ in told] == [8, 16, 20]
    assert told[-1][1:] == (found.value, found.standard_error)


@pytest.mark.parametrize(
    ("limit", "blocks"), [(3, [3, 6, 7]), (1, [1, 2, 3, 4, 5, 6, 7]), (0.5, [1, 2, 3, 4, 5, 6, 7])]
)
def test_a_block_fits_its_memory_and_holds_one_probe_at_least(
    monkeypatch: pytest.MonkeyPatch, limit: float, blocks: list[int]
) -> None:
    monkeypatch.setattr(module, "BLOCK_BYTES", int(limit * 4 * 40))
    told: list[int] = []
    estimate(matrix(), 0, max_probes=7, tolerance=1e-9, on_step=lambda probes, *_: told.append(probes))
    assert told == blocks


def test_a_product_that_is_not_finite_stops_at_once() -> None:
    found = estimate(torch.full((3, 3), math.nan, dtype=torch.float64), 0)
    assert len(found.samples) == 8
    assert not found.converged


def test_a_negative_trace_stops_on_its_magnitude() -> None:
    assert estimate(-matrix() - 9 * torch.eye(40, dtype=torch.float64), 0, tolerance=0.05).converged


def test_no_probe_is_no_estimate() -> None:
    found = estimate(matrix(), 0, max_probes=0)
    assert (len(found.samples), found.converged) == (0, False)
    assert math.isnan(found.value)
