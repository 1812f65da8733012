"""Every kind of plane against what it has to be by its definition."""

import numpy as np
import pytest
import torch
from problems import quadratic as quadratic_in
from problems import tiny_case

from landscape.errors import InputError, UsageError
from landscape.surfaces.barrier import barrier
from landscape.surfaces.bezier_curve import on_curve
from landscape.surfaces.directions import Waypoint
from landscape.surfaces.plane import build_plane
from landscape.surfaces.sampling import sample_surface
from landscape.surfaces.trajectory import random_walk_shares


def _waypoints(*points: torch.Tensor) -> list[Waypoint]:
    return [Waypoint(f"c{k}", point) for k, point in enumerate(points)]


def test_eigenvectors_are_those_of_the_dense_hessian():
    objective, hessian = tiny_case()
    plane = build_plane("eigenvectors:tolerance=1e-8", objective)
    values, vectors = torch.linalg.eigh(hessian)
    order = values.abs().argsort(descending=True)[:2]
    assert plane.details["eigenvalues"] == pytest.approx(values[order].tolist(), rel=1e-8)
    for found, k in zip((plane.x, plane.y), order, strict=True):
        assert float(found @ vectors[:, k]) ** 2 == pytest.approx(1, abs=1e-9)
        assert float(found[found.abs().argmax()]) > 0
    assert plane.details["converged"] is True
    assert max(plane.details["residuals"]) <= 1e-8 * abs(values[order[0]])
    assert plane.cosine == pytest.approx(0, abs=1e-9)


def test_quadratic_on_eigenvectors_is_the_sum_of_two_parabolas():
    objective, _ = quadratic_in([9.0, 4.0, 1.0, 0.5], start=torch.zeros(4))
    surface = sample_surface(objective, "eigenvectors:tolerance=1e-10", points=5)
    expected = 4.5 * surface.x[None, :] ** 2 + 2.0 * surface.y[:, None] ** 2
    assert surface.loss == pytest.approx(expected, abs=1e-9)


def test_sam_direction_is_the_unit_gradient_and_moves_every_parameter():
    objective, _ = tiny_case()
    plane = build_plane("sam", objective)
    gradient = objective.gradient
    assert torch.allclose(plane.x, gradient / gradient.norm(), rtol=0, atol=1e-15)
    assert plane.norms[0] == pytest.approx(1, abs=1e-14)
    assert torch.equal(plane.y, build_plane("random", objective).y)
    assert plane.ignored == ()


def test_sam_direction_at_a_stationary_point_is_refused():
    objective, _ = quadratic_in([2.0, 1.0], start=torch.zeros(2))
    with pytest.raises(InputError, match=r"has length 0\.0 and therefore no direction"):
        build_plane("sam", objective)


@pytest.mark.parametrize("count", [2, 3])
def test_checkpoints_are_at_their_exact_coordinates(count):
    objective, _ = tiny_case()
    others = [objective.point + 0.5 * torch.randn_like(objective.point) for _ in range(count - 1)]
    plane = build_plane("checkpoints", objective, through=_waypoints(objective.point, *others))
    assert plane.norms == pytest.approx((1, 1), abs=1e-14)
    assert plane.cosine == pytest.approx(0, abs=1e-14)
    assert plane.markers.coordinates[0].tolist() == [0, 0]
    assert plane.markers.coordinates[1] == pytest.approx(
        [float((others[0] - objective.point).norm()), 0], abs=1e-12
    )
    assert plane.markers.distances == pytest.approx(np.zeros(count), abs=1e-12)
    for mark, other in zip(plane.markers.coordinates[1:], others, strict=True):
        there = objective.point + mark[0] * plane.x + mark[1] * plane.y
        assert torch.allclose(there, other, rtol=0, atol=1e-12)
        for axis, coordinate in zip(plane.extent, mark, strict=True):
            assert axis[0] < coordinate < axis[1]
    surface = sample_surface(objective, plane, points=(6, 5))
    assert surface.centre_error == 0
    assert surface.markers.labels == tuple(f"c{k}" for k in range(count))


def test_interpolation_ends_at_the_two_checkpoints_and_knows_its_barrier():
    objective, matrix = quadratic_in([2.0, 1.0])
    other = objective.point - 2 * torch.tensor([1.0, -1.0], dtype=torch.float64)
    surface = sample_surface(objective, "interpolation", points=9, through=_waypoints(objective.point, other))
    assert surface.is_line
    assert surface.x[[0, -1]].tolist() == [0, 1]
    assert surface.loss[0, -1] == pytest.approx(float(0.5 * other @ matrix @ other), rel=1e-14)
    step = other - objective.point
    # A convex parabola lies below its chord, so that the barrier is that of the ends: none.
    assert surface.meta["barrier"]["loss"] == {"height": 0.0, "at": 0.0}
    concave = float(0.5 * step @ matrix @ step) * 0.25
    assert barrier(surface.x, -surface.loss[0])["height"] == pytest.approx(concave, rel=1e-12)
    assert barrier(surface.x, -surface.loss[0])["at"] == 0.5


