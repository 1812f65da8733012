"""What stands beside the value of a measure: rounding errors, reasons, progress, and where a rise is exactly zero."""

import math
import time

import numpy as np
import problems
import pytest
import torch
from torch import nn

from landscape.draws import Draws
from landscape.measures import (
    MEASURES,
    adaptive_sharpness,
    approximation_ratio,
    ascent,
    average_sharpness,
    dominant_eigenvalue,
    gradient_noise,
    gradient_norm,
    measured_or_recalled,
    normalized_trace,
    spectral_density,
    surrogate_gap,
)
from landscape.objective import BatchLoss, Objective

ONE = [torch.zeros(1, dtype=torch.float64)]


def line(slopes: list[float], start: list[float], height: float = 0.0) -> Objective:
    """``L(w) = slopes·w + height``."""
    c = torch.tensor(slopes, dtype=torch.float64)
    loss = BatchLoss(lambda model, batch: c @ model.w + height + 0 * batch.sum())
    return Objective(problems.Point(torch.tensor(start, dtype=torch.float64)), loss, ONE)


def arch() -> Objective:
    """``L(w) = w − w²`` at 0: it is 0 at 1 as well, ¼ between, and its second derivative is −2."""
    loss = BatchLoss(lambda model, batch: (model.w - model.w**2).sum() + 0 * batch.sum())
    return Objective(problems.Point(torch.zeros(1).double()), loss, ONE)


def test_the_adaptive_sharpness_of_a_line_is_the_norm_of_the_scaled_slopes() -> None:
    slopes, start = [1.0, -2.0, 3.0], [0.5, -2.0, 0.0]
    scaled = np.array(slopes) * (np.abs(start) + 0.3)
    found = adaptive_sharpness(line(slopes, start), rho=0.7, eta=0.3)
    assert found.value == pytest.approx(0.7 * np.linalg.norm(scaled), rel=1e-12)
    lost = adaptive_sharpness(line(slopes, start, 1e30), rho=0.7, eta=0.3)
    expected = (
        f"a rise of about {0.7 * np.linalg.norm(scaled):.2g} is lost in the rounding of the loss, 1e+30"
    )
    assert lost.details["undefined"] == expected


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_adaptive_sharpness_is_that_of_an_ascent_written_out(steps: int) -> None:
    start = torch.tensor([0.5, 1.0, -2.0, 1.5], dtype=torch.float64)
    objective, matrix = problems.quadratic([10.0, 2.0, 1.0, 0.5], start)
    t, rho, u, rises = start.abs() + 0.01, 0.6, torch.zeros(4, dtype=torch.float64), []
    for _ in range(steps):
        slope = t * (matrix @ (start + t * u))
        if not rises:  # the one-step point
            moved = start + t * rho * slope / slope.norm()
            rises.append(float(0.5 * moved @ matrix @ moved) - objective.loss)
        u = u + 2.5 * rho / steps * slope / slope.norm()
        u = u * min(1.0, rho / float(u.norm()))
        moved = start + t * u
        rises.append(float(0.5 * moved @ matrix @ moved) - objective.loss)
    found = adaptive_sharpness(objective, rho=rho, steps=steps)
    assert found.details["one_step"] == pytest.approx(rises[0], rel=1e-12)
    assert found.value == pytest.approx(max(rises), rel=1e-12)


def test_a_rise_of_exactly_zero_over_a_slope_that_is_seen_is_defined() -> None:
    """One step of length 1 lands where the loss is as high as before, and no rounding is at work."""
    gap = surrogate_gap(arch(), rho=1.0)
    assert (gap.value, gap.details["implied_curvature"]) == (0.0, -2.0)
    sharpness = adaptive_sharpness(arch(), rho=1.0, eta=1.0)
    assert (sharpness.value, sharpness.details["one_step"]) == (0.25, 0.0)


@pytest.mark.parametrize("slope", [1e-20, 1.0])
def test_a_gap_below_the_rounding_of_the_loss_is_undefined_however_small_the_slope(slope: float) -> None:
    found = surrogate_gap(line([slope], [0.0], 1e30), rho=0.5)
    assert math.isnan(found.value)
    assert f"a rise of about ρ‖∇L‖ = {0.5 * slope:.2g} is lost" in str(found.details["undefined"])


def test_a_stationary_point_has_no_rise_to_report() -> None:
    objective, _ = problems.quadratic([2.0, 1.0], torch.zeros(2))
    assert ascent.rises(objective, rho=1.0, steps=3) == (0.0, None)


def test_two_batches_are_enough_for_a_standard_error_of_the_ratio() -> None:
    objective = problems.small_objective()
    ratios = [approximation_ratio(part, steps=2, rho=1.0).value for part in objective.per_batch()]
    weights = np.array([0.6, 0.4])
    found = approximation_ratio(objective, steps=2, rho=1.0)
    assert found.value == pytest.approx(weights @ ratios, rel=1e-12)
    variance = weights @ (np.array(ratios) - weights @ ratios) ** 2 / (1 / (weights @ weights) - 1)
    assert found.standard_error == pytest.approx(variance**0.5, rel=1e-9)


