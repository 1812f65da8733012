"""Closed forms on quadratics, stationary points, tiny denominators, bad options."""

import math

import numpy as np
import problems
import pytest
import torch
from scipy import stats
from torch import nn

from landscape.errors import InputError, UsageError
from landscape.measures import (
    MEASURES,
    approximation_ratio,
    dominant_eigenvalue,
    gradient_noise,
    gradient_norm,
    hessian_trace,
    measure,
    normalized_trace,
    surrogate_gap,
)
from landscape.objective import BatchLoss, Objective

SPECTRUM = [4.0, 2.0, 1.0, 0.5, -0.25]


def test_a_quadratic_has_its_closed_forms() -> None:
    objective, matrix = problems.quadratic(SPECTRUM)
    w = objective.point
    g = matrix @ w
    assert gradient_norm(objective).value == pytest.approx(float(g.norm()), rel=1e-12)
    assert dominant_eigenvalue(objective, tolerance=1e-6).value == pytest.approx(4.0, rel=1e-8)
    trace = hessian_trace(objective, tolerance=0.01)
    assert abs(trace.value - sum(SPECTRUM)) <= 4 * (trace.standard_error or 0)
    moved = w + 0.1 * g / g.norm()
    gap = surrogate_gap(objective, rho=0.1)
    assert gap.value == pytest.approx(float(0.5 * moved @ matrix @ moved - 0.5 * w @ matrix @ w), rel=1e-10)
    u = g / g.norm()
    assert gap.details["implied_curvature"] == pytest.approx(float(u @ matrix @ u), rel=1e-8)


def test_a_dominant_eigenvalue_can_be_negative() -> None:
    objective, _ = problems.quadratic([-6.0, 3.0, 1.0])
    assert dominant_eigenvalue(objective, tolerance=1e-6).value == pytest.approx(-6.0, rel=1e-8)


def test_the_gap_at_a_minimum_tends_to_half_the_eigenvalue_times_rho_squared() -> None:
    top = problems.orthogonal(5)[:, 0]
    objective, _ = problems.quadratic(SPECTRUM, top * 1e-9)
    gap = surrogate_gap(objective, rho=0.1)
    assert gap.value == pytest.approx(0.5 * 4.0 * 0.1**2, rel=1e-6)


def test_a_stationary_point_is_said_and_not_divided_by() -> None:
    objective, _ = problems.quadratic(SPECTRUM, torch.zeros(5))
    assert gradient_norm(objective).value == 0
    assert surrogate_gap(objective).value == 0
    normalized = normalized_trace(objective)
    assert math.isnan(normalized.value)
    assert normalized.details["undefined"] == "the gradient is zero"
    ratio = approximation_ratio(objective)
    assert math.isnan(ratio.value)
    assert ratio.details["skipped_stationary"] == 1


def test_the_one_step_point_is_the_best_on_a_linear_loss() -> None:
    c = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    loss = BatchLoss(lambda model, batch: c @ model.w + 0 * batch.sum())
    objective = Objective(problems.Point(torch.zeros(3).double()), loss, [torch.zeros(1).double()])
    assert approximation_ratio(objective, rho=0.5).value == pytest.approx(1.0, rel=1e-12)
    assert dominant_eigenvalue(objective).value == 0
    trace = hessian_trace(objective)
    assert (trace.value, trace.standard_error, trace.converged) == (0, 0, True)


def test_the_ascent_nears_the_true_maximum_of_a_quadratic_on_the_ball() -> None:
    """max over ‖δ‖=ρ of gᵀδ + ½δᵀHδ from the secular equation ‖(μ−H)⁻¹g‖ = ρ, μ > λ_max."""
    from scipy.optimize import brentq

    from landscape.measures.approximation_ratio import rises

    objective, matrix = problems.quadratic([10.0, 2.0, 1.0, 0.5], torch.tensor([0.05, 1.0, 1.0, 1.0]))
    g, h, rho = (matrix @ objective.point).numpy(), matrix.numpy(), 1.0
    solve = lambda mu: np.linalg.solve(mu * np.eye(4) - h, g)
    mu = brentq(lambda m: np.linalg.norm(solve(m)) - rho, 10 + 1e-6, 1e3)
    best = float(g @ solve(mu) + 0.5 * solve(mu) @ h @ solve(mu))
    one, found = rises(objective, rho=rho, steps=20)
    assert found is not None
    assert one < found <= best * (1 + 1e-12)
    assert found == pytest.approx(best, rel=0.02)


