"""Out of memory: halved and said, or one clear error; micro-batches change no number."""

import warnings
import weakref

import problems
import pytest
import torch
from torch import Tensor, nn

from landscape.errors import OutOfMemory, Remark, UsageError
from landscape.measures import MEASURES, gradient_noise, hessian_trace
from landscape.objective import BatchLoss, Objective, timing
from landscape.records.estimate import Estimate

CE = nn.CrossEntropyLoss()


class Limited(nn.Module):
    """A network that runs out of memory above a batch size."""

    def __init__(self, most: int, *, failure: type[Exception] = torch.OutOfMemoryError) -> None:
        super().__init__()
        self.inner, self.most, self.seen, self.failure = problems.small_net(), most, list[int](), failure

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(len(x))
        if len(x) > self.most:
            raise self.failure("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.inner(x)


def limited(most: int, batch: int = 30, **options: object) -> tuple[Objective, Limited]:
    x, y = problems.classification()
    model = Limited(most)
    objective = Objective(model, CE, problems.batches(x, y, batch), **options)  # type: ignore[arg-type]
    return objective, objective.network  # type: ignore[return-value]


@pytest.mark.parametrize("failure", [torch.OutOfMemoryError, RuntimeError, MemoryError])
def test_it_is_halved_until_it_fits_and_said(failure: type[Exception]) -> None:
    objective, inner = limited(8)
    inner.failure = failure
    with pytest.warns(Remark) as said:
        loss = objective.loss
    assert [str(one.message).split(";")[0] for one in said] == [
        "out of memory at 30 examples",
        "out of memory at 15 examples",
    ]
    plain = problems.small_objective(batch=30)
    assert loss == pytest.approx(plain.loss, rel=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        v = torch.ones(objective.dimension, dtype=torch.float64)
        assert torch.allclose(objective.hessian_product(v), plain.hessian_product(v), rtol=1e-10)
        assert gradient_noise(objective).value == pytest.approx(gradient_noise(plain).value, rel=1e-10)
    assert max(inner.seen[-20:]) <= 8


def test_a_shortage_in_the_middle_of_a_computation_costs_only_that_batch() -> None:
    objective, inner = limited(1000)
    v = torch.ones(objective.dimension, dtype=torch.float64)
    before = objective.hessian_product(v)
    inner.most = 20
    with pytest.warns(Remark):
        after = objective.at(objective.point).hessian_product(v)
    assert torch.allclose(before, after, rtol=1e-10)


def test_a_trace_from_probes_for_each_batch_is_the_same_where_memory_is_short() -> None:
    def trace(most: int) -> Estimate:
        x, y = problems.classification()
        shared = nn.Linear(8, 8)
        layers = (shared, nn.Tanh(), shared, nn.Tanh(), nn.Linear(8, 4))  # used twice: no probes of examples
        model = nn.Sequential(Limited(most), problems.network(*layers))
        model[0].inner = nn.Identity()
        return MEASURES.build("hessian-trace:tolerance=1e-9,max_probes=16", Objective(model, CE, [(x, y)]))

    before = trace(1000)
    with pytest.warns(Remark, match="out of memory at 100 "):
        after = trace(50)
    assert before.details["method"] == after.details["method"] == "gauss-newton-residual"
    assert after.value == pytest.approx(before.value, rel=1e-9)
    assert after.standard_error == pytest.approx(before.standard_error, rel=1e-9)


def test_nothing_of_the_failed_attempt_is_in_memory_when_the_next_one_begins() -> None:
    """The frames of the failure hold what the network had computed so far, and its graph."""
    objective, inner = limited(12)
    forward, alive = inner.forward, list[weakref.ref[Tensor]]()

    def holding(x: Tensor) -> Tensor:
        assert not any(reference() is not None for reference in alive)
        hidden = inner.inner[0](x)
        if len(x) > inner.most:
            alive.append(weakref.ref(hidden))
        return forward(x)

    inner.forward = holding  # type: ignore[method-assign]
    with pytest.warns(Remark):
        _ = objective.gradient
    assert len(alive) >= 2


def test_kept_graphs_are_given_up_before_a_batch_is_halved() -> None:
    objective, inner = limited(1000)
    v = torch.ones(objective.dimension, dtype=torch.float64)
    before, kept = objective.hessian_product(v), objective.engine.graphs
    share, forward, failed = kept.share, inner.forward, []

    def once(x: Tensor) -> Tensor:
        if not failed:
            failed.append(len(kept))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(x)

    inner.forward = once  # type: ignore[method-assign]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        objective.gauss_newton_product(v)
    assert failed == [4]
    assert kept.share == share / 2
    assert objective.engine.micro.size is None
    assert torch.equal(objective.hessian_product(v), before)


def test_one_example_that_does_not_fit_is_one_clear_error() -> None:
    objective, _ = limited(0)
    with (
        pytest.warns(Remark),
        pytest.raises(OutOfMemory, match=r"with a single example; Limited has 568 free"),
    ):
        _ = objective.loss


def variance_too(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    outputs = model(batch[0])
    return CE(outputs, batch[1]) + outputs.var()


@pytest.mark.parametrize(
    ("loss", "reason"),
    [
        (BatchLoss(variance_too), "not the mean over its examples"),
        (
            BatchLoss(lambda model, batch: variance_too(model, batch[:2])),
            "not made of tensors with a row an example",
        ),
    ],
)
def test_a_batch_that_cannot_be_split_is_said(loss: BatchLoss, reason: str) -> None:
    x, y = problems.classification()
    data: list[object] = [*problems.batches(x, y, 30)]
    if "row" in reason:
        data = [(*batch, torch.zeros(2)) for batch in problems.batches(x, y, 30)]
    objective = Objective(Limited(20), loss, data)
    with pytest.raises(OutOfMemory, match=rf"batch of 30 examples, which cannot be split because .*{reason}"):
        _ = objective.loss
    with pytest.raises(UsageError, match=rf"micro_batch=4: .*{reason}"):
        _ = Objective(Limited(50), loss, data, micro_batch=4).loss


@pytest.mark.parametrize(
    "loss",
    [
        BatchLoss(lambda model, batch: CE(model(batch[0]), batch[1])),
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.2, 2.0])),
        lambda f, t: nn.functional.cross_entropy(f, t),
    ],
)
def test_whatever_is_a_weighted_mean_can_be_split(loss: object) -> None:
    x, y = problems.classification()
    parted, whole = (
        Objective(problems.small_net(), loss, problems.batches(x, y, 30), micro_batch=size)  # type: ignore[arg-type]
        for size in (7, None)
    )
    assert parted.loss == pytest.approx(whole.loss, rel=1e-12)
    assert torch.allclose(parted.gradient, whole.gradient, rtol=1e-11, atol=1e-15)


