"""Closed forms of losses and their derivatives, against autograd in float64 and beside a perfect fit in float32."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from landscape.losses import build_loss, loss_functions, softmax_rows
from landscape.losses.closed_forms import curvature_product
from landscape.losses.loss_functions import in_float64

ROWS, CLASSES, TOKENS = 6, 5, 4


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


WEIGHTS = drawn(CLASSES).abs()
F, Y = 2 * drawn(ROWS, CLASSES, seed=1), torch.tensor([0, 4, -100, 2, 2, 1])
TEXT, NEXT = (
    2 * drawn(3, TOKENS, CLASSES, seed=2),
    torch.tensor([[1, -100, -100, -100], [0, 4, 2, -100], [-100] * 4]),
)
SHARES = drawn(ROWS, CLASSES, seed=3).abs()
PIXELS, COLOURS = drawn(2, CLASSES, 3, 2, seed=4), torch.tensor([[[0, 1], [2, 3], [4, -100]]] * 2)
KINDS: dict[str, tuple[Any, Tensor, Tensor]] = {
    "cross-entropy": (nn.CrossEntropyLoss(), F, Y),
    "smoothing": (build_loss("cross-entropy:label_smoothing=0.2"), F, Y),
    "class weights": (nn.CrossEntropyLoss(weight=WEIGHTS), F, Y),
    "class weights and smoothing": (nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.3), F, Y),
    "another ignored class": (partial(functional.cross_entropy, ignore_index=2), F, Y.abs() % CLASSES),
    "probabilities": (nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.3), F, SHARES),
    "each pixel": (nn.CrossEntropyLoss(weight=WEIGHTS), PIXELS, COLOURS),
    "each token": (build_loss("cross-entropy"), TEXT, NEXT),
    "next token": (build_loss("next-token"), TEXT, NEXT),
    "by sequence": (build_loss("next-token:mean=sequence"), TEXT, NEXT),
    "squares": (nn.MSELoss(), F, SHARES),
    "one-hot squares": (build_loss("mse"), F, Y.abs() % CLASSES),
    "binary": (nn.BCEWithLogitsLoss(), F, SHARES / 5),
    "binary of whole numbers": (build_loss("bce-with-logits"), F, (SHARES > 0.5).long()),
}


def by_autograd(
    loss: Any, outputs: Tensor, targets: Tensor, tangent: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    f = outputs.clone().requires_grad_()
    value = loss(f, targets)
    (slope,) = torch.autograd.grad(value, f, create_graph=True)
    (image,) = torch.autograd.grad(slope, f, tangent)
    return value.detach(), slope.detach(), image


@pytest.mark.parametrize("name", KINDS)
def test_the_curvature_in_closed_form_is_that_of_autograd(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax_rows, "CHUNK_ELEMENTS", 2 * CLASSES)  # several chunks
    loss, outputs, targets = KINDS[name]
    tangent = drawn(*outputs.shape, seed=7)
    product = curvature_product(loss, outputs, targets)
    assert product is not None
    _, _, expected = by_autograd(loss, outputs, targets, tangent)
    assert torch.allclose(product(tangent), expected, rtol=1e-12, atol=1e-16)
    assert product(tangent).shape == outputs.shape


def test_a_loss_that_may_do_more_has_no_closed_form() -> None:
    class Own(nn.CrossEntropyLoss):
        pass

    hooked = nn.CrossEntropyLoss()
    hooked.register_forward_hook(lambda module, inputs, output: 2 * output)
    weighted = nn.BCEWithLogitsLoss(pos_weight=WEIGHTS)
    for loss in (Own(), hooked, weighted, lambda f, y: functional.cross_entropy(f, y)):
        assert curvature_product(loss, F, SHARES) is None


@pytest.mark.parametrize(
    "name", ["smoothing", "class weights and smoothing", "each token", "next token", "by sequence"]
)
def test_large_outputs_have_the_same_loss_and_derivatives(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loss, outputs, targets = KINDS[name]
    tangent = drawn(*outputs.shape, seed=7)
    expected = by_autograd(loss, outputs.float().double(), targets, tangent.float().double())
    monkeypatch.setattr(loss_functions, "FLOAT64_ELEMENTS", 1)
    monkeypatch.setattr(softmax_rows, "CHUNK_ELEMENTS", 2 * CLASSES)
    results = by_autograd(partial(in_float64, loss), outputs.float(), targets, tangent.float())
    assert float(results[0]) == pytest.approx(float(expected[0]), rel=1e-12)
    for result, truth in zip(results[1:], expected[1:], strict=True):
        assert torch.allclose(result.double(), truth, rtol=2e-7, atol=1e-12)


def test_beside_a_perfect_fit_no_digits_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_functions, "FLOAT64_ELEMENTS", 1)
    outputs = torch.tensor([[24.0, 0.5, -1.0], [0.25, 31.0, 0.0]])
    targets, tangent = torch.tensor([0, 1]), torch.tensor([[1.0, 2.0, -1.0], [0.5, 1.0, 3.0]])
    p, label = outputs.double().softmax(1), targets[:, None]
    others = p.scatter(1, label, 0.0)
    slope = others.scatter(1, label, -others.sum(1, keepdim=True)) / 2
    moves = tangent.double() - tangent.double().gather(1, label)
    image = p * (moves - (p * moves).sum(1, keepdim=True)) / 2
    results = by_autograd(partial(in_float64, nn.CrossEntropyLoss()), outputs, targets, tangent)
    product = curvature_product(nn.CrossEntropyLoss(), outputs, targets)
    assert product is not None
    assert float(results[0]) == pytest.approx(float(others.sum()) / 2, rel=1e-6)
    for result, truth in ((results[1], slope), (results[2], image), (product(tangent), image)):
        assert torch.allclose(result.double(), truth, rtol=1e-6, atol=0)
