"""Measures of the step that comes next: against closed forms on quadratics and dense float64 Hessians."""

import itertools
import math

import numpy as np
import problems
import pytest
import torch
from torch import nn

from landscape.curvature.preconditioning import Preconditioner
from landscape.measures import MEASURES
from landscape.measures.critical_sharpness import critical_sharpness
from landscape.measures.directional_sharpness import directional_sharpness
from landscape.measures.noise_scale import noise_scale
from landscape.measures.preconditioned_sharpness import preconditioned_sharpness
from landscape.objective import BatchLoss, Objective

SPECTRUM = [8.0, 5.0, 3.0, 2.0, 1.0, 0.5, 0.2, 0.1]


def update(objective, seed=0):
    """A direction that lowers the loss, and is not the gradient."""
    noise = torch.randn(objective.dimension, generator=torch.Generator().manual_seed(seed)).double()
    direction = objective.gradient + 0.3 * noise * objective.gradient.norm() / noise.norm()
    assert direction @ objective.gradient > 0
    return direction


class TestCriticalSharpness:
    @pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
    @pytest.mark.parametrize("along", ["gradient", "update"])
    def test_on_a_quadratic_it_is_the_closed_form(self, scale, along):
        objective, matrix = problems.quadratic([scale * value for value in SPECTRUM])
        delta = objective.gradient if along == "gradient" else update(objective)
        found = critical_sharpness(objective, update=None if along == "gradient" else delta)
        expected = float(delta @ matrix @ delta / (objective.gradient @ delta))
        assert found.value == pytest.approx(expected, rel=1e-9)
        assert found.converged
        assert found.details["direction"] == along
        assert found.details["residual"] >= abs(found.value - expected)
        assert found.details["evaluations"] <= 5

    def test_along_the_gradient_of_another_loss_it_is_the_relative_one(self):
        first, _ = problems.quadratic(SPECTRUM)
        second, matrix = problems.quadratic([1.0, 7.0, 0.5, 2.0, 3.0, 0.2, 4.0, 1.5], seed=1)
        delta = first.gradient
        expected = float(delta @ matrix @ delta / (second.gradient @ delta))
        assert critical_sharpness(second, update=delta).value == pytest.approx(expected, rel=1e-9)

    def test_on_a_network_it_is_where_the_loss_is_as_before(self):
        objective, _ = problems.tiny_case()
        found = critical_sharpness(objective, tolerance=1e-6, max_evaluations=60)
        eta = found.details["critical_learning_rate"]
        after = objective.evaluate(objective.point - eta * objective.gradient)[0]
        assert after == pytest.approx(objective.loss, rel=1e-5)
        low, high = found.details["interval"]
        assert low <= eta <= high <= low * (1 + 2e-6)
        coarse = critical_sharpness(objective)
        assert coarse.value == pytest.approx(found.value, rel=0.01)
        assert coarse.details["evaluations"] < 10

    def test_a_loss_that_overflows_far_away_has_its_root_all_the_same(self):
        def steep(model, batch):
            return torch.exp(10 * model.w).sum() - 10 * model.w.sum() + 1e4 + 0 * batch.sum()

        start = torch.tensor([0.5, 0.4])
        objective = Objective(problems.Point(start), BatchLoss(steep), [torch.zeros(1)])
        found = critical_sharpness(objective)
        assert found.converged
        low, high = found.details["interval"]
        rises = [
            objective.evaluate(objective.point - eta * objective.gradient)[0] - objective.loss
            for eta in (low, high)
        ]
        assert rises[0] < 0 <= rises[1]

    def test_what_has_no_critical_learning_rate_says_why(self):
        objective, _ = problems.quadratic(SPECTRUM)
        uphill = critical_sharpness(objective, update=-objective.gradient)
        assert math.isnan(uphill.value)
        assert "does not lower the loss" in uphill.details["undefined"]
        falls = BatchLoss(lambda model, batch: -model.w.sum() + 0 * batch.sum())
        endless = Objective(problems.Point(torch.ones(3).double()), falls, [torch.zeros(1).double()])
        found = critical_sharpness(endless)
        assert math.isnan(found.value)
        assert "does not rise up to a learning rate of" in found.details["undefined"]


class TestDirectionalSharpness:
    @pytest.mark.parametrize("by", ["tensor", "block"])
    def test_it_is_that_of_the_dense_hessian_by_layer_and_between_layers(self, by):
        objective, matrix = problems.tiny_case()
        delta = update(objective)
        found = directional_sharpness(objective, by=by, between=True, update=3 * delta)
        squared = delta @ delta
        assert found.value == pytest.approx(float(delta @ matrix @ delta / squared), rel=1e-10)
        details = found.details
        assert sum(details["layers"].values()) == pytest.approx(found.value, rel=1e-10)
        if by == "tensor":
            parts = objective.layout.split(delta)
            ends = np.cumsum([0, *(part.numel() for part in parts)])
            blocks = [
                [
                    float(delta[a:b] @ matrix[a:b, c:d] @ delta[c:d] / squared)
                    for c, d in itertools.pairwise(ends)
                ]
                for a, b in itertools.pairwise(ends)
            ]
            assert details["between"] == pytest.approx(np.asarray(blocks), rel=1e-9, abs=1e-12)
            assert details["within"] == pytest.approx(float(np.trace(blocks)), rel=1e-9)
        assert np.sum(details["between"]) == pytest.approx(found.value, rel=1e-9)

    def test_one_product_is_spent_without_the_matrix_and_one_a_layer_with_it(self):
        objective, _ = problems.tiny_case()
        assert directional_sharpness(objective).cost.products == 1
        again, _ = problems.tiny_case()
        assert directional_sharpness(again, between=True).cost.products == 1 + len(again.layout.names)

    def test_no_direction_is_no_number(self):
        objective, _ = problems.quadratic(SPECTRUM, torch.zeros(8))
        assert "zero or not finite" in directional_sharpness(objective).details["undefined"]


