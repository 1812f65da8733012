"""How data are put into batches changes no number, whatever a loss weights and ignores; a sum is refused."""

import functools
from typing import Any

import problems
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from landscape.errors import InputError, UsageError
from landscape.losses import build_loss
from landscape.measures import gradient_noise, hessian_trace
from landscape.objective import BatchLoss, Objective

COUNT, CLASSES = 23, 4
WEIGHTS = torch.tensor([0.0, 0.3, 1.0, 7.0], dtype=torch.float64)
IGNORED = -100


def hidden_labels(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return functional.cross_entropy(model(batch[0]), batch[1])


class Own(nn.CrossEntropyLoss):
    """It may do anything, and does nothing."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return super().forward(input, target)


LOSSES: dict[str, Any] = {
    "cross-entropy": nn.CrossEntropyLoss(),
    "cross-entropy by name": build_loss("cross-entropy:label_smoothing=0.2"),
    "class weights": nn.CrossEntropyLoss(weight=WEIGHTS),
    "class weights and smoothing": nn.CrossEntropyLoss(weight=WEIGHTS + 0.1, label_smoothing=0.1),
    "nll": nn.NLLLoss(weight=WEIGHTS),
    "a function": functional.cross_entropy,
    "a partial": functools.partial(functional.cross_entropy, weight=WEIGHTS),
    "a line that ignores": lambda f, t: functional.cross_entropy(f, t),
    "a subclass": Own(weight=WEIGHTS),
    "a batch loss that ignores": BatchLoss(hidden_labels),
    "a batch loss with weights": BatchLoss(
        lambda model, batch: functional.cross_entropy(model(batch[0]), batch[1], weight=WEIGHTS),
        weight=lambda batch: float(WEIGHTS[batch[1][batch[1] != IGNORED]].sum()),
    ),
}  # fmt: skip


def network(loss: object) -> nn.Module:
    last = [nn.LogSoftmax(dim=1)] if isinstance(loss, nn.NLLLoss) else []
    return problems.network(nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, CLASSES), *last)


@st.composite
def data(draw: st.DrawFn) -> tuple[Tensor, Tensor, list[int]]:
    """Inputs, labels of which some are ignored, and the sizes of batches."""
    x, y = problems.classification(COUNT, 5, CLASSES, seed=draw(st.integers(0, 3)))
    ignored = draw(st.lists(st.integers(0, COUNT - 1), max_size=12))
    y[ignored] = IGNORED
    y[:2] = torch.tensor([2, 3])  # something counts, whatever is drawn
    cuts = sorted(draw(st.sets(st.integers(1, COUNT - 1), max_size=8)))
    order = torch.tensor(draw(st.permutations(range(COUNT))))
    return x[order], y[order], [b - a for a, b in zip([0, *cuts], [*cuts, COUNT], strict=True)]


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=3, deadline=None, derandomize=True)
@given(data())
def test_numbers_do_not_depend_on_the_partition(name: str, drawn: tuple[Tensor, Tensor, list[int]]) -> None:
    loss, (x, y, sizes) = LOSSES[name], drawn
    model = network(loss)
    plain = (lambda f, t: loss.fn(lambda _: f, (None, t))) if isinstance(loss, BatchLoss) else loss
    objective = Objective(model, loss, list(zip(x.split(sizes), y.split(sizes), strict=True)))
    gradient, hessian = problems.dense(objective, model, x, y, plain)
    assert objective.loss == pytest.approx(float(plain(model(x), y)), rel=1e-12)
    assert torch.allclose(objective.gradient, gradient, rtol=1e-10, atol=1e-14)
    v = torch.linspace(-1, 1, objective.dimension, dtype=torch.float64)
    assert torch.allclose(objective.hessian_product(v), hessian @ v, rtol=1e-9, atol=1e-13)
    if not isinstance(loss, BatchLoss):
        counted = y != IGNORED
        right = (model(x).argmax(1) == y)[counted].double().mean()
        weighted = name not in ("cross-entropy", "cross-entropy by name", "a function", "a line that ignores")
        assert weighted or objective.accuracy == pytest.approx(float(right), rel=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_the_trace_does_not_depend_on_the_partition(name: str) -> None:
    loss = LOSSES[name]
    x, y = problems.classification(COUNT, 5, CLASSES)
    y[3:8] = IGNORED
    model = network(loss)
    plain = (lambda f, t: loss.fn(lambda _: f, (None, t))) if isinstance(loss, BatchLoss) else loss
    for sizes in ([COUNT], [5, 2, 1, 9, 6]):
        objective = Objective(model, loss, list(zip(x.split(sizes), y.split(sizes), strict=True)))
        _, hessian = problems.dense(objective, model, x, y, plain)
        found = hessian_trace(objective, tolerance=0.2, max_probes=40)
        assert abs(found.value - float(hessian.trace())) <= 4.5 * (found.standard_error or 1e-12), (
            found.details
        )


@pytest.mark.parametrize("ways", [{}, {"micro_batch": 4}])
def test_a_batch_without_a_label_contributes_nothing(ways: dict[str, Any]) -> None:
    x, y = problems.classification(COUNT, 5, CLASSES)
    y[:10] = IGNORED
    model = network(None)
    objective = Objective(model, nn.CrossEntropyLoss(), problems.batches(x, y, 5), **ways)
    alone = Objective(model, nn.CrossEntropyLoss(), [(x[10:], y[10:])])
    assert objective.loss == pytest.approx(alone.loss, rel=1e-12)
    assert objective.accuracy == alone.accuracy
    assert objective.batch_sizes == [5, 5, 3]
    assert [part.num_examples for part in objective.per_batch()] == [5, 5, 3]
    assert len(list(objective.per_example())) == 13
    assert gradient_noise(objective).value > 0


def test_data_of_which_nothing_counts_are_refused() -> None:
    x, y = problems.classification(COUNT, 5, CLASSES)
    with pytest.raises(InputError, match="no example of the data counts"):
        _ = Objective(network(None), nn.CrossEntropyLoss(), [(x, torch.full_like(y, IGNORED))]).loss


def test_smoothed_labels_of_classes_without_weight_are_refused_where_they_are_alone() -> None:
    x, y = problems.classification(COUNT, 5, CLASSES)
    loss = nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.1)
    assert Objective(network(None), loss, [(x, y)]).loss == pytest.approx(
        float(loss(network(None)(x), y)), rel=1e-12
    )
    with pytest.raises(InputError, match="labels of a batch are of classes of weight 0"):
        _ = Objective(network(None), loss, [(x, y), (x[:3], torch.zeros_like(y[:3]))]).loss


SUMS: dict[str, Any] = {
    "function": lambda f, t: functional.cross_entropy(f, t, reduction="sum"),
    "squared": lambda f, t: ((f - functional.one_hot(t, CLASSES)) ** 2).sum(),
    "divided by a fixed number": lambda f, t: functional.cross_entropy(f, t, reduction="sum") / 128,
    "batch loss": BatchLoss(lambda m, b: functional.cross_entropy(m(b[0]), b[1], reduction="sum")),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SUMS)
def test_a_sum_is_refused(name: str, dtype: torch.dtype) -> None:
    x, y = problems.classification(COUNT, 5, CLASSES, dtype=dtype)
    objective = Objective(network(None).to(dtype), SUMS[name], problems.batches(x, y, 8))
    with pytest.raises(UsageError, match=r"the loss of \d+ examples is the sum, not the mean"):
        _ = objective.loss


@pytest.mark.parametrize("partial", [True, False])
def test_a_reduction_that_says_sum_is_refused_at_once(partial: bool) -> None:
    x, y = problems.classification(COUNT, 5, CLASSES)
    loss = (
        functools.partial(functional.cross_entropy, reduction="sum")
        if partial
        else nn.CrossEntropyLoss(reduction="sum")
    )
    with pytest.raises(UsageError, match="reduction='sum'"):
        Objective(network(None), loss, [(x, y)])


def secret(f: Tensor, t: Tensor) -> Tensor:
    return functional.cross_entropy(f, t, weight=WEIGHTS)


def test_weights_that_cannot_be_known_are_refused_with_the_way_out() -> None:
    x, y = problems.classification(COUNT, 5, CLASSES)
    with pytest.raises(UsageError, match=r"not the mean over its examples.*functools\.partial.*BatchLoss"):
        _ = Objective(network(None), secret, problems.batches(x, y, 8)).loss
    whole = Objective(network(None), secret, [(x, y)])
    assert whole.loss == pytest.approx(float(secret(network(None)(x), y)), rel=1e-12)
    assert whole.independence().reason == "its loss is not the mean over its examples"


def test_a_batch_loss_that_is_no_mean_is_taken_as_it_is_and_that_is_said() -> None:
    x, y = problems.classification(COUNT, 5, CLASSES)
    loss = BatchLoss(lambda model, batch: secret(model(batch[0]), batch[1]))
    objective = Objective(network(None), loss, problems.batches(x, y, 8))
    parts = [float(secret(network(None)(a), b)) for a, b in problems.batches(x, y, 8)]
    assert objective.loss == pytest.approx((8 * parts[0] + 8 * parts[1] + 7 * parts[2]) / 23, rel=1e-12)
    assert any("numbers depend on how the data are put into batches" in note for note in objective.notes)


def test_data_in_the_order_of_their_classes_hide_no_weights() -> None:
    x, y = problems.classification(COUNT, 5, CLASSES)
    order = y.argsort()
    with pytest.raises(UsageError, match="not the mean over its examples"):
        _ = Objective(network(None), secret, problems.batches(x[order], y[order], 4)).loss


@pytest.mark.parametrize("kind", ["module", "partial", "attribute"])
def test_the_tensors_of_a_loss_follow_the_precision(kind: str) -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = WEIGHTS.float()

        def forward(self, f: Tensor, t: Tensor) -> Tensor:
            return functional.cross_entropy(f, t, weight=self.weight)

    x, y = problems.classification(COUNT, 5, CLASSES, dtype=torch.float32)
    loss: Any = {
        "module": nn.CrossEntropyLoss(weight=WEIGHTS.float()),
        "partial": functools.partial(functional.cross_entropy, weight=WEIGHTS.float()),
        "attribute": Own(),
    }[kind]
    objective = Objective(network(None).float(), loss, [(x, y)], dtype=torch.float64)
    expected = functional.cross_entropy(
        network(None).float().double()(x.double()), y, weight=WEIGHTS.float().double()
    )
    assert objective.loss == pytest.approx(float(expected), rel=1e-12)
    if isinstance(loss, nn.Module):
        assert loss.weight.dtype == torch.float32


@pytest.mark.parametrize("name", ["cross-entropy", "class weights", "class weights and smoothing"])
@pytest.mark.parametrize("size", [4, COUNT])
def test_the_empirical_fisher_weights_the_gradients_of_single_examples(name: str, size: int) -> None:
    x, y = problems.classification(COUNT, 5, CLASSES)
    y[4:9] = IGNORED
    loss, model = LOSSES[name], network(None)
    objective = Objective(model, loss, problems.batches(x, y, size))
    classes = torch.ones_like(WEIGHTS) if loss.weight is None else loss.weight
    weights = torch.where(y != IGNORED, classes[y.clamp(min=0)], 0)
    truth = torch.zeros(objective.dimension, objective.dimension, dtype=torch.float64)
    for i in range(COUNT):
        if weights[i] > 0:
            slopes = torch.autograd.grad(loss(model(x[i : i + 1]), y[i : i + 1]), list(model.parameters()))
            g = torch.cat([slope.flatten() for slope in slopes])
            truth += weights[i] / weights.sum() * torch.outer(g, g)
    found = objective.empirical_fisher_product(torch.eye(objective.dimension, dtype=torch.float64))
    assert torch.allclose(found, truth, rtol=1e-10, atol=1e-14)


def test_a_model_that_averages_its_own_loss_over_labels_is_weighted_by_them() -> None:
    class Tagger(nn.Module):
        """Shifts its labels, as causal language models do."""

        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(9, 5), nn.Linear(5, 9)

        def forward(self, input_ids: Tensor, labels: Tensor) -> dict[str, Tensor]:
            logits = self.head(torch.tanh(self.embed(input_ids)))
            return {"loss": functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())}

    torch.manual_seed(0)
    model, tokens = Tagger().double(), torch.randint(0, 9, (20, 6))
    labels = torch.where(torch.rand(20, 6) < 0.4, IGNORED, tokens)
    loss = build_loss("model")
    whole, parted = (
        Objective(
            model, loss, [{"input_ids": a, "labels": b} for a, b in problems.batches(tokens, labels, size)]
        )
        for size in (20, 7)
    )
    assert parted.loss == pytest.approx(whole.loss, rel=1e-12)
    assert torch.allclose(parted.gradient, whole.gradient, rtol=1e-10, atol=1e-14)


def test_a_mean_over_examples_by_another_name_is_no_sum() -> None:
    x, y = problems.classification(COUNT, 5, CLASSES)
    y = torch.softmax(torch.randn(COUNT, CLASSES, dtype=torch.float64), dim=1)
    model = problems.network(nn.Linear(5, CLASSES), nn.LogSoftmax(dim=1))
    loss = nn.KLDivLoss(reduction="batchmean")
    parted = Objective(model, loss, problems.batches(x, y, 8))
    assert parted.loss == pytest.approx(float(loss(model(x), y)), rel=1e-12)