@pytest.mark.parametrize("reading", ["batch", "example"])
@pytest.mark.parametrize("rho", [1e-3, 0.05, 2.0])
def test_the_ratio_never_exceeds_one(reading: str, rho: float) -> None:
    found = approximation_ratio(problems.small_objective(nn.ReLU), rho=rho, reading=reading, examples=40)
    assert found.value <= 1
    assert found.details["averaged"] >= 1


def test_the_ratio_takes_whole_random_batches_until_there_are_enough_examples() -> None:
    objective = problems.small_objective(batch=30)
    few = approximation_ratio(objective, examples=35)
    assert few.details["averaged"] == 2
    assert approximation_ratio(objective, examples=35, seed=0).value == few.value
    assert (
        approximation_ratio(problems.small_objective(), examples=12, reading="example").details["averaged"]
        == 12
    )


@pytest.mark.parametrize(("examples", "batches"), [(1, 1), (30, 1), (31, 2), (90, 3), (91, 4), (1000, 4)])
def test_the_ratio_takes_no_batch_more_than_it_needs(examples: int, batches: int) -> None:
    x, y = problems.classification(120)
    objective = Objective(problems.small_net(), nn.CrossEntropyLoss(), problems.batches(x, y, 30))
    found = approximation_ratio(objective, examples=examples, steps=1)
    assert found.details["averaged"] == batches
    assert (found.standard_error is None) == (batches == 1)


@pytest.mark.parametrize(("rise", "averaged"), [(7, 0), (9, 1)])
@pytest.mark.parametrize("height", [2.0, -2.0, 0.5])
def test_a_rise_counts_from_eight_roundings_of_the_loss_on(rise: int, averaged: int, height: float) -> None:
    """A loss of magnitude 2 in float64 has a rounding of 2⁻⁵²·2; one of ½ is held to that of 1."""
    slope = rise * 2.0**-52 * max(1.0, abs(height))
    loss = BatchLoss(lambda model, batch: (batch * model.w).sum() + height)
    point = problems.Point(torch.zeros(1).double())
    found = approximation_ratio(Objective(point, loss, [torch.tensor([[slope]]).double()]), rho=1.0)
    assert found.details["averaged"] == averaged


def test_a_flat_batch_is_left_out_and_counted() -> None:
    x = torch.tensor([[1.0], [1e-14]], dtype=torch.float64)
    loss = BatchLoss(lambda model, batch: (batch * model.w).sum() + 1)
    objective = Objective(problems.Point(torch.zeros(1).double()), loss, list(x.split(1)))
    found = approximation_ratio(objective)
    assert found.details == {"averaged": 1, "skipped_flat": 1, "skipped_stationary": 0}


def test_the_noise_of_normal_norms_passes_its_test_and_of_skewed_ones_fails() -> None:
    generator = torch.Generator().manual_seed(0)
    slopes = 5 + torch.randn(400, 1, generator=generator, dtype=torch.float64)
    loss = BatchLoss(lambda model, batch: (batch * model.w).sum())
    objective = Objective(problems.Point(torch.zeros(1).double()), loss, list(slopes.sqrt().split(1)))
    found = gradient_noise(objective)
    assert found.details["normality_p"] == pytest.approx(
        stats.normaltest(slopes[:, 0].numpy()).pvalue, rel=1e-6
    )
    assert found.details["normality_p"] > 0.01
    skewed = Objective(problems.Point(torch.zeros(1).double()), loss, list(slopes.exp().split(1)))
    assert gradient_noise(skewed).details["normality_p"] < 1e-6
    assert found.standard_error == pytest.approx(float(slopes.std() / 20), rel=1e-9)
    qq = found.details["qq"]
    assert len(qq["theoretical"]) == len(qq["ordered"]) == 101
    assert qq["ordered"] == sorted(qq["ordered"])


