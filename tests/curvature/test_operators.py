"""Curvature operators are symmetric, linear, and the Gauss–Newton matrix has no negative direction."""

import problems
import pytest
import torch

from landscape.curvature import gauss_newton, hessian


@pytest.mark.parametrize("build", [hessian, gauss_newton])
def test_an_operator_is_symmetric_and_linear(build: object) -> None:
    operator = build(problems.small_objective())
    u, v = torch.randn(2, operator.dimension, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert float(u @ (operator @ v)) == pytest.approx(float(v @ (operator @ u)), rel=1e-10)
    assert torch.allclose(operator @ (2 * u - v), 2 * (operator @ u) - operator @ v, atol=1e-13)
    both = operator @ torch.stack([u, v], dim=1)
    assert torch.allclose(both[:, 1], operator @ v, atol=1e-15)


def test_gauss_newton_is_positive_semidefinite_where_the_hessian_is_not() -> None:
    objective, dense = problems.tiny_case()
    identity = torch.eye(objective.dimension, dtype=torch.float64)
    assert torch.linalg.eigvalsh(gauss_newton(objective) @ identity)[0] >= -1e-14
    assert torch.linalg.eigvalsh(hessian(objective) @ identity)[0] < -1e-3
    assert torch.allclose(hessian(objective) @ identity, dense, rtol=0, atol=1e-14)