def test_a_barrier_that_is_not_a_number_stays_one():
    t = np.linspace(0, 1, 5)
    assert np.isnan(barrier(t, np.array([0, 1, np.nan, 1, 0]))["height"])
    assert barrier(t, np.array([0, 1, np.inf, 1, 0])) == {"height": np.inf, "at": 0.5}


class _Valley(torch.nn.Module):
    """A ring of minima: the straight way between opposite points is over a hill, round the ring it is not."""

    def __init__(self) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor([1.0, 0.05, 0.0], dtype=torch.float64))

    def forward(self) -> torch.Tensor:
        return (self.w.square().sum() - 1).square()


def test_a_curve_goes_round_the_hill_that_the_line_crosses():
    from landscape.objective import BatchLoss, Objective

    objective = Objective(_Valley(), BatchLoss(lambda model, batch: model()), [torch.zeros(1)])
    end = torch.tensor([-1.0, 0.05, 0.0], dtype=torch.float64)
    through = _waypoints(objective.point, end)
    line = sample_surface(objective, "interpolation", points=21, through=through)
    plane = build_plane("bezier:steps=400,lr=0.05", objective, through=through)
    assert line.meta["barrier"]["loss"]["height"] > 0.9
    assert plane.details["curve"]["barrier"]["height"] < 0.3
    control = plane.markers.coordinates[2]
    middle = plane.trajectory.coordinates[10]
    first, last = plane.markers.coordinates[:2]
    assert middle == pytest.approx(0.25 * first + 0.5 * control + 0.25 * last, abs=1e-12)
    assert plane.trajectory.distances == pytest.approx(np.zeros(21), abs=1e-12)
    assert torch.equal(on_curve(objective.point, end * 3, end, 1.0), end)


def test_principal_components_are_those_of_numpy():
    objective, _ = tiny_case()
    steps = torch.randn(
        5, objective.dimension, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    path = [objective.point - steps[k:].sum(0) for k in range(5)] + [objective.point]
    plane = build_plane("trajectory", objective, through=_waypoints(*path))
    points = torch.stack(path).numpy()
    centred = points - points.mean(0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    assert plane.details["explained_variance"] == pytest.approx((sizes**2 / (sizes**2).sum())[:2], rel=1e-10)
    for found, axis in zip((plane.x, plane.y), axes, strict=False):
        assert abs(float(found @ torch.tensor(axis))) == pytest.approx(1, abs=1e-10)
    offsets = points - points[-1]
    flat = offsets @ axes[:2].T
    assert plane.trajectory.distances == pytest.approx(
        np.linalg.norm(offsets - flat @ axes[:2], axis=1), abs=1e-10
    )
    assert np.abs(plane.trajectory.coordinates) == pytest.approx(np.abs(flat), abs=1e-10)
    assert plane.trajectory.distances[-1] == 0


def test_shares_of_a_random_walk_are_those_of_random_walks():
    walk = np.random.default_rng(0).standard_normal((9, 40_000)).cumsum(axis=0)
    sizes = np.linalg.svd(walk - walk.mean(0), compute_uv=False)[:-1] ** 2
    assert random_walk_shares(9) == pytest.approx(sizes / sizes.sum(), rel=0.03)
    assert random_walk_shares(2000)[:2] == pytest.approx([6 / np.pi**2, 6 / np.pi**2 / 4], rel=1e-3)


@pytest.mark.parametrize(
    ("plane", "points", "says"),
    [
        ("checkpoints", [0, 0], "c0 and c1 are the same point"),
        ("interpolation", [0, 0], "c0 and c1 are the same point"),
        ("bezier", [0, 0], "c0 and c1 are the same point"),
        ("trajectory", [1, 1, 0], "c0 and c1 are the same point"),
        ("checkpoints", [0, 1, 2], "lie on one line"),
        ("trajectory", [2, 1, 0], "lie on one line"),
    ],
)
def test_checkpoints_that_span_nothing_are_refused(plane, points, says):
    objective, _ = tiny_case()
    path = [objective.point + float(k) for k in points]
    with pytest.raises(InputError, match=says):
        build_plane(plane, objective, through=_waypoints(*path))


@pytest.mark.parametrize(
    ("plane", "count", "wanted"),
    [
        ("checkpoints", 1, "two or three"),
        ("checkpoints", 4, "two or three"),
        ("interpolation", 3, "2 "),
        ("trajectory", 2, "3 or more"),
    ],
)
def test_another_number_of_checkpoints_is_refused(plane, count, wanted):
    objective, _ = tiny_case()
    path = [objective.point + k**2 for k in range(count)]
    with pytest.raises(UsageError, match=f"goes through {wanted}"):
        build_plane(plane, objective, through=_waypoints(*path))


@pytest.mark.parametrize("plane", ["checkpoints", "interpolation", "bezier"])
def test_checkpoints_of_different_networks_are_refused(plane):
    objective, _ = tiny_case()
    with pytest.raises(InputError, match="c1 has 3 parameters and c0 69: they are of different networks"):
        build_plane(plane, objective, through=_waypoints(objective.point, torch.zeros(3)))
