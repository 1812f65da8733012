"""LookSAM: published values, the rule in numpy, its reductions, and nothing where there is nothing to use again."""

import math

import numpy as np
import pytest
import torch
from optim import fixture_function
from optim.battery import closure, direction, mlp, sgd, weights
from optim.numpy_network import Loss, Rule, assert_same_run
from optim.twins import end
from torch import Tensor, nn

from landscape.errors import UsageError
from landscape.optim import OPTIMIZERS, SAM, Every, LookSAM

RHO, ALPHA, K = 0.1, 0.7, 3


def look_rule() -> Rule:
    number, added = 0, np.zeros(0)

    def rule(w: np.ndarray, loss: Loss) -> np.ndarray:
        nonlocal number, added
        g = loss(w)[1]
        number += 1
        if (number - 1) % K:
            return g + ALPHA * np.linalg.norm(g) * added / np.linalg.norm(added)
        s = loss(w + RHO * g / np.linalg.norm(g))[1]
        added = s - (g @ s) / (g @ g) * g
        return s

    return rule


def test_twenty_steps_agree_with_the_rule_in_numpy() -> None:
    assert_same_run(lambda model, base: LookSAM(base, rho=RHO, alpha=ALPHA, k=K), look_rule())


def test_the_step_at_the_fixture_and_the_one_after_it_are_the_published_ones() -> None:
    handed, optimizer = fixture_function.step(lambda base: LookSAM(base, rho=0.1, alpha=0.7))
    assert fixture_function.close(handed, (2.0753353732, -2.0865700429, 2.1855528488))
    added = torch.tensor([-0.0793360074, 0.0681013377, 0.1565706320], dtype=torch.float64)
    torch.testing.assert_close(optimizer.memory["added"], added / added.norm(), rtol=0, atol=1e-9)

    w = optimizer.flat.parameters[0]
    w.data.copy_(torch.tensor([0.9, -0.4, 0.2], dtype=torch.float64))

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        loss = fixture_function.value(w)
        loss.backward()
        return loss

    optimizer.step(evaluate)
    assert w.grad is not None
    assert fixture_function.close(w.grad, (0.7855741672, -0.8286819147, 2.9546307095))


def test_with_a_period_of_one_it_is_sam_bit_for_bit() -> None:
    assert torch.equal(end(lambda b: LookSAM(b, rho=0.1, k=1)), end(lambda b: SAM(b, rho=0.1)))


def test_with_nothing_used_again_it_is_sam_now_and_then() -> None:
    def now_and_then(base: torch.optim.Optimizer) -> SAM:
        optimizer = SAM(base, rho=0.1)
        optimizer.policy = Every(4)
        return optimizer

    assert torch.equal(
        end(lambda b: LookSAM(b, rho=0.1, k=4, alpha=0.0), steps=10), end(now_and_then, steps=10)
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_what_is_used_again_is_orthogonal_to_its_gradient_and_as_long_as_asked(
    dtype: torch.dtype, tolerance: float
) -> None:
    model = mlp().to(dtype)
    optimizer = LookSAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.5, alpha=0.3)
    gradients: list[Tensor] = []

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(0), dtype=dtype)
        loss = nn.functional.cross_entropy(model(x), torch.arange(16) % 3)
        loss.backward()
        gradients.append(direction(model).clone())
        return loss

    optimizer.step(evaluate)
    g, perturbed = gradients
    added = optimizer.memory["added"]
    assert isinstance(added, Tensor)
    assert abs(added @ g) <= tolerance * g.norm()
    assert added @ perturbed > 0
    optimizer.step(evaluate)
    torch.testing.assert_close((direction(model) - gradients[2]).norm(), 0.3 * gradients[2].norm())


def test_rounding_is_not_used_again() -> None:
    """Where SAM's gradient is along the gradient, what is orthogonal in floating point is noise."""
    for dtype in (torch.float64, torch.float32):
        w = nn.Parameter(torch.randn(50, generator=torch.Generator().manual_seed(0)).to(dtype))
        optimizer = LookSAM(torch.optim.SGD([w], lr=0.1), rho=0.3)

        def evaluate(w: nn.Parameter = w) -> Tensor:
            w.grad = None
            loss = 1.7 * (w**2).sum()
            loss.backward()
            return loss

        optimizer.step(evaluate)
        assert not torch.as_tensor(optimizer.memory["added"]).any()
        before = w.detach().clone()
        optimizer.step(evaluate)
        torch.testing.assert_close(w.grad, 3.4 * before)


def test_a_gradient_costs_what_the_table_says() -> None:
    model = mlp()
    optimizer = LookSAM(sgd(model), k=4)
    for number in range(12):
        optimizer.step(closure(optimizer, model, seed=number))
    assert OPTIMIZERS["looksam"].cost == "1 + 1/k"
    assert optimizer.gradient_evaluations / optimizer.steps == 1 + 1 / 4
    assert optimizer.sam_steps == 3


def test_a_first_step_that_is_skipped_is_taken_again_as_sams() -> None:
    model = mlp()
    before = weights(model)
    optimizer = LookSAM(sgd(model))
    optimizer.step(closure(optimizer, model, scale=math.nan))
    assert torch.equal(weights(model), before)
    optimizer.step(closure(optimizer, model))
    assert (optimizer.steps, optimizer.sam_steps, optimizer.skipped_steps) == (1, 1, 1)


@pytest.mark.parametrize(
    "options", [{"k": 0}, {"k": 2.5}, {"alpha": -0.1}, {"alpha": math.nan}, {"rho": -1.0}]
)
def test_options_outside_their_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(options))} must be"):
        LookSAM(sgd(mlp()), **options)  # type: ignore[arg-type]
