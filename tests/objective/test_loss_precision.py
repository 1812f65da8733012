"""The loss of outputs in single precision is computed in double precision, also beside a nearly perfect fit."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from landscape.errors import InputError
from landscape.losses import build_loss, loss_functions
from landscape.objective import Objective

WEIGHT = torch.tensor([0.3, 1.0, 2.0])
Y = torch.arange(12) % 3
X = 17 * torch.eye(3)[Y] + torch.linspace(0, 0.5, 36).view(12, 3)
"""Scores of nearly perfect predictions: in single precision, 1 − p is rounding."""

LOSSES: dict[str, tuple[Callable[..., Tensor], Tensor]] = {
    "cross-entropy": (nn.CrossEntropyLoss(), Y),
    "weighted": (nn.CrossEntropyLoss(weight=WEIGHT), Y),
    "weighted, labels left out": (nn.CrossEntropyLoss(weight=WEIGHT), torch.where(Y == 1, -100, Y)),
    "weighted function": (partial(functional.cross_entropy, weight=WEIGHT), Y),
    "binary, weighted": (nn.BCEWithLogitsLoss(pos_weight=WEIGHT), torch.eye(3)[Y]),
    "squared error": (partial(functional.mse_loss), X + 1e-4),
    "ours": (build_loss("cross-entropy"), Y),  # type: ignore[dict-item]
}


def scaling() -> nn.Module:
    """A network that returns its inputs, times weights of one."""
    model = nn.Linear(3, 3, bias=False)
    model.weight.data = torch.eye(3)
    return model


@pytest.mark.parametrize("elements", [1 << 22, 9])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_torch_are_those_of_double_precision(
    name: str, elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_functions, "FLOAT64_ELEMENTS", elements)
    loss, targets = LOSSES[name]
    objective = Objective(scaling(), loss, [(X[:7], targets[:7]), (X[7:], targets[7:])])
    double = Objective(scaling(), loss, [(X, targets)], dtype=torch.float64)
    # Of many outputs only cross-entropy is computed in double precision: they are those of language models.
    rel = 1e-6 if elements == 9 and name in ("binary, weighted", "squared error") else 1e-9
    assert objective.loss == pytest.approx(double.loss, rel=rel)
    assert objective.evaluate(objective.point)[0] == pytest.approx(double.loss, rel=rel)
    assert torch.allclose(objective.gradient.double(), double.gradient, rtol=1e-4, atol=1e-6)
    assert WEIGHT.dtype == torch.float32
    assert all(buffer.dtype == torch.float32 for buffer in getattr(loss, "buffers", list)())


@pytest.mark.parametrize("elements", [1 << 22, 9])
def test_the_loss_of_a_language_model_is_that_of_double_precision(
    elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Copying(nn.Module):
        """Predicts that every token is followed by the next number."""

        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(17 * torch.eye(4).roll(1, 1))

        def forward(self, tokens: Tensor) -> Tensor:
            return self.table[tokens]

    monkeypatch.setattr(loss_functions, "FLOAT64_ELEMENTS", elements)
    texts = [torch.arange(5).repeat(3, 1) % 4]
    single, double = (
        Objective(Copying(), build_loss("next-token"), texts, dtype=dtype)
        for dtype in (torch.float32, torch.float64)
    )
    assert single.loss == pytest.approx(double.loss, rel=1e-9)


def test_large_outputs_are_differentiated_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (x, y) = nn.Linear(3, 3), (X / 17, Y)
    loss = nn.CrossEntropyLoss(weight=WEIGHT)
    expected = Objective(model, loss, [(x, y)])
    vector = torch.linspace(-1, 1, expected.dimension)
    monkeypatch.setattr(loss_functions, "FLOAT64_ELEMENTS", 9)
    large = Objective(model, loss, [(x, y)])
    assert torch.allclose(large.hessian_product(vector), expected.hessian_product(vector), atol=1e-6)
    assert torch.allclose(
        large.gauss_newton_product(vector), expected.gauss_newton_product(vector), atol=1e-6
    )


def test_a_tensor_that_a_loss_closes_over_is_named_where_its_precision_is_another() -> None:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, targets, weight=WEIGHT)

    objective = Objective(scaling(), loss, [(X, Y)], dtype=torch.float64)
    with pytest.raises(
        InputError, match=r"the loss \(loss\) does not take outputs in float64 .* expected scalar type"
    ):
        _ = objective.loss


def test_a_tensor_that_a_loss_closes_over_is_promoted_where_torch_does_so() -> None:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return (WEIGHT * (outputs - 1) ** 2).mean()

    assert Objective(scaling(), loss, [(X, Y)], dtype=torch.float64).loss > 0
