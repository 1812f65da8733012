"""MESA: a run with the term against one written by hand, and when the term is there."""

import pytest
import torch
from optim.battery import batch, build, closure, mlp, sgd, weights
from torch import nn
from torch.nn import functional

from landscape.errors import UsageError
from landscape.optim import ERM, MESA


def test_a_run_is_the_one_written_by_hand() -> None:
    lam, tau, decay, start = 0.8, 2.0, 0.6, 3
    model, twin, average = mlp(), mlp(), mlp()
    optimizer = MESA(sgd(model), steps_per_epoch=1, lam=lam, tau=tau, decay=decay, start_epoch=start)
    base = sgd(twin)
    for number in range(7):
        x, y = batch(number)
        reported = optimizer.step(closure(optimizer, model, seed=number))
        z = twin(x)
        loss = functional.cross_entropy(z, y)
        torch.testing.assert_close(reported, loss.detach(), rtol=1e-9, atol=0)
        if number >= start:
            p = torch.softmax(average(x).detach() / tau, 1)
            loss = loss + lam * tau**2 * (p * (p / torch.softmax(z / tau, 1)).log()).sum(1).mean()
        base.zero_grad()
        loss.backward()
        base.step()
        with torch.no_grad():
            for mean, new in zip(average.parameters(), twin.parameters(), strict=True):
                mean.mul_(decay).add_(new, alpha=1 - decay)
    torch.testing.assert_close(weights(model), weights(twin), rtol=1e-10, atol=1e-12)
    assert optimizer.gradient_evaluations == pytest.approx(3 + 4 * 4 / 3)
    assert optimizer.sam_steps == 0


@pytest.mark.parametrize(
    "options", [{"lam": 0.0, "start_epoch": 0}, {"start_epoch": 5}, {"decay": 0.0, "start_epoch": 0}]
)
def test_without_weight_start_or_memory_it_is_its_base(options: dict[str, float]) -> None:
    models = [mlp(), mlp()]
    mesa, erm = MESA(sgd(models[0]), steps_per_epoch=1, **options), ERM(sgd(models[1]))
    for number in range(4):
        for model, optimizer in zip(models, (mesa, erm), strict=True):
            optimizer.step(closure(optimizer, model, seed=number))
    torch.testing.assert_close(weights(models[0]), weights(models[1]), rtol=1e-12, atol=1e-13)


def test_the_average_is_asked_in_evaluation_mode_and_leaves_no_trace() -> None:
    model = mlp(nn.BatchNorm1d(5), nn.Dropout(0.5))
    optimizer = MESA(sgd(model), model=model, steps_per_epoch=1, start_epoch=0)
    modes: list[bool] = []
    model.register_forward_hook(lambda *_: modes.append(model[2].training))
    for number in range(3):
        optimizer.step(closure(optimizer, model, seed=number))
    assert modes == [False, True] * 3
    assert model[1].num_batches_tracked == 3
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("option", ["lam=-1", "tau=0", "start_epoch=-1", "decay=1.5", "steps_per_epoch=0"])
def test_bad_options_are_refused(option: str) -> None:
    with pytest.raises(UsageError, match=option.split("=")[0]):
        build(f"mesa:{option}", mlp())