def test_the_distribution_of_the_noise_is_that_of_numpy_and_scipy() -> None:
    slopes = torch.linspace(1, 3, 20, dtype=torch.float64) ** 2
    loss = BatchLoss(lambda model, batch: (batch * model.w).sum())
    point = problems.Point(torch.zeros(1).double())
    objective = Objective(point, loss, list(slopes[:, None].split(1)))
    norms, details = slopes.square().numpy(), gradient_noise(objective).details
    assert details["standard_deviation"] == pytest.approx(norms.std(), rel=1e-12)
    assert details["quantiles"] == pytest.approx(
        {str(q): np.quantile(norms, q) for q in (0.05, 0.25, 0.5, 0.75, 0.95)}, rel=1e-12
    )
    assert (details["batches"], details["batch_size"]) == (20, 1)
    assert details["skewness"] == pytest.approx(stats.skew(norms), rel=1e-9)
    assert details["excess_kurtosis"] == pytest.approx(stats.kurtosis(norms), rel=1e-9)
    assert details["qq"]["theoretical"] == pytest.approx(stats.probplot(norms)[0][0], rel=1e-12)
    assert details["qq"]["ordered"] == pytest.approx(norms, rel=1e-12)
    assert "normality_p" in details
    fewer = gradient_noise(Objective(point, loss, list(slopes[:19, None].split(1)))).details
    assert "normality_p" not in fewer
    two = gradient_noise(Objective(point, loss, list(slopes[:2, None].split(1))))
    assert len(two.details["qq"]["ordered"]) == 2
    assert two.standard_error == pytest.approx(np.std(norms[:2], ddof=1) / 2**0.5, rel=1e-12)
    assert "qq" not in gradient_noise(Objective(point, loss, [torch.ones(1, 1).double()] * 3)).details


def test_one_batch_has_no_spread() -> None:
    objective, _ = problems.quadratic(SPECTRUM)
    found = gradient_noise(objective)
    assert found.standard_error is None
    assert found.details["gradient_variance"] == 0


@pytest.mark.parametrize("rho", [0.0, -0.05, math.nan, math.inf])
def test_a_radius_that_is_not_positive_is_refused(rho: float) -> None:
    objective, _ = problems.quadratic(SPECTRUM)
    for taken in (surrogate_gap, approximation_ratio):
        with pytest.raises(UsageError, match=r"rho=.* must be a finite number above 0"):
            taken(objective, rho=rho)


def test_a_tolerance_that_cannot_be_met_is_returned_as_not_converged() -> None:
    objective = problems.small_objective()
    trace = hessian_trace(objective, tolerance=1e-6, max_probes=20)
    eigenvalue = dominant_eigenvalue(objective, tolerance=1e-12, max_iterations=2)
    assert trace.converged is False
    assert eigenvalue.converged is False
    assert math.isfinite(trace.value)


