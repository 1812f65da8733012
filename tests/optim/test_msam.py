"""Momentum-SAM: the published value, the point ahead, its one gradient, and the base at radius zero."""

import pytest
import torch
from optim import fixture_function
from optim.battery import Watch, closure, direction, mlp, sgd, weights
from torch import Tensor

from landscape.optim import MSAM


def test_direction_at_the_fixture_is_the_published_one() -> None:
    w = torch.tensor(fixture_function.POINT, dtype=torch.float64, requires_grad=True)
    base = torch.optim.SGD([w], lr=1.0, momentum=0.9)
    base.state[w]["momentum_buffer"] = torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64)
    optimizer = MSAM(base, rho=0.1)

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        loss = fixture_function.value(w)
        loss.backward()
        return loss

    optimizer.step(evaluate)
    assert w.grad is not None
    assert fixture_function.close(w.grad, (1.6524814815, -1.6124814815, 1.5557268519))
    velocity = 0.9 * torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64) + w.grad
    torch.testing.assert_close(w.detach(), torch.tensor(fixture_function.POINT).double() - velocity)


@pytest.mark.parametrize("key", ["momentum_buffer", "exp_avg"])
def test_the_gradient_is_taken_at_distance_rho_ahead_along_the_momentum(key: str) -> None:
    model = mlp()
    base = sgd(model) if key == "momentum_buffer" else torch.optim.AdamW(model.parameters(), lr=0.01)
    optimizer = MSAM(base, rho=0.3)
    optimizer.step(closure(optimizer, model))
    before = weights(model)
    v = torch.cat([optimizer.state[p][key].flatten().clone() for p in model.parameters()])
    watch = Watch(closure(optimizer, model), model)
    optimizer.step(watch)
    torch.testing.assert_close(watch.points[0] - before, -0.3 * v / v.norm(), rtol=1e-9, atol=1e-12)


def test_over_a_base_without_momentum_it_looks_ahead_along_the_last_gradient() -> None:
    model = mlp()
    optimizer = MSAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.3)
    optimizer.step(closure(optimizer, model))
    g, before = direction(model), weights(model)
    watch = Watch(closure(optimizer, model, seed=5), model)
    optimizer.step(watch)
    torch.testing.assert_close(watch.points[0] - before, -0.3 * g / g.norm(), rtol=1e-9, atol=1e-12)


def test_it_keeps_no_momentum_of_its_own_where_the_base_has_one() -> None:
    model = mlp()
    optimizer = MSAM(sgd(model))
    optimizer.step(closure(optimizer, model))
    assert not optimizer.memory


def test_a_step_takes_one_gradient_and_leaves_the_weights_not_displaced() -> None:
    model = mlp()
    optimizer = MSAM(sgd(model), rho=0.5)
    for _ in range(3):
        before = weights(model)
        optimizer.step(closure(optimizer, model))
    velocity = torch.cat([optimizer.state[p]["momentum_buffer"].flatten() for p in model.parameters()])
    torch.testing.assert_close(weights(model), before - 0.1 * velocity, rtol=1e-12, atol=1e-14)
    assert (optimizer.gradient_evaluations, optimizer.sam_steps) == (3, 0)
