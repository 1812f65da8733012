"""WSAM: published values, the rules in numpy, and sharpness that stays out of the base."""

import numpy as np
import pytest
import torch
from optim import fixture_function
from optim.battery import batch, closure, direction, mlp, sgd, weights
from optim.numpy_network import LR, MOMENTUM, STEPS, WEIGHT_DECAY, Loss, assert_same_run, loss_and_gradient
from optim.twins import end, same

from landscape.errors import UsageError
from landscape.optim import ERM, GNP, SAM, WSAM

RHO, GAMMA, ALPHA = 0.1, 0.8, 4.0


def perturbed(w: np.ndarray, g: np.ndarray, loss: Loss) -> np.ndarray:
    return loss(w + RHO * g / np.linalg.norm(g))[1]


def test_twenty_coupled_steps_agree_with_the_rule_in_numpy() -> None:
    def rule(w: np.ndarray, loss: Loss) -> np.ndarray:
        g = loss(w)[1]
        return (1 - ALPHA) * g + ALPHA * perturbed(w, g, loss)

    assert_same_run(lambda model, base: WSAM(base, rho=RHO, gamma=GAMMA, mode="coupled"), rule)


@pytest.mark.parametrize("limit", [None, 0.3])
def test_twenty_decoupled_steps_agree_with_the_rule_in_numpy(limit: float | None) -> None:
    def clipped(g: np.ndarray) -> np.ndarray:
        return g if limit is None else g / max(1.0, (np.linalg.norm(g) + 1e-6) / limit)

    model = mlp()
    theta = weights(model).numpy()
    base = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    optimizer = WSAM(base, rho=RHO, gamma=GAMMA, max_grad_norm=limit)
    velocity = np.zeros_like(theta)
    lengths = []
    for number in range(STEPS):
        x, y = (t.numpy() for t in batch(seed=number))
        evaluate = lambda at, x=x, y=y: loss_and_gradient(at, x, y)
        optimizer.step(closure(optimizer, model, seed=number))
        g = evaluate(theta)[1]
        p = perturbed(theta, g, evaluate)
        lengths.append(np.linalg.norm(g))
        velocity = MOMENTUM * velocity + clipped(g) + WEIGHT_DECAY * theta
        theta = theta - LR * velocity - LR * ALPHA * (clipped(p) - clipped(g))
    np.testing.assert_allclose(weights(model).numpy(), theta, rtol=0, atol=1e-10)
    assert min(lengths) < 0.3 < max(lengths)


def test_direction_at_the_fixture_is_the_published_one() -> None:
    handed, _ = fixture_function.step(lambda base: WSAM(base, rho=0.1, gamma=0.9, mode="coupled"))
    assert fixture_function.close(handed, (3.6780183590, -3.7791303861, 5.5449756390))


@pytest.mark.parametrize("mode", ["coupled", "decoupled"])
def test_without_weight_it_is_its_base(mode: str) -> None:
    assert torch.equal(end(lambda b: WSAM(b, gamma=0.0, mode=mode)), end(ERM))  # type: ignore[arg-type]


def test_coupled_it_is_gnp_and_with_half_the_weight_sam() -> None:
    assert torch.equal(
        end(lambda b: WSAM(b, rho=RHO, gamma=0.75, mode="coupled")), end(lambda b: GNP(b, rho=RHO, alpha=3.0))
    )
    half = end(lambda b: WSAM(b, rho=RHO, gamma=0.5, mode="coupled"))
    assert torch.equal(half, end(lambda b: SAM(b, rho=RHO)))


def test_over_plain_descent_the_modes_are_one_and_half_the_weight_is_sam() -> None:
    def after(make: type[SAM] | type[WSAM], **options: object) -> torch.Tensor:
        model = mlp()
        optimizer = make(torch.optim.SGD(model.parameters(), lr=0.1), rho=RHO, **options)  # type: ignore[arg-type]
        for number in range(5):
            optimizer.step(closure(optimizer, model, seed=number))
        return weights(model)

    assert same(after(WSAM, gamma=0.5, mode="decoupled"), after(SAM))
    assert same(after(WSAM, gamma=0.7, mode="decoupled"), after(WSAM, gamma=0.7, mode="coupled"))


def test_decoupled_the_base_sees_the_plain_gradient_only() -> None:
    model, twin = mlp(), mlp()
    optimizer, plain = WSAM(sgd(model)), ERM(sgd(twin))
    optimizer.step(closure(optimizer, model))
    plain.step(closure(plain, twin))
    assert torch.equal(direction(model), direction(twin))
    for mine, theirs in zip(optimizer.state.values(), plain.state.values(), strict=True):
        assert torch.equal(mine["momentum_buffer"], theirs["momentum_buffer"])
    assert not torch.equal(weights(model), weights(twin))


def test_decoupled_each_group_moves_at_its_own_rate() -> None:
    model, twin = mlp(), mlp()
    for net, make in ((model, lambda b: WSAM(b, gamma=0.5)), (twin, SAM)):
        groups = [{"params": net[0].parameters(), "lr": 0.0}, {"params": net[2].parameters(), "lr": 0.2}]
        optimizer = make(torch.optim.SGD(groups, lr=0.1))
        for number in range(3):
            optimizer.step(closure(optimizer, net, seed=number))
    assert torch.equal(weights(model)[:25], weights(mlp())[:25])
    assert same(weights(model), weights(twin))


@pytest.mark.parametrize("gamma", [1.0, -0.1, float("nan")])
def test_a_weight_outside_its_range_is_refused(gamma: float) -> None:
    with pytest.raises(UsageError, match="gamma must be a finite number ≥ 0 and < 1"):
        WSAM(sgd(mlp()), gamma=gamma)


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(UsageError, match="mode must be one of decoupled, coupled"):
        WSAM(sgd(mlp()), mode="both")  # type: ignore[arg-type]
