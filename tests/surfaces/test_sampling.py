import copy
import random

import numpy as np
import pytest
import torch
from torch import nn

from landscape.errors import UsageError
from landscape.objective import BatchLoss, Objective
from landscape.surfaces.grid import coarse_to_fine
from landscape.surfaces.plane import PLANES, build_plane
from landscape.surfaces.sampling import sample_surface

KINDS = [*PLANES, "random:normalisation=layer,seed=4", "random:normalisation=none"]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize(("points", "span"), [(7, 1.0), ((5, 8), (0.5, 2.0)), ((4, 3), None)])
@pytest.mark.parametrize("kind", KINDS)
def test_quadratic_equals_the_closed_form_at_every_point(
    quadratic, quadratic_model, companions, kind, points, span, dtype, tolerance
):
    objective, model = quadratic(dtype), quadratic_model(dtype)
    plane = build_plane(kind, objective, through=companions(objective, kind))
    if plane.y is None and isinstance(points, tuple):
        points = (points[0], 1)
    surface = sample_surface(objective, plane, points=points, span=span)
    A, b = model.A.double().numpy(), model.b.double().numpy()
    theta, u = objective.point.double().numpy(), plane.x.double().numpy()
    v = np.zeros_like(u) if plane.y is None else plane.y.double().numpy()
    for i, beta in enumerate(surface.y):
        for j, alpha in enumerate(surface.x):
            w = theta + alpha * u + beta * v
            expected = 0.5 * w @ A @ w + b @ w
            # In single precision the terms of the sum are rounded, not their sum.
            size = 0.5 * np.abs(w) @ np.abs(A) @ np.abs(w) + np.abs(b) @ np.abs(w)
            assert surface.loss[i, j] == pytest.approx(expected, rel=tolerance, abs=tolerance * size)
    nx, ny = points if isinstance(points, tuple) else (points, 1 if plane.y is None else points)
    assert surface.loss.shape == (ny, nx)
    assert surface.complete
    if span is not None:
        sx, sy = span if isinstance(span, tuple) else (span, span)
        assert surface.x == pytest.approx(np.linspace(-sx, sx, nx), abs=1e-14)
        assert plane.y is None or surface.y == pytest.approx(np.linspace(-sy, sy, ny), abs=1e-14)


@pytest.mark.parametrize("kind", PLANES)
def test_model_is_bit_identical_after_every_plane(network, companions, kind):
    before = copy.deepcopy(network.model.state_dict())
    state = torch.get_rng_state()
    objective = Objective(network.model, nn.CrossEntropyLoss(), network.batches, batch_norm="recalibrate")
    sample_surface(objective, kind, points=3, through=companions(objective, kind), gradient_norm=True)
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in network.model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_odd_grid_holds_the_centre_and_its_loss_exactly(network):
    surface = sample_surface(network.objective, points=(5, 3), span=(0.7, 0.3))
    assert surface.x[2] == 0.0
    assert surface.y[1] == 0.0
    assert surface.loss[1, 2] == network.objective.loss
    assert surface.accuracy is not None
    assert surface.accuracy[1, 2] == network.objective.accuracy
    assert surface.centre_error == 0.0


def test_even_grid_has_no_centre_to_check(network):
    assert sample_surface(network.objective, points=4).centre_error is None


@pytest.mark.parametrize(("count", "span"), [(51, 1.0), (51, 0.3), (6, 0.1), (101, 7.3)])
def test_coordinates_are_symmetric_and_reach_the_span(quadratic, count, span):
    surface = sample_surface(quadratic(), points=(count, 2), span=span)
    assert (surface.x == -surface.x[::-1]).all()
    assert surface.x[-1] == span
    assert surface.x == pytest.approx(np.linspace(-span, span, count), abs=1e-14)