def test_batch_statistics_are_never_split() -> None:
    x, y = problems.classification()
    model = nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 4)).double()
    with pytest.raises(UsageError, match="batch norm in batch mode"):
        _ = Objective(model, CE, problems.batches(x, y, 30), batch_norm="batch", micro_batch=8).loss


@pytest.mark.parametrize("size", [4, 30, 45, 1000])
def test_micro_batches_change_no_number(size: int) -> None:
    x, y = problems.classification()
    plain = problems.small_objective(batch=30)
    parted = Objective(problems.small_net(), CE, problems.batches(x, y, 30), micro_batch=size)
    v = torch.ones(plain.dimension, dtype=torch.float64)
    for kind in ("hessian_product", "gauss_newton_product", "empirical_fisher_product"):
        assert torch.allclose(getattr(parted, kind)(v), getattr(plain, kind)(v), rtol=1e-9, atol=1e-14), kind
    assert parted.loss == pytest.approx(plain.loss, rel=1e-13)
    assert parted.accuracy == plain.accuracy
    assert torch.allclose(parted.gradient, plain.gradient, rtol=1e-11, atol=1e-15)
    assert torch.allclose(
        parted.batch_gradients.squared_norms, plain.batch_gradients.squared_norms, rtol=1e-10
    )
    assert parted.batch_sizes == [30, 30, 30, 10]
    assert parted.ledger.passes()["products"] == 3
    ours, other = (hessian_trace(one, method="hutchinson", max_probes=8) for one in (parted, plain))
    assert ours.value == pytest.approx(other.value, rel=1e-9)


def test_pieces_are_joined_where_larger_ones_were_asked_for() -> None:
    objective, inner = limited(1000, micro_batch=64)
    v = torch.ones(objective.dimension, dtype=torch.float64)
    objective.hessian_product(v)
    inner.seen.clear()
    objective.gauss_newton_product(v)
    assert inner.seen == [60, 40]


def test_the_size_is_found_by_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    speed = {16: 1.0, 32: 1.9, 64: 3.5, 100: 3.0}
    monkeypatch.setattr(timing, "_rate", lambda risk, batch, size: speed[size])
    objective, _ = limited(1000, micro_batch="auto")
    _ = objective.loss
    assert objective.engine.micro.size == 64


def test_a_size_without_memory_is_not_taken() -> None:
    objective, _ = limited(40, micro_batch="auto")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert objective.loss == pytest.approx(problems.small_objective(batch=30).loss, rel=1e-12)
    assert objective.engine.micro.size in (16, 32)


@pytest.mark.parametrize("size", [0, -1, "big", 1.5])
def test_a_size_that_is_none_is_refused(size: object) -> None:
    with pytest.raises(UsageError, match="must be a whole number above 0, 'auto' or None"):
        limited(10, micro_batch=size)
