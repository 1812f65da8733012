"""SAF: a run with the term against one written by hand, when the term is there, and what is remembered."""

import copy

import pytest
import torch
from optim.battery import batch, build, closure, mlp, sgd, weights
from torch import Tensor, nn
from torch.nn import functional

from landscape.errors import UsageError
from landscape.optim import ERM, SAF, BatchClosure
from landscape.optim.saf import trajectory_loss

LOSS = nn.CrossEntropyLoss(reduction="none")


def epoch(optimizer: torch.optim.Optimizer, model: nn.Module, *, skip: int | None = None) -> None:
    """Two batches of eight; ``skip`` leaves one out."""
    x, y = batch()
    for number in range(2):
        if number != skip:
            rows = slice(8 * number, 8 * number + 8)
            indices = torch.arange(16)[rows]
            optimizer.step(BatchClosure(model, LOSS, inputs=x[rows], targets=y[rows], indices=indices))


def test_a_run_is_the_one_written_by_hand() -> None:
    lam, tau, lag, start = 0.7, 2.0, 2, 3
    model, twin = mlp(), mlp()
    optimizer = SAF(sgd(model), num_examples=16, lam=lam, tau=tau, lag=lag, start_epoch=start)
    base = sgd(twin)
    x, y = batch()
    past: list[Tensor] = []
    for number in range(7):
        epoch(optimizer, model)
        logits = torch.zeros(16, 3, dtype=torch.float64)
        for rows in (slice(0, 8), slice(8, 16)):
            z = twin(x[rows])
            logits[rows] = z.detach()
            loss = functional.cross_entropy(z, y[rows])
            if number >= start:
                p = torch.softmax(past[number - lag][rows] / tau, 1)
                q = torch.softmax(z / tau, 1)
                loss = loss + lam * tau**2 * (p * (p / q).log()).sum(1).mean()
            base.zero_grad()
            loss.backward()
            base.step()
        past.append(logits)
    torch.testing.assert_close(weights(model), weights(twin), rtol=1e-10, atol=1e-12)
    without = mlp()
    for _ in range(7):
        epoch(ERM(sgd(without)), without)
    assert (weights(model) - weights(without)).norm() > 1e-3


@pytest.mark.parametrize(
    "options", [{"lam": 0.0, "start_epoch": 0}, {"start_epoch": 4}, {"start_epoch": 0, "lag": 4}]
)
def test_without_weight_start_or_record_it_is_its_base(options: dict[str, float]) -> None:
    models = [mlp(), mlp()]
    saf, erm = SAF(sgd(models[0]), num_examples=16, **options), ERM(sgd(models[1]))
    for _ in range(4):
        epoch(saf, models[0])
        epoch(erm, models[1])
    assert torch.equal(weights(models[0]), weights(models[1]))
    assert saf.gradient_evaluations == saf.steps == 8


def test_the_term_has_neither_value_nor_gradient_where_nothing_has_moved() -> None:
    z = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    term = trajectory_loss(z, z.detach().clone(), tau=5.0)
    term.sum().backward()
    torch.testing.assert_close(term.detach(), torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(z.grad, torch.zeros_like(z), rtol=0, atol=1e-12)


def test_logits_far_apart_give_a_finite_term() -> None:
    z = torch.tensor([[0.0, 5000.0]], requires_grad=True)
    trajectory_loss(z, torch.tensor([[5000.0, 0.0]]), tau=1.0).sum().backward()
    assert torch.isfinite(z.grad).all()


def test_an_example_that_a_loader_left_out_has_no_term_of_another_epoch() -> None:
    model = mlp()
    optimizer = SAF(sgd(model), num_examples=16, lag=2, start_epoch=0)
    epoch(optimizer, model, skip=1)
    epoch(optimizer, model)
    assert optimizer.memory["visits"][:, 0].tolist() == [2] * 8 + [1] * 8
    assert not optimizer.memory["logits"][1, 8:].any()
    epoch(optimizer, model)
    assert optimizer.skipped_steps == 0


def test_what_is_remembered_goes_on_bit_for_bit() -> None:
    def fresh() -> tuple[nn.Module, SAF]:
        model = mlp()
        return model, SAF(sgd(model), num_examples=16, lag=1, start_epoch=1)

    model, optimizer = fresh()
    for _ in range(3):
        epoch(optimizer, model)
    twin, resumed = fresh()
    twin.load_state_dict(model.state_dict())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    epoch(optimizer, model)
    epoch(resumed, twin)
    assert torch.equal(weights(model), weights(twin))
    assert torch.equal(optimizer.memory["logits"], resumed.memory["logits"])


def test_a_batch_without_or_with_impossible_indices_is_refused() -> None:
    model = mlp()
    optimizer = SAF(sgd(model), num_examples=10)
    x, y = batch()
    with pytest.raises(UsageError, match="indices=indices"):
        optimizer.step(BatchClosure(model, LOSS, inputs=x, targets=y))
    with pytest.raises(UsageError, match="from 0 to 15 do not fit num_examples=10"):
        optimizer.step(closure(optimizer, model))
    assert torch.equal(weights(model), weights(mlp()))


@pytest.mark.parametrize("option", ["lam=-1", "tau=0", "start_epoch=-1", "lag=0", "num_examples=0"])
def test_bad_options_are_refused(option: str) -> None:
    with pytest.raises(UsageError, match=option.split("=")[0]):
        build(f"saf:{option}", mlp())