@pytest.mark.parametrize("adaptive", [True, False])
def test_average_sharpness_is_the_mean_over_the_noise_of_its_seed(adaptive: bool) -> None:
    """On a quadratic the mean of a pair ±ε is ½εᵀHε: the noise drawn here gives the same number."""
    start = torch.tensor([0.5, 1.0, -2.0, 1.5], dtype=torch.float64)
    objective, matrix = problems.quadratic([10.0, 2.0, 1.0, 0.5], start)
    drawn = Draws(3).normals(9, 4, like=start)
    noise = 0.3 * drawn * (start.abs() if adaptive else 1.0)
    rises = 0.5 * (noise @ matrix * noise).sum(1)
    found = average_sharpness(objective, rho=0.3, adaptive=adaptive, tolerance=1e-9, max_pairs=9, seed=3)
    assert found.value == pytest.approx(float(rises.mean()), rel=1e-10)
    assert found.standard_error == pytest.approx(float(rises.std()) / 3, rel=1e-10)


@pytest.mark.parametrize(
    ("method", "start"), [("power", "random"), ("lanczos", "gradient"), ("auto", "gradient")]
)
def test_where_an_eigenvalue_started_is_said(method: str, start: str) -> None:
    objective, _ = problems.quadratic([3.0, 1.0])
    assert dominant_eigenvalue(objective, method=method).details["start"] == start


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_the_noise_has_a_distribution_at_any_size(size: float) -> None:
    """Norms that differ are told from equal ones relative to their size."""
    loss = BatchLoss(lambda model, batch: (batch * model.w).sum())
    point = problems.Point(torch.zeros(1).double())
    slopes = size * torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    found = gradient_noise(Objective(point, loss, list(slopes[:, None].split(1)))).details
    assert found["qq"]["ordered"] == pytest.approx([size**2, 4 * size**2, 16 * size**2], rel=1e-12)
    nearly = size * (1 + 1e-15 * torch.arange(3, dtype=torch.float64))
    assert "qq" not in gradient_noise(Objective(point, loss, list(nearly[:, None].split(1)))).details


def rounded(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, share: float | None) -> Objective:
    """A ReLU network, whose gradient has a rounding error that is this share of its norm; ``None`` if unknown."""
    objective = problems.small_objective(nn.ReLU, dtype=dtype)
    error = None if share is None else share * gradient_norm(objective).value
    monkeypatch.setattr(Objective, "gradient_rounding", property(lambda _: error))
    return objective


@pytest.mark.parametrize("share", [0.1, 0.32, None])
def test_the_rounding_of_a_normalized_trace_is_that_of_both_its_parts(
    monkeypatch: pytest.MonkeyPatch, share: float | None
) -> None:
    single = rounded(monkeypatch, torch.float32, share)
    trace, norm = MEASURES.build("hessian-trace", single), gradient_norm(single).value
    assert trace.details["rounding"] > 0
    found = normalized_trace(single)
    assert found.value == pytest.approx(trace.value / norm, rel=1e-12)
    relative = math.hypot(trace.details["rounding"] / trace.value, share or 0.0)
    assert found.details["rounding"] == pytest.approx(found.value * relative, rel=1e-9)
    double = rounded(monkeypatch, torch.float64, share)
    found = normalized_trace(double)  # of the exact trace in double precision no rounding is known
    assert found.details["rounding"] == pytest.approx(found.value * (share or 0.0), rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_gradient_below_three_roundings_is_none(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    found = normalized_trace(rounded(monkeypatch, dtype, 0.35))
    assert math.isnan(found.value)
    reason = str(found.details["undefined"])
    assert reason.startswith("the gradient is zero within rounding: its norm is ")
    assert reason.endswith("; dtype=float64 resolves more") == (dtype == torch.float32)


def test_the_seconds_of_a_measure_are_those_that_pass() -> None:
    before = time.perf_counter()
    found = gradient_norm(problems.small_objective())
    assert 0 < found.cost.seconds <= time.perf_counter() - before


def test_nothing_is_kept_where_nobody_asks_for_it() -> None:
    specification = MEASURES.parse("gradient-norm")
    answer = measured_or_recalled(problems.small_objective(), specification, ())
    assert (answer.recalled, answer.estimate.measure) == (False, "gradient-norm")


def test_the_spectrum_of_one_eigenvalue_has_the_least_width() -> None:
    found = spectral_density(problems.quadratic([3.0])[0], probes=2, steps=3, smoothing=0.5)
    assert found.details["width"] == pytest.approx(0.5 * 1e-30, rel=1e-12, abs=0)


def heard(objective: Objective, measure: str) -> list[tuple[str, float]]:
    told: list[tuple[str, float]] = []
    objective.ledger.listener = lambda words, share: told.append((words, share))  # type: ignore[arg-type]
    MEASURES.build(measure, objective)
    objective.ledger.listener = None
    return told


def test_the_share_of_a_trace_that_is_done_follows_from_its_standard_error() -> None:
    """The error falls with the root of the number of probes, so that the share is the square of what is reached."""
    tolerance = 0.02
    objective, _ = problems.quadratic([4.0, 2.0, 1.0, 0.5, -0.25])
    told = heard(objective, f"hessian-trace:method=hutchinson,tolerance={tolerance},max_probes=100000")
    assert told[-1][1] == 1.0
    for words, share in told:
        value, error = map(float, words.removeprefix("trace ").partition(",")[0].split(" ± "))
        assert share == pytest.approx(min(1.0, (tolerance * value / error) ** 2), rel=0.15)
    told = heard(problems.small_objective(), "hessian-trace:method=hutchinson,tolerance=1e-9,max_probes=20")
    assert told[-1][1] == 1.0
    assert all(0 < share <= 1 for _, share in told)


def test_the_share_of_a_density_that_is_done_is_that_of_its_products() -> None:
    told = heard(problems.quadratic([4.0, 2.0, 1.0])[0], "spectral-density:probes=4,steps=9")
    assert told[-1] == ("12 of 12 products", 1.0)
