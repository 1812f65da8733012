"""The width of basins of known shape: quadratics, a slope, and a classifier with a boundary."""

import math

import problems
import pytest
import torch
from torch import Tensor, nn

from landscape.draws import Draws
from landscape.measures import basin_width
from landscape.objective import BatchLoss, Objective

SPECTRUM = [10.0, 2.0, 1.0, 0.5]


def directions(count: int, like: Tensor, seed: int = 0) -> Tensor:
    drawn = Draws(seed).normals(count, len(like), like=like)
    return drawn / drawn.norm(dim=1, keepdim=True)


def test_along_random_directions_a_quadratic_has_its_closed_form() -> None:
    """½α²δᵀHδ = c at the minimum."""
    objective, matrix = problems.quadratic(SPECTRUM, torch.zeros(4))
    found = basin_width(objective, change=0.3, tolerance=0.01, max_directions=20)
    along = directions(20, objective.point)
    widths = (0.6 / torch.einsum("ki,ij,kj->k", along, matrix, along)).sqrt()
    assert found.value == pytest.approx(float(widths.mean()), rel=1e-4)
    assert found.standard_error == pytest.approx(float(widths.std()) / math.sqrt(20), rel=1e-3)
    assert found.details["sigma"] == pytest.approx(found.value / 2)
    assert found.details["residual"] <= 0.01 * float(widths.max())
    assert found.converged is False
    assert found.cost.evaluations == found.details["evaluations"] + 1


def test_alike_directions_end_after_eight() -> None:
    objective, _ = problems.quadratic([2.0, 2.0, 2.0], torch.zeros(3))
    found = basin_width(objective, change=1.0)
    assert found.value == pytest.approx(1, rel=1e-3)
    assert (found.converged, found.details["directions"]) == (True, 8)


def test_along_the_worst_direction_a_slope_has_its_closed_form() -> None:
    c = torch.tensor([3.0, -4.0], dtype=torch.float64)
    loss = BatchLoss(lambda model, batch: c @ model.w + 0 * batch.sum())
    objective = Objective(problems.Point(torch.ones(2).double()), loss, [torch.zeros(1).double()])
    assert basin_width(objective, case="worst", change=0.2).value == pytest.approx(0.2 / 5, rel=1e-9)


def test_the_worst_direction_of_a_quadratic_is_its_first_eigenvector() -> None:
    objective, _ = problems.quadratic(SPECTRUM, torch.full((4,), 1e-6))
    found = basin_width(objective, case="worst", change=0.2, tolerance=1e-3)
    assert found.value == pytest.approx(math.sqrt(2 * 0.2 / 10), rel=1e-2)
    assert found.value >= math.sqrt(2 * 0.2 / 10) * (1 - 1e-3)
    assert found.converged is True
    assert found.cost.gradients == 1 + 19 * found.details["searches"]


class Line(nn.Module):
    """The second class wins where w·x + b is positive: all of both points are right where |b| < w."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, 0.0], dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        score = self.w[0] * x + self.w[1]
        return torch.stack([-score, score], dim=1)


def test_an_accuracy_ends_at_the_boundary_or_nowhere() -> None:
    x = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    objective = Objective(Line(), nn.CrossEntropyLoss(), [(x, (x > 0).long())])
    ends = 0
    for seed in range(8):
        ((w, b),) = directions(1, objective.point, seed).tolist()
        found = basin_width(
            objective, quantity="accuracy", change=0.4, tolerance=1e-4, max_directions=1, seed=seed
        )
        if abs(b) > w:
            ends += 1
            assert found.value == pytest.approx(1 / (abs(b) - w), rel=1e-4)
        else:
            assert "the accuracy does not get worse by 0.4" in str(found.details["undefined"])
    assert 0 < ends < 8
    worst = basin_width(objective, case="worst", quantity="accuracy", change=0.4, tolerance=1e-4)
    assert worst.value >= math.sqrt(0.5) * (1 - 1e-4)  # the distance to |b| = w


def test_a_stationary_point_has_no_worst_direction() -> None:
    objective, _ = problems.quadratic(SPECTRUM, torch.zeros(4))
    assert "the gradient is zero" in str(basin_width(objective, case="worst").details["undefined"])
