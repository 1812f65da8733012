"""Square roots of the curvature of a loss in its outputs, also where one class has all the probability."""

import problems
import pytest
import torch
from torch import Tensor, nn

from landscape.curvature.losses import CurvatureRoot, curvature_root
from landscape.draws import Draws
from landscape.measures import hessian_trace
from landscape.objective import Objective

ONE_CLASS = torch.tensor([[0.0, 200.0, -300.0], [50.0, 0.0, 0.0], [1.0, 2.0, 3.0], [0.0, 0.0, -200.0]])


def root_of(loss: nn.Module, targets: torch.Tensor) -> CurvatureRoot:
    found = curvature_root(loss, targets)
    assert isinstance(found, CurvatureRoot)
    return found


@pytest.mark.parametrize("outputs", [ONE_CLASS, ONE_CLASS.double(), 3 * torch.randn(5, 7).double()])
def test_the_root_of_cross_entropy_squares_to_its_curvature(outputs: torch.Tensor) -> None:
    vectors = root_of(nn.CrossEntropyLoss(), torch.zeros(len(outputs), dtype=torch.long)).vectors(outputs)
    assert vectors.shape == (outputs.shape[1] - 1, *outputs.shape)
    p = torch.softmax(outputs.double(), dim=1)
    truth = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    squared = torch.einsum("kbi,kbj->bij", vectors.double(), vectors.double())
    accuracy = 1e-6 if outputs.dtype == torch.float32 else 1e-14
    assert torch.allclose(squared, truth, rtol=0, atol=accuracy)


def test_a_curvature_near_zero_keeps_its_digits_in_single_precision() -> None:
    """1 − p is 4e-18, which no difference of floats would show."""
    vectors = root_of(nn.CrossEntropyLoss(), torch.zeros(1, dtype=torch.long)).vectors(
        torch.tensor([[40.0, 0.0]])
    )
    assert float(vectors.square().sum()) == pytest.approx(2 * torch.exp(torch.tensor(-40.0)).item(), rel=1e-5)


def test_the_root_of_squared_error_squares_to_its_curvature() -> None:
    outputs = torch.randn(2, 4, dtype=torch.float64)
    vectors = root_of(nn.MSELoss(), torch.zeros(2, 4)).vectors(outputs)
    squared = torch.einsum("kbi,kbj->bij", vectors, vectors)
    assert torch.allclose(squared, (2 / 4 * torch.eye(4, dtype=torch.float64)).expand(2, 4, 4), atol=1e-15)


def test_classes_are_sampled_with_their_probabilities() -> None:
    logits = torch.tensor([[0.0, 1.0, -2.0, float("-inf"), 3.0]])
    root, p = root_of(nn.CrossEntropyLoss(), torch.zeros(1, dtype=torch.long)), torch.softmax(logits, dim=1)
    count = 20_000
    drawn = root.sample(logits.expand(count, 5), Draws(0), range(7, 7 + count)) + p
    assert torch.allclose(drawn.sum(1), torch.ones(count))
    shares = drawn.round().double().mean(0)
    assert bool(((shares - p[0]).abs() <= 4 * (p[0] * (1 - p[0]) / count).sqrt()).all())
    again = root.sample(logits.expand(5, 5), Draws(0), range(10, 15)) + p
    assert torch.equal(again, drawn[3:8])


class Doubled(nn.CrossEntropyLoss):
    """Says truly that it averages over examples; its curvature is not that of what it derives from."""

    averages_examples = True

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return super().forward(2 * input, target)


def hooked() -> nn.Module:
    loss = nn.CrossEntropyLoss()
    loss.register_forward_hook(lambda module, inputs, value: 2 * value)
    return loss


@pytest.mark.parametrize("build", [Doubled, hooked])
def test_the_curvature_of_a_loss_is_not_that_of_its_base_class(build: object) -> None:
    x, y = problems.classification(20, 6, 3)
    model = problems.network(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    loss = build()  # type: ignore[operator]
    objective = Objective(model, loss, [(x, y)])
    truth = float(problems.dense(objective, model, x, y, loss)[1].trace())
    found = hessian_trace(objective)
    assert abs(found.value - truth) <= 4 * (found.standard_error or 0.0) + 1e-10 * truth


def test_a_single_class_bends_nothing() -> None:
    x, _ = problems.classification(20, 6, 3)
    model = problems.network(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 1))
    found = hessian_trace(Objective(model, nn.CrossEntropyLoss(), [(x, torch.zeros(20, dtype=torch.long))]))
    assert found.value == 0
