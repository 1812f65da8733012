"""Stochastic Lanczos quadrature against the eigenvalues it estimates the density of."""

import math

import problems
import pytest
import torch

from landscape.draws import Draws
from landscape.linalg import dense, stochastic_lanczos_quadrature

SPECTRUM = torch.cat([torch.linspace(-1, 1, 95), torch.tensor([5.0, 6, 7, 8, 9])]).double()


def quadrature(probes: int, steps: int = 40) -> object:
    q = problems.orthogonal(100)
    return stochastic_lanczos_quadrature(
        dense(q @ torch.diag(SPECTRUM) @ q.T),
        probes=probes,
        steps=steps,
        generator=torch.Generator().manual_seed(1),
    )


def test_the_weights_of_each_probe_sum_to_one_and_moments_are_right() -> None:
    found = quadrature(30)
    assert torch.allclose(found.weights.sum(1), torch.ones(30).double())
    for power in (1, 2, 3):
        each = (found.weights * found.nodes**power).sum(1)
        error = float(each.std()) / math.sqrt(30)
        assert abs(float(each.mean()) - float((SPECTRUM**power).mean())) <= 4 * error + 1e-12


def test_the_smoothed_density_is_within_its_band() -> None:
    found = quadrature(40)
    grid = torch.linspace(-2, 10, 60).double()
    density, error = found.density(grid, width=0.4)
    exact = torch.exp(-0.5 * ((grid[None] - SPECTRUM[:, None]) / 0.4) ** 2).mean(0) / (
        0.4 * math.sqrt(2 * math.pi)
    )
    assert ((density - exact).abs() <= 5 * error + 1e-6).all()


def test_all_steps_on_a_small_matrix_give_its_eigenvalues() -> None:
    found = stochastic_lanczos_quadrature(
        dense(torch.diag(torch.tensor([1.0, 2, 4]).double())), probes=1, steps=10,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert torch.allclose(found.nodes[0], torch.tensor([1.0, 2, 4]).double())
    assert found.products == 3


def test_an_invariant_subspace_ends_a_probe_with_exact_moments() -> None:
    """Three distinct eigenvalues: three nodes of each probe hold all the weight, the others none."""
    spectrum = torch.tensor([2.0] * 5 + [-1.0] * 4 + [0.5] * 3).double()
    q = problems.orthogonal(12)
    told: list[int] = []
    found = stochastic_lanczos_quadrature(
        dense(q @ torch.diag(spectrum) @ q.T), probes=4, steps=6,
        generator=torch.Generator().manual_seed(0), on_step=told.append,
    )  # fmt: skip
    assert found.products == 12
    assert told == list(range(1, 13))
    expected = torch.tensor([-1.0, 0.5, 2.0]).double().expand(4, 3)
    assert torch.allclose(found.nodes[:, :3], expected, atol=1e-9)
    assert torch.equal(found.weights[:, 3:], torch.zeros(4, 3).double())
    assert torch.allclose(found.weights.sum(1), torch.ones(4).double())


def test_one_probe_has_no_standard_error_and_two_have() -> None:
    grid = torch.linspace(-2, 2, 3).double()
    assert quadrature(1, steps=5).density(grid, 0.5)[1].tolist() == [math.inf] * 3
    assert bool(quadrature(2, steps=5).density(grid, 0.5)[1].isfinite().all())


@pytest.mark.parametrize("width", [0.1, 2.0])
def test_the_density_integrates_to_one_and_its_error_is_that_of_the_mean_over_probes(width: float) -> None:
    found = quadrature(5, steps=20)
    grid = torch.linspace(-20, 30, 20001).double()
    density, error = found.density(grid, width)
    assert float(torch.trapezoid(density, grid)) == pytest.approx(1.0, rel=1e-6)
    bumps = torch.distributions.Normal(found.nodes[:, :, None], width).log_prob(grid).exp()
    curves = (found.weights[:, :, None] * bumps).sum(dim=1)
    assert torch.allclose(error, curves.std(dim=0) / math.sqrt(5), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_nodes_are_in_proportion_to_the_operator(scale: float) -> None:
    a = torch.diag(torch.linspace(1, 2, 12).double())
    plain, scaled = (
        stochastic_lanczos_quadrature(
            dense(factor * a), probes=2, steps=6, generator=torch.Generator().manual_seed(0)
        )
        for factor in (1.0, scale)
    )
    assert (plain.products, scaled.products) == (12, 12)
    assert torch.allclose(scaled.nodes / scale, plain.nodes, rtol=1e-9)
    assert torch.allclose(scaled.weights, plain.weights, rtol=1e-6)


def test_each_probe_is_a_vector_of_signs_of_its_number() -> None:
    """The first moment of a probe's quadrature is vᵀAv/n, whatever the number of steps."""
    q = problems.orthogonal(100)
    a, draws = dense(q @ torch.diag(SPECTRUM) @ q.T), Draws.of(torch.Generator().manual_seed(1))
    signs = a.rademacher(draws, range(3))
    assert signs.abs().unique().tolist() == [1.0]
    for steps in (1, 4):
        found = quadrature(3, steps)
        moments = (found.weights * found.nodes).sum(dim=1)
        assert torch.allclose(moments, (signs * (a @ signs)).sum(dim=0) / 100, rtol=1e-9)
