"""PAC-Bayes σ on quadratics, and on a classifier whose accuracy is known for every weight."""

import math

import numpy as np
import problems
import pytest
import torch
from torch import Tensor, nn

from landscape.draws import Draws
from landscape.measures import pacbayes_sigma
from landscape.measures.crossing import crossing
from landscape.objective import BatchLoss, Objective

CENTRE = torch.tensor([0.5, 1.0, -2.0, 1.5], dtype=torch.float64)
CURVATURES = torch.tensor([10.0, 2.0, 1.0, 0.5], dtype=torch.float64)


def bowl() -> Objective:
    """``½ Σ Hⱼⱼ (wⱼ − cⱼ)²`` at its minimum."""
    loss = BatchLoss(lambda model, batch: 0.5 * CURVATURES @ (model.w - CENTRE).square() + 0 * batch.sum())
    return Objective(problems.Point(CENTRE), loss, [torch.zeros(1, dtype=torch.float64)])


@pytest.mark.parametrize("magnitude", [False, True])
def test_at_the_minimum_of_a_quadratic_it_is_its_closed_form(magnitude: bool) -> None:
    """E[½εᵀHε] = ½ Σ vⱼ Hⱼⱼ with the variances vⱼ = σ², or σ²wⱼ² + ε²."""
    fixed = 0.04 * float(CURVATURES.sum()) if magnitude else 0.0
    weights = CENTRE.square() if magnitude else torch.ones(4).double()
    truth = math.sqrt((2 * 3.0 - fixed) / float(weights @ CURVATURES))
    options = {"quantity": "loss", "deviation": 3.0, "magnitude": magnitude, "epsilon": 0.2, "draws": 16}
    found = [pacbayes_sigma(bowl(), **options, seed=seed) for seed in range(8)]
    values, errors = np.array([(each.value, each.standard_error) for each in found]).T
    assert abs(values.mean() - truth) <= 4 * values.std(ddof=1) / math.sqrt(8)
    assert 0.5 < errors.mean() / values.std(ddof=1) < 2  # 8 values have a standard deviation to about 27 %
    assert found[0].details["flatness"] == pytest.approx(found[0].value ** -2)


def test_noise_that_is_too_large_without_any_sigma_is_said() -> None:
    found = pacbayes_sigma(bowl(), quantity="loss", magnitude=True, epsilon=10.0, draws=4)
    assert "the loss does not get worse by 0.1 on average at any σ" in str(found.details["undefined"])


class Sign(nn.Module):
    """Scores of two classes, of which the second wins where w·x is positive."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(1, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([-self.w * x, self.w * x], dim=1)


def sign() -> Objective:
    x = torch.tensor([-2.0, -1.0, 1.0, 2.0], dtype=torch.float64)
    return Objective(Sign(), nn.CrossEntropyLoss(), [(x, (x > 0).long())])


def test_the_accuracy_falls_by_the_share_of_draws_that_change_the_sign_of_the_weight() -> None:
    draws = Draws(5).normals(25, 1, like=torch.ones(1).double()).flatten().sort().values
    found = pacbayes_sigma(sign(), draws=25, seed=5, tolerance=1e-6)
    assert found.value == pytest.approx(-1 / float(draws[2]), rel=1e-5)  # 3 of 25 are the first 10 %
    assert found.cost.evaluations == found.details["evaluations"] + 1
    assert found.details["evaluations"] % 25 == 0


def test_an_accuracy_that_cannot_fall_is_said() -> None:
    x, _ = problems.classification()
    regression = Objective(problems.network(nn.Linear(8, 1)), nn.MSELoss(), [(x, x[:, :1])])
    assert "not class scores; use quantity=loss" in str(pacbayes_sigma(regression).details["undefined"])
    wrong = Objective(Sign(), nn.CrossEntropyLoss(), [(x[:, 0], (x[:, 0] < 0).long())])
    assert pacbayes_sigma(wrong).details["undefined"] == "the accuracy is 0, and cannot fall by 0.1"
    half = pacbayes_sigma(sign(), deviation=0.9, draws=4)
    assert (
        half.details["undefined"]
        == "the accuracy does not get worse by 0.9 on average at any σ that was tried"
    )


@pytest.mark.parametrize("start", [1e-6, 0.3, 1e5])
def test_a_crossing_is_found_from_any_start_and_encloses_the_target(start: float) -> None:
    line = crossing(lambda scale: 3 * scale, target=1.2, start=start, tolerance=0.1)
    assert line is not None
    assert line.scale == pytest.approx(0.4, rel=1e-12)
    assert line.low < 0.4 <= line.high <= 1.1 * line.low
    assert line.residual == pytest.approx(max(0.4 - line.low, line.high - 0.4))
    step = crossing(lambda scale: math.nan if scale > 2 else 0.0, target=1, start=start, tolerance=0.01)
    assert step is not None
    assert step.low <= 2 < step.high <= 2.02 * 1.01


def test_no_crossing_is_none() -> None:
    assert crossing(lambda scale: 0.5, target=1, start=1, tolerance=0.1) is None
    assert crossing(lambda scale: 1.5, target=1, start=1, tolerance=0.1) is None