def test_beside_a_perfect_fit_float32_is_as_good_as_float64() -> None:
    x, _ = problems.classification(60, 6, 3)
    model = problems.network(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3), dtype=torch.float32)
    with torch.no_grad():
        ranked = model(x.float()).sort(dim=1)
        margins, y = ranked.values[:, 2] - ranked.values[:, 1], ranked.indices[:, 2]
        clear = margins > margins.median()
        x, y = x[clear], y[clear]
        model[2].weight *= 16 / margins[clear].min()
        model[2].bias *= 16 / margins[clear].min()
    names = [
        "loss", "gradient-norm", "surrogate-gap:rho=0.001", "dominant-eigenvalue:tolerance=1e-5", "hessian-trace",
        "normalized-trace",
    ]  # fmt: skip
    single, double = (
        measure(Objective(model, nn.CrossEntropyLoss(), [(x, y)], dtype=dtype), names)
        for dtype in (torch.float32, torch.float64)
    )
    assert 0 < double[0].value < 1e-7
    for a, b in zip(single, double, strict=True):
        assert a.value == pytest.approx(b.value, rel=1e-3), a.measure


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_gradient_that_is_zero_but_for_rounding_has_no_normalized_trace(dtype: torch.dtype) -> None:
    """Every example occurs with both labels, and the scores are zero: the gradient vanishes, the curvature does not."""
    x, _ = problems.classification(60, 6, 3)
    model = problems.network(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))
    with torch.no_grad():
        model[2].weight.zero_()
        model[2].bias.zero_()
    labels = torch.arange(2).repeat_interleave(60)
    objective = Objective(model, nn.CrossEntropyLoss(), [(torch.cat([x, x]), labels)], dtype=dtype)
    found = normalized_trace(objective)
    assert found.details["trace"] > 0.1
    assert math.isnan(found.value)
    assert "the gradient is zero" in str(found.details["undefined"])
    moved = objective.at(objective.point + torch.linspace(-0.1, 0.1, objective.dimension, dtype=dtype))
    assert normalized_trace(moved).value > 0
    assert gradient_norm(moved).details["rounding"] < 1e-5 * gradient_norm(moved).value


X32 = problems.classification(20, 4, 2, dtype=torch.float32)[0]
Y32 = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("method", ["power", "lanczos"])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_eigenvalues_of_any_size_are_found_in_float32(method: str, scale: float) -> None:
    model = problems.network(nn.Linear(4, 2), dtype=torch.float32)
    objective = Objective(model, nn.MSELoss(), [(X32 * scale, Y32)])
    features = torch.cat([X32.double() * scale, torch.ones(20, 1)], dim=1)
    truth = float(torch.linalg.eigvalsh(features.T @ features / 20)[-1])
    found = dominant_eigenvalue(objective, method=method, tolerance=1e-4)
    assert found.converged
    assert found.value == pytest.approx(truth, rel=1e-4)


def test_what_overflows_or_is_lost_in_rounding_is_undefined() -> None:
    model = problems.network(nn.Linear(4, 2), dtype=torch.float32)
    large = Objective(model, nn.MSELoss(), [(X32, Y32 * 1e15)])
    assert "lost in the rounding" in str(surrogate_gap(large).details["undefined"])
    with torch.no_grad():
        model[0].weight *= 1e38
        model[0].bias *= 1e38
    (loss,) = measure(Objective(model, nn.SmoothL1Loss(beta=1e-300), [(X32 * 1e5, Y32)]), ["loss"])
    assert not math.isfinite(loss.value)
    assert "not finite in float32; dtype=float64 reaches further" in str(loss.details["undefined"])


def test_data_without_values_are_refused() -> None:
    model = problems.network(nn.Linear(4, 2), dtype=torch.float32)
    objective = Objective(model, nn.MSELoss(), [(X32.to("meta"), Y32.to("meta"))])
    with pytest.raises(InputError, match="batch 0 of the data is on the meta device"):
        _ = objective.loss


@pytest.mark.parametrize("measure", ["adaptive-sharpness", "average-sharpness", "surrogate-gap"])
def test_a_rise_that_is_lost_in_the_rounding_of_the_loss_is_undefined_and_not_zero(measure: str) -> None:
    """In float32 a loss of 1e30 has digits from 1e23 on; what the weights change is of the order of 1."""
    x, y = problems.classification(dtype=torch.float32)
    model = problems.small_net(dtype=torch.float32)
    loss = BatchLoss(lambda network, batch: nn.functional.cross_entropy(network(batch[0]), batch[1]) + 1e30)
    estimate = MEASURES.build(measure, Objective(model, loss, [(x, y)]))
    assert math.isnan(estimate.value)
    assert "lost in the rounding of the loss, 1e+30" in str(estimate.details["undefined"])