def test_model_and_random_numbers_are_bit_identical_afterwards(network):
    before = copy.deepcopy(network.model.state_dict())
    modes = [module.training for module in network.model.modules()]
    state, numpy_state, python_state = (
        torch.get_rng_state(),
        np.random.get_state()[1].copy(),
        random.getstate(),
    )
    sample_surface(network.objective, points=5)
    for name, value in network.model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert [module.training for module in network.model.modules()] == modes
    assert all(p.grad is None for p in network.model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()
    assert random.getstate() == python_state


def test_objective_has_its_loss_and_gradient_afterwards(network):
    fresh = network.objective.at(network.objective.point)
    gradient = fresh.gradient
    sample_surface(network.objective, points=4)
    again = network.objective.at(network.objective.point)
    assert torch.equal(again.gradient, gradient)


def test_two_identical_calls_give_identical_bytes(network, tmp_path):
    for name in ("a", "b"):
        sample_surface(network.objective, points=5).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


class Cliff(nn.Module):
    """A loss that is NaN where the first weight is large, and infinite where it is very negative."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 2))

    def forward(self) -> torch.Tensor:
        w = self.weight[0, 0]
        loss = torch.where(w > 2.0, torch.nan, self.weight.square().sum())
        return torch.where(w < 0.0, torch.inf, loss)


def test_losses_that_are_not_finite_stay_what_they_are(tmp_path):
    objective = Objective(Cliff(), BatchLoss(lambda model, batch: model()), [torch.zeros(1)])
    plane = build_plane("random:normalisation=none", objective)
    surface = sample_surface(objective, plane, points=9, span=3.0, journal=tmp_path / "journal")
    w = 1 + surface.x[None, :] * float(plane.x[0]) + surface.y[:, None] * float(plane.y[0])
    assert np.isnan(surface.loss[w > 2]).all()
    assert np.isposinf(surface.loss[w < 0]).all()
    assert np.isfinite(surface.loss[(w > 0) & (w < 2)]).all()
    assert (w > 2).any()
    assert (w < 0).any()
    assert surface.complete
    again = sample_surface(objective, plane, points=9, span=3.0, journal=tmp_path / "journal")
    assert np.array_equal(again.loss, surface.loss, equal_nan=True)


def test_preview_of_the_whole_extent_exists_after_five_percent_of_the_work():
    order = coarse_to_fine(51, 51)
    assert sorted(order) == list(range(51 * 51))
    assert order[0] == 25 * 51 + 25
    early = np.zeros(51 * 51, bool)
    early[order[: 51 * 51 // 20]] = True
    rows, columns = np.nonzero(early.reshape(51, 51)[1::8, 1::8])
    assert len(rows) == 7 * 7
    assert len(np.unique(columns)) == 7


def test_progress_counts_every_point_once(quadratic):
    calls = []
    sample_surface(quadratic(), points=(3, 4), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(k, 12) for k in range(13)]


@pytest.mark.parametrize("points", [1, 0, -3, (5, 1), (3, 3, 3)])
def test_too_few_points_are_refused(quadratic, points):
    with pytest.raises(UsageError, match="points="):
        sample_surface(quadratic(), points=points)


@pytest.mark.parametrize("span", [0.0, -1.0, float("nan"), float("inf"), (1.0, 0.0)])
def test_span_that_is_not_positive_is_refused(quadratic, span):
    with pytest.raises(UsageError, match="span="):
        sample_surface(quadratic(), span=span)


def test_plane_of_another_network_is_refused(quadratic, network):
    plane = build_plane("random", network.objective)
    with pytest.raises(UsageError, match="another network"):
        sample_surface(quadratic(), plane)


def test_file_says_how_the_surface_was_made(network):
    plane = build_plane("random:seed=3", network.objective)
    meta = sample_surface(network.objective, "random:seed=3", points=2).meta
    assert meta["plane"]["kind"] == "random"
    assert meta["plane"]["settings"] == {"normalisation": "filter", "seed": 3}
    assert meta["plane"]["cosine"] == plane.cosine
    assert meta["plane"]["ignored"] == ["0.bias", "1.weight", "1.bias", "5.bias"]
    assert meta["provenance"]["data"] == "noise"
    assert meta["provenance"]["split"] == "train"
    assert meta["provenance"]["batch_norm"] == "stored"
    assert meta["provenance"]["num_examples"] == 30
    assert meta["centre"]["loss"] == network.objective.loss
    assert meta["schema"] == "landscape.surface/1"


def test_a_tied_weight_moves_once_and_in_both_its_places():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down, self.up = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
            self.up.weight = self.down.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.up(torch.tanh(self.down(x)))

    torch.manual_seed(0)
    model, x = Tied().double(), torch.randn(9, 4, dtype=torch.float64)
    objective = Objective(model, nn.MSELoss(), [(x, x)])
    assert objective.dimension == 16
    plane = build_plane("random", objective)
    surface = sample_surface(objective, plane, points=3)
    for row, b in enumerate(surface.y):
        for column, a in enumerate(surface.x):
            weight = (objective.point + a * plane.x + b * plane.y).reshape(4, 4)
            expected = nn.functional.mse_loss(torch.tanh(x @ weight.T) @ weight.T, x)
            assert surface.loss[row, column] == pytest.approx(float(expected), rel=1e-10)