class TestPreconditionedSharpness:
    @pytest.mark.parametrize("decay", [0.0, 0.3])
    def test_it_is_that_of_the_dense_matrix(self, decay):
        objective, matrix = problems.tiny_case()
        diagonal = torch.rand(objective.dimension, generator=torch.Generator().manual_seed(1)).double() + 0.01
        given = Preconditioner(diagonal, threshold=38.0, decay=decay, optimizer="Adam")
        found = preconditioned_sharpness(objective, preconditioner=given, tolerance=1e-8)
        root = diagonal.rsqrt()
        shifted = matrix + decay * torch.eye(len(matrix)).double()
        expected = float(torch.linalg.eigvalsh(root[:, None] * shifted * root)[-1])
        assert found.value == pytest.approx(expected, rel=1e-8)
        assert found.details["share_of_threshold"] == pytest.approx(expected / 38.0, rel=1e-8)

    def test_without_an_optimizer_it_is_the_largest_eigenvalue_and_not_that_of_largest_magnitude(self):
        objective, _ = problems.quadratic([3.0, 2.0, 1.0, -9.0])
        assert preconditioned_sharpness(objective).value == pytest.approx(3.0, rel=1e-6)
        assert "threshold" not in preconditioned_sharpness(objective).details


def spread_of_gradients(seed, count=40, size=5, ragged=False, signal=1.0):
    """Examples aᵢ with the loss w·aᵢ, whose gradients are normal with a known mean and covariance."""
    generator = torch.Generator().manual_seed(seed)
    scales = torch.tensor([1.0, 2.0, 0.5, 1.5], dtype=torch.float64)
    mean = signal * torch.tensor([1.0, 0.5, -1.0, 0.2], dtype=torch.float64)
    examples = mean + scales * torch.randn(count * size, 4, generator=generator, dtype=torch.float64)
    loss = BatchLoss(lambda model, batch: (batch @ model.w).mean(), size=len)
    sizes = [size] * count
    if ragged:
        sizes = [2, 8, *[size] * (count - 3), 5]
    point = problems.Point(torch.ones(4, dtype=torch.float64))
    truth = float(scales.square().sum() / mean.square().sum())
    return Objective(point, loss, list(examples[: sum(sizes)].split(sizes))), truth


class TestNoiseScale:
    def test_it_is_that_of_numpy(self):
        objective, _ = spread_of_gradients(0)
        found = noise_scale(objective)
        gradients = np.stack([part.gradient.numpy() for part in objective.per_batch()])
        covariance = 5 * np.cov(gradients.T)
        assert found.details["covariance_trace"] == pytest.approx(np.trace(covariance), rel=1e-10)
        pairs = gradients @ gradients.T
        unbiased = (pairs.sum() - np.trace(pairs)) / (len(pairs) * (len(pairs) - 1))
        assert found.details["gradient_squared"] == pytest.approx(unbiased, rel=1e-10)
        assert found.value == pytest.approx(np.trace(covariance) / unbiased, rel=1e-10)
        assert found.value == found.details["critical_batch_size"]

    @pytest.mark.parametrize("ragged", [False, True])
    def test_both_estimates_are_unbiased(self, ragged):
        found = [noise_scale(spread_of_gradients(s, 6, ragged=ragged)[0]).details for s in range(150)]
        for name, truth in (("covariance_trace", 7.5), ("gradient_squared", 2.29)):
            values = np.array([details[name] for details in found])
            assert abs(values.mean() - truth) < 4 * values.std(ddof=1) / len(values) ** 0.5

    # Beside little signal, leaving out one batch overstates the spread of ‖G‖².
    @pytest.mark.thorough
    @pytest.mark.parametrize(("signal", "most"), [(1.0, 0.98), (0.2, 1.0)])
    def test_the_interval_covers_over_data_sets(self, signal, most):
        hits = []
        for seed in range(200):
            objective, truth = spread_of_gradients(seed, 24, signal=signal)
            interval = noise_scale(objective).details.get("interval_95", [0.0, None])
            hits.append(interval[0] <= truth <= (interval[1] or math.inf))
        assert 0.92 <= np.mean(hits) <= most

    @pytest.mark.parametrize("batches", [2, 3])
    def test_an_error_and_an_interval_need_three_batches(self, batches):
        found = noise_scale(spread_of_gradients(0, batches, signal=5.0)[0])
        assert found.value > 0
        assert ("interval_95" in found.details, found.standard_error is not None) == (batches == 3,) * 2

    def test_what_it_cannot_tell_it_says(self):
        objective, _ = spread_of_gradients(0, 1)
        assert "one batch says nothing" in noise_scale(objective).details["undefined"]
        weak, _ = spread_of_gradients(3, 6, signal=0.0)
        found = noise_scale(weak)
        assert found.details.get("interval_95", [0, None])[1] is None or "undefined" in found.details


@pytest.mark.parametrize(
    "name", ["critical-sharpness", "directional-sharpness", "preconditioned-sharpness", "noise-scale"]
)
def test_each_is_a_row_that_measures_a_network_and_leaves_it_as_it_was(name):
    x, y = problems.classification(40)
    model = problems.network(nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 4))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    estimate = MEASURES.build(name, Objective(model, "cross-entropy", problems.batches(x, y, 10)))
    assert math.isfinite(estimate.value)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
