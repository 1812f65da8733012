"""Every measure of the mission on a 568-parameter network against the dense float64 Hessian."""

import problems
import pytest
import torch
from torch import nn

from landscape.measures import (
    approximation_ratio,
    dominant_eigenvalue,
    gradient_noise,
    gradient_norm,
    hessian_trace,
    normalized_trace,
    surrogate_gap,
)
from landscape.objective import Objective

CE = nn.CrossEntropyLoss()


@pytest.fixture(scope="module", params=[nn.Tanh, nn.ReLU], ids=["tanh", "relu"])
def case(request: pytest.FixtureRequest) -> tuple[Objective, torch.Tensor, torch.Tensor]:
    """The objective in float32 as the command line has it, and the truth in float64."""
    x, y = problems.classification()
    objective = problems.small_objective(request.param, dtype=torch.float32)
    gradient, hessian = problems.dense(objective, problems.small_net(request.param), x, y, CE)
    return objective, gradient, hessian


def test_gradient_norm(case: tuple[Objective, torch.Tensor, torch.Tensor]) -> None:
    objective, gradient, _ = case
    assert gradient_norm(objective).value == pytest.approx(float(gradient.norm()), rel=1e-4)


def test_dominant_eigenvalue(case: tuple[Objective, torch.Tensor, torch.Tensor]) -> None:
    objective, _, hessian = case
    spectrum = torch.linalg.eigvalsh(hessian)
    dominant = float(spectrum[spectrum.abs().argmax()])
    found = dominant_eigenvalue(objective)
    assert found.converged
    assert found.value == pytest.approx(dominant, rel=1e-4)
    assert found.details["residual"] <= 1e-3 * abs(found.value)


def test_trace_and_normalized_trace_are_within_four_standard_errors(
    case: tuple[Objective, torch.Tensor, torch.Tensor],
) -> None:
    objective, gradient, hessian = case
    truth = float(hessian.trace())
    for method in ("auto", "hutchinson"):
        trace = hessian_trace(objective, method=method, tolerance=0.1)
        assert abs(trace.value - truth) <= 4 * (trace.standard_error or 0.0) + 1e-4 * abs(truth)
        assert (trace.standard_error is None) == (trace.details["method"] == "exact")
    normalized = normalized_trace(objective)
    exact, doubt = truth / float(gradient.norm()), 4 * (normalized.standard_error or 0.0)
    assert abs(normalized.value - exact) <= doubt + 1e-4 * abs(exact)


def test_surrogate_gap_and_the_curvature_it_implies() -> None:
    x, y = problems.classification()
    objective = problems.small_objective(nn.Tanh, dtype=torch.float32)
    gradient, hessian = problems.dense(objective, problems.small_net(), x, y, CE)
    exact = problems.small_objective(nn.Tanh)
    moved = exact.at(exact.point + 0.05 * exact.gradient / exact.gradient.norm()).loss
    found = surrogate_gap(objective)
    assert found.value == pytest.approx(moved - exact.loss, rel=1e-4)
    u = gradient / gradient.norm()
    sharp = surrogate_gap(exact, rho=1e-3)
    assert sharp.details["implied_curvature"] == pytest.approx(float(u @ hessian @ u), rel=1e-2)


def test_gradient_noise_keeps_its_identity() -> None:
    exact = problems.small_objective(nn.Tanh)
    found = gradient_noise(problems.small_objective(nn.Tanh, dtype=torch.float32))
    parts = list(exact.per_batch())
    mean = sum(p.num_examples / 100 * float(p.gradient.square().sum()) for p in parts)
    variance = sum(p.num_examples / 100 * float((p.gradient - exact.gradient).square().sum()) for p in parts)
    assert found.value == pytest.approx(mean, rel=1e-4)
    assert found.details["gradient_variance"] == pytest.approx(variance, rel=1e-4)


def test_approximation_ratio_against_an_ascent_written_out() -> None:
    objective = problems.small_objective(nn.Tanh)
    ratios = []
    for part in objective.per_batch():
        centre, rho = part.point, 0.3
        unit = part.gradient / part.gradient.norm()
        one = part.at(centre + rho * unit).loss - part.loss
        delta, best = torch.zeros_like(centre), one
        for _ in range(20):
            slope = part.at(centre + delta).gradient
            delta = delta + 2.5 * rho / 20 * slope / slope.norm()
            delta = delta * min(1.0, rho / float(delta.norm()))
            best = max(best, part.at(centre + delta).loss - part.loss)
        ratios.append((part.num_examples, one / best))
    truth = sum(n * r for n, r in ratios) / 100
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-4)):
        found = approximation_ratio(problems.small_objective(nn.Tanh, dtype=dtype), rho=0.3)
        assert found.value == pytest.approx(truth, rel=tolerance)
