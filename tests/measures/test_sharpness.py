"""Adaptive and average sharpness against closed forms on quadratics, and their invariance."""

import math

import numpy as np
import problems
import pytest
import torch
from scipy.optimize import brentq
from torch import nn

from landscape.measures import adaptive_sharpness, average_sharpness
from landscape.objective import BatchLoss, Objective

START = torch.tensor([0.5, 1.0, -2.0, 1.5])


def test_adaptive_sharpness_nears_the_true_maximum_on_the_ellipsoid() -> None:
    """max over ‖u‖=ρ of (Tg)ᵀu + ½uᵀTHTu from the secular equation ‖(μ−THT)⁻¹Tg‖ = ρ, μ > λ_max."""
    objective, matrix = problems.quadratic([10.0, 2.0, 1.0, 0.5], START)
    t = np.diag(START.abs().double().numpy() + 0.01)
    g, h, rho = t @ (matrix @ objective.point).numpy(), t @ matrix.numpy() @ t, 1.0
    solve = lambda mu: np.linalg.solve(mu * np.eye(4) - h, g)
    top = float(np.linalg.eigvalsh(h)[-1])
    mu = brentq(lambda m: np.linalg.norm(solve(m)) - rho, top + 1e-6, 1e4)
    best = float(g @ solve(mu) + 0.5 * solve(mu) @ h @ solve(mu))
    found = adaptive_sharpness(objective, rho=rho)
    assert found.details["one_step"] <= found.value <= best * (1 + 1e-12)
    assert found.value == pytest.approx(best, rel=0.02)


def test_rescaling_two_layers_against_each_other_changes_nothing_but_eta() -> None:
    x, y = problems.classification()
    model = problems.network(nn.Linear(8, 6, bias=False), nn.ReLU(), nn.Linear(6, 4, bias=False))
    scaled = problems.network(nn.Linear(8, 6, bias=False), nn.ReLU(), nn.Linear(6, 4, bias=False))
    with torch.no_grad():
        scaled[0].weight *= 7
        scaled[2].weight /= 7
    plain, other = (Objective(m, nn.CrossEntropyLoss(), [(x, y)]) for m in (model, scaled))
    for measure, options in ((adaptive_sharpness, {"eta": 1e-12}), (average_sharpness, {})):
        assert measure(other, **options).value == pytest.approx(measure(plain, **options).value, rel=1e-6)
    fixed = [average_sharpness(one, adaptive=False, rho=0.05).value for one in (plain, other)]
    assert fixed[1] > 2 * fixed[0]


@pytest.mark.parametrize("adaptive", [True, False])
def test_average_sharpness_has_its_closed_form_on_a_quadratic(adaptive: bool) -> None:
    """E[½εᵀHε] = ½ρ² Σ cⱼ² Hⱼⱼ exactly."""
    objective, matrix = problems.quadratic([10.0, 2.0, 1.0, 0.5], START)
    scale = START.double().abs() if adaptive else torch.ones(4, dtype=torch.float64)
    truth = 0.5 * 0.3**2 * float((scale.square() * matrix.diag()).sum())
    found = average_sharpness(objective, rho=0.3, adaptive=adaptive, tolerance=0.05, max_pairs=2000)
    assert found.converged
    assert 0 < found.standard_error <= 0.05 * found.value
    assert abs(found.value - truth) <= 4 * found.standard_error


def test_pairs_take_the_gradient_out() -> None:
    c = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    loss = BatchLoss(lambda model, batch: c @ model.w + 0 * batch.sum())
    objective = Objective(problems.Point(torch.ones(3).double()), loss, [torch.zeros(1).double()])
    assert abs(average_sharpness(objective, max_pairs=8).value) < 1e-14


def test_a_stationary_point_is_said() -> None:
    objective, _ = problems.quadratic([1.0, 2.0], torch.zeros(2))
    found = adaptive_sharpness(objective)
    assert math.isnan(found.value)
    assert "the gradient is zero" in str(found.details["undefined"])


def test_a_budget_that_is_too_small_is_said() -> None:
    objective, _ = problems.quadratic([10.0, 2.0, 1.0, 0.5], START)
    found = average_sharpness(objective, tolerance=1e-4, max_pairs=9)
    assert found.converged is False
    assert found.details["pairs"] == 9
