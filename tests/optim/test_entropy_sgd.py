"""Entropy-SGD: the rule written by hand without noise, its limits, its noise, and fresh batches."""

import pytest
import torch
from optim.battery import Watch, batch, build, closure, direction, mlp, sgd, weights
from torch import nn

from landscape.errors import UsageError
from landscape.optim import ERM, BatchClosure, EntropySGD


def test_directions_agree_with_the_rule_written_by_hand() -> None:
    options = {"inner_lr": 0.2, "gamma": 0.3, "gamma_growth": 0.5, "average": 0.6}
    model, twin = mlp(), mlp()
    optimizer = EntropySGD(
        torch.optim.SGD(model.parameters(), lr=0.7),
        langevin_steps=4,
        noise=0.0,
        inner_momentum=0.9,
        **options,
    )
    for number in range(3):
        w = weights(model)
        optimizer.step(closure(optimizer, model, seed=number))
        inner = torch.nn.Parameter(w.clone())
        nesterov = torch.optim.SGD([inner], lr=0.2, momentum=0.9, nesterov=True)
        mean, gamma = w.clone(), 0.3 * 1.5**number
        x, y = batch(number)
        for _ in range(4):
            nn.utils.vector_to_parameters(inner.detach(), twin.parameters())
            twin.zero_grad()
            nn.functional.cross_entropy(twin(x), y).backward()
            inner.grad = direction(twin) - gamma * (w - inner.detach())
            nesterov.step()
            mean = 0.6 * mean + 0.4 * inner.detach()
        torch.testing.assert_close(direction(model), w - mean, rtol=1e-9, atol=1e-13)
        torch.testing.assert_close(weights(model), w - 0.7 * (w - mean), rtol=1e-10, atol=1e-13)
    assert optimizer.gradient_evaluations == 12


def test_without_langevin_steps_it_is_its_base() -> None:
    models = [mlp(), mlp()]
    optimizers = [EntropySGD(sgd(models[0]), langevin_steps=0), ERM(sgd(models[1]))]
    for number in range(4):
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.step(closure(optimizer, model, seed=number))
    assert torch.equal(weights(models[0]), weights(models[1]))
    assert optimizers[0].gradient_evaluations == 4


def test_a_strong_pull_keeps_the_mean_at_the_weights() -> None:
    lengths = []
    for gamma in (0.0, 10.0, 1e3, 1e5):
        model = mlp()
        optimizer = EntropySGD(
            sgd(model),
            inner_lr=0.5 / (1 + gamma),
            gamma=gamma,
            noise=0.0,
            inner_momentum=0.0,
            langevin_steps=200,
        )
        optimizer.step(closure(optimizer, model))
        lengths.append(direction(model).norm().item())
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[-1] < 1e-4


def test_the_noise_is_that_of_langevin_dynamics() -> None:
    model = mlp()
    optimizer = EntropySGD(
        sgd(model), inner_lr=0.1, noise=0.5, inner_momentum=0.0, langevin_steps=2, gamma=0.0
    )
    squares = []
    for number in range(100):
        watch = Watch(closure(optimizer, model, seed=number, scale=0.0), model)
        optimizer.step(watch)
        squares.append(watch.displacements[0].square())
    # Variance 2·0.1·0.25 = 0.05, of 4300 draws: standard error 2.2 %.
    assert torch.stack(squares).mean().item() == pytest.approx(0.05, rel=0.08)


def test_every_gradient_is_of_a_fresh_batch_where_there_are_such() -> None:
    model = mlp()
    optimizer = EntropySGD(sgd(model), langevin_steps=3)
    seen: list[float] = []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0, 0].item()))
    numbers = iter(range(100))

    def fresh() -> BatchClosure:
        x, y = batch(next(numbers))
        return BatchClosure(model, nn.CrossEntropyLoss(reduction="none"), inputs=x, targets=y, another=fresh)

    optimizer.step(fresh())
    assert seen == [batch(number)[0][0, 0].item() for number in range(3)]


@pytest.mark.parametrize(
    "option",
    [
        "langevin_steps=-1",
        "inner_lr=0",
        "noise=-1",
        "gamma=-1",
        "gamma_growth=-1",
        "average=1",
        "inner_momentum=1",
    ],
)
def test_bad_options_are_refused(option: str) -> None:
    with pytest.raises(UsageError, match=option.split("=")[0]):
        build(f"entropy-sgd:{option}", mlp())
