"""Stochastic Lanczos quadrature against the eigenvalues it estimates the density of."""

import math

import problems
import torch

from landscape.linalg import dense, stochastic_lanczos_quadrature

SPECTRUM = torch.cat([torch.linspace(-1, 1, 95), torch.tensor([5.0, 6, 7, 8, 9])]).double()


def quadrature(probes: int, steps: int = 40) -> object:
    q = problems.orthogonal(100)
    return stochastic_lanczos_quadrature(
        dense(q @ torch.diag(SPECTRUM) @ q.T),
        probes=probes,
        steps=steps,
        generator=torch.Generator().manual_seed(0),
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
