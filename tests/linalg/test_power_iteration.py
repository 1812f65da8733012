"""Power iteration on matrices with a chosen spectrum."""

import problems
import pytest
import torch

from landscape.draws import Draws
from landscape.linalg import dense, power_iteration


def operator(spectrum: list[float]) -> object:
    q = problems.orthogonal(len(spectrum))
    return dense(q @ torch.diag(torch.tensor(spectrum, dtype=torch.float64)) @ q.T)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("spectrum", [[5.0, 2, 1, 0], [-7.0, 3, 1, 0.5], [1e-6, 1e-8, 0, 0]])
def test_it_finds_the_eigenvalue_of_largest_magnitude_with_its_sign(spectrum: list[float]) -> None:
    pair = power_iteration(operator(spectrum), tolerance=1e-6, generator=generator())
    assert pair.converged
    assert pair.value == pytest.approx(spectrum[0], rel=1e-8)
    matrix = operator(spectrum)
    residual = (matrix @ pair.vector - pair.value * pair.vector).norm()
    assert float(residual) == pytest.approx(pair.residual, abs=1e-12)


def test_the_residual_bounds_the_distance_to_an_eigenvalue() -> None:
    spectrum = [5.0, 4.9, 4.8, -4.7, 1, 0]
    for iterations in range(1, 30):
        pair = power_iteration(
            operator(spectrum), tolerance=1e-12, max_iterations=iterations, generator=generator()
        )
        assert min(abs(pair.value - s) for s in spectrum) <= pair.residual + 1e-12
        assert pair.iterations == iterations


def test_it_says_when_it_has_not_converged() -> None:
    pair = power_iteration(operator([5.0, -5.0, 1]), max_iterations=50, generator=generator())
    assert not pair.converged


def test_the_zero_operator_has_eigenvalue_zero() -> None:
    pair = power_iteration(operator([0.0, 0, 0]), generator=generator())
    assert pair.value == 0
    assert pair.converged


def test_a_product_that_is_not_finite_is_not_converged() -> None:
    pair = power_iteration(operator([float("nan"), 1.0]), generator=generator())
    assert pair.value != pair.value
    assert not pair.converged
    assert pair.iterations == 1


def test_every_product_is_told_with_the_relative_residual() -> None:
    told: list[tuple[int, float, float]] = []
    pair = power_iteration(
        operator([-7.0, 3, 1]), generator=generator(), on_step=lambda *step: told.append(step)
    )
    assert [step for step, _, _ in told] == list(range(1, pair.iterations + 1))
    assert told[-1][1:] == (pair.value, pair.residual / abs(pair.value))
    assert [residual <= 1e-3 for _, _, residual in told] == [False] * (pair.iterations - 1) + [True]


def test_a_start_is_taken_with_a_tenth_of_a_random_vector() -> None:
    a = operator([5.0, 2, 1, 0.5])
    start = torch.tensor([3.0, -1, 2, 7]).double()
    noise = a.normal(Draws.of(generator()))
    mixed = start / start.norm() + 0.1 * noise / noise.norm()
    vector = power_iteration(a, max_iterations=1, tolerance=0.0, generator=generator(), start=start)
    image = a @ (mixed / mixed.norm())
    assert torch.allclose(vector.vector, image / image.norm(), rtol=1e-12)
