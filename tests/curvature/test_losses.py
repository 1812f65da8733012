"""Square roots of the curvature of a loss in its outputs, also where one class has all the probability."""

import math

import problems
import pytest
import torch
from torch import Tensor, nn

from landscape.curvature.losses import CurvatureRoot, curvature_root
from landscape.draws import Draws
from landscape.losses import build_loss
from landscape.losses.closed_forms import curvature_product
from landscape.losses.loss_functions import label_weights
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


WEIGHTS = torch.tensor([0.5, 2.0, 1.0]).double()
LABELLED = {
    "ignored": (nn.CrossEntropyLoss(), torch.tensor([1, -100, 0, 2])),
    "class weights": (
        nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.2),
        torch.tensor([1, -100, 0, 2]),
    ),
    "probabilities": (
        nn.CrossEntropyLoss(weight=WEIGHTS),
        WEIGHTS.repeat(4, 1) * torch.arange(1, 5)[:, None],
    ),
    "tokens": (build_loss("next-token"), torch.tensor([[1, -100], [-100, -100], [0, 2], [2, 2]])),
    "sequences": (
        build_loss("next-token:mean=sequence"),
        torch.tensor([[1, -100], [-100, -100], [0, 2], [2, 2]]),
    ),
}


@pytest.mark.parametrize("name", LABELLED)
def test_weights_of_labels_are_in_the_root_and_in_the_samples(name: str) -> None:
    loss, targets = LABELLED[name]
    shape = (4, 3) if name == "probabilities" else (*targets.shape, 3)
    outputs = torch.linspace(-1, 2, math.prod(shape)).double().sin().view(shape)
    product, rule = curvature_product(loss, outputs, targets), label_weights(loss)
    assert product is not None
    assert rule is not None
    size = outputs.numel()
    truth = torch.stack([product(e.view(shape)).flatten() for e in torch.eye(size).double()])
    truth = truth * (len(targets) if targets.is_floating_point() else rule.each(targets).sum())
    root = root_of(loss, targets)
    # An s of one example is none of another.
    places = torch.eye(4).double().view(4, 1, 4, *[1] * (len(shape) - 1))
    vectors = (places * root.vectors(outputs)).reshape(-1, size)
    assert torch.allclose(vectors.T @ vectors, truth, rtol=1e-12, atol=1e-14)
    count = 4000
    many = root_of(loss, targets.repeat(count, *[1] * (targets.ndim - 1)))
    repeated = outputs.repeat(count, *[1] * (outputs.ndim - 1))
    samples = many.sample(repeated, Draws(1), range(len(repeated))).view(count, size)
    products = samples[:, :, None] * samples[:, None, :]
    error = products.std(0) / math.sqrt(count)
    assert bool(((products.mean(0) - truth).abs() <= 4.5 * error + 1e-12).all())


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
