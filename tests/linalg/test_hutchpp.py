"""Hutch++ on known spectra: unbiased, its error bar holds, and a few large eigenvalues cost it nothing."""

import importlib
import math

import problems
import pytest
import torch

from landscape.linalg import SymmetricOperator, TraceEstimate, dense, hutchinson, hutchpp


def matrix(spectrum: torch.Tensor) -> torch.Tensor:
    q = problems.orthogonal(len(spectrum))
    return q @ torch.diag(spectrum) @ q.T


SPIKED = torch.cat([torch.tensor([50.0, 20.0, -10.0, 5.0]), torch.linspace(-0.2, 0.4, 56)]).double()


def estimate(a: torch.Tensor, seed: int, **options: float) -> TraceEstimate:
    return hutchpp(dense(a), generator=torch.Generator().manual_seed(seed), **options)


def test_it_is_unbiased_and_its_standard_error_is_the_true_spread() -> None:
    """60 seeds at a fixed number of products, so that stopping cannot bias it."""
    a, runs = matrix(SPIKED), 60
    found = [estimate(a, seed, sketch=2, tolerance=1e-12, max_products=44) for seed in range(runs)]
    errors = torch.tensor([one.value - float(SPIKED.sum()) for one in found])
    assert abs(float(errors.mean())) <= 4 * float(errors.std()) / math.sqrt(runs)
    scaled = errors / torch.tensor([one.standard_error for one in found])
    # a mean square of t-like ratios with 39 degrees of freedom: 1.05, standard deviation about 0.2
    assert 0.5 <= float(scaled.square().mean()) <= 2.0


def test_large_eigenvalues_are_in_the_exact_part() -> None:
    a = matrix(SPIKED)
    ours = estimate(a, 0, sketch=8, tolerance=1e-12, max_products=60)
    plain = hutchinson(dense(a), tolerance=1e-12, max_probes=60, generator=torch.Generator().manual_seed(0))
    assert len(ours.samples) == 60 - 16
    assert ours.standard_error < plain.standard_error / 10
    assert abs(ours.value - float(SPIKED.sum())) <= 4 * ours.standard_error


@pytest.mark.parametrize("rank", [1, 5])
def test_a_matrix_of_low_rank_is_exact(rank: int) -> None:
    spectrum = torch.cat([torch.linspace(1, 3, rank), torch.zeros(30 - rank)]).double()
    found = estimate(matrix(spectrum), 1, sketch=6)
    assert found.value == pytest.approx(float(spectrum.sum()), rel=1e-10)
    assert found.standard_error <= 1e-10


def test_a_matrix_smaller_than_the_sketch_is_exact() -> None:
    found = estimate(matrix(torch.tensor([1.0, -2.0, 4.0]).double()), 0)
    assert (found.standard_error, found.converged) == (0.0, True)
    assert found.value == pytest.approx(3.0, rel=1e-12)
    assert found.samples.tolist() == [found.value]


def test_a_budget_that_is_too_small_is_said() -> None:
    found = estimate(matrix(SPIKED), 0, tolerance=1e-9, max_products=15)
    assert not found.converged
    assert len(found.samples) == 15 - 2 * 5


def test_the_sketch_is_at_most_a_third_of_the_products_and_never_more_than_the_dimension() -> None:
    small = estimate(matrix(SPIKED), 0, sketch=24, tolerance=1e-9, max_products=15)
    assert len(small.samples) == 15 - 2 * 5
    least = estimate(matrix(SPIKED), 0, sketch=24, tolerance=1e-9, max_products=3)
    assert (len(least.samples), least.standard_error, least.converged) == (1, math.inf, False)
    two = estimate(matrix(SPIKED), 0, sketch=1, tolerance=1e-9, max_products=4)
    assert len(two.samples) == 2
    assert two.standard_error == pytest.approx(float(two.samples.std()) / math.sqrt(2), rel=1e-12)


def test_products_are_told_and_no_look_comes_before_enough_probes() -> None:
    told: list[tuple[int, float, float]] = []
    found = estimate(matrix(SPIKED), 0, sketch=4, tolerance=1e9, on_step=lambda *step: told.append(step))
    assert [products for products, _, _ in told] == [16, 24]
    assert told[-1][1:] == (found.value, found.standard_error)
    negative = estimate(-matrix(SPIKED), 0, sketch=4, tolerance=0.05)
    assert negative.converged
    assert negative.value < 0
    broken = estimate(torch.full((30, 30), math.nan, dtype=torch.float64), 0, sketch=2)
    assert (len(broken.samples), broken.converged) == (8, False)


@pytest.mark.parametrize(("limit", "widest"), [(3, 3), (1, 1), (0.5, 1), (100, 8)])
def test_a_block_fits_its_memory_and_holds_one_vector_at_least(
    monkeypatch: pytest.MonkeyPatch, limit: float, widest: int
) -> None:
    module = importlib.import_module("landscape.linalg.hutchpp")  # the package has a function of that name
    monkeypatch.setattr(module, "BLOCK_BYTES", int(limit * 4 * len(SPIKED)))
    a, widths = matrix(SPIKED), []

    def product(vectors: torch.Tensor) -> torch.Tensor:
        widths.append(vectors.shape[1])
        return a @ vectors

    operator = SymmetricOperator(product, len(SPIKED), torch.device("cpu"), torch.float64)
    hutchpp(operator, sketch=9, tolerance=1e-9, max_products=40, generator=torch.Generator().manual_seed(0))
    assert max(widths) == widest
    assert sum(widths) == 40
