"""A policy goes with any rule: SS-GSAM is made of its parts, and is neither of them."""

import copy

import torch
from optim.battery import closure, mlp, sgd
from optim.twins import end
from torch import Tensor

from landscape.optim import ERM, GSAM, SAM, Bernoulli, Every, SharpnessAware


def ss_gsam(base: torch.optim.Optimizer, p: float = 0.5) -> SharpnessAware:
    optimizer = GSAM(base, rho=0.1, alpha=0.4)
    optimizer.policy = Bernoulli(p)
    return optimizer


def gsam(base: torch.optim.Optimizer) -> SharpnessAware:
    return GSAM(base, rho=0.1, alpha=0.4)


def test_ss_gsam_is_a_policy_put_on_gsam() -> None:
    assert torch.equal(end(lambda base: ss_gsam(base, 1.0)), end(gsam))
    assert torch.equal(end(lambda base: ss_gsam(base, 0.0)), end(ERM))
    for other in (gsam, ERM, lambda base: SAM(base, rho=0.1)):
        assert not torch.allclose(end(ss_gsam), end(other))


def test_ss_gsam_takes_gsams_step_where_the_coin_says_so_and_the_base_elsewhere() -> None:
    model = mlp()
    optimizer = ss_gsam(torch.optim.SGD(model.parameters(), lr=0.1))
    coin = torch.Generator().manual_seed(0)
    for number in range(10):
        twin = copy.deepcopy(model)
        heads = bool(torch.rand((), generator=coin) < 0.5)
        plain = (gsam if heads else ERM)(torch.optim.SGD(twin.parameters(), lr=0.1))
        optimizer.step(closure(optimizer, model, seed=number))
        plain.step(closure(plain, twin, seed=number))
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
        assert len(optimizer.losses) == 1 + heads
    assert 0 < optimizer.sam_steps < 10
    assert optimizer.gradient_evaluations == 10 + optimizer.sam_steps


def test_a_step_that_fails_leaves_the_coin_where_it_was() -> None:
    model = mlp()
    optimizer = ss_gsam(sgd(model))
    before = optimizer.generator.get_state()
    evaluate = closure(optimizer, model)

    def poisoned() -> Tensor:
        loss = evaluate()
        if len(optimizer.losses) == 1:  # the coin was thrown
            model[0].bias.grad.fill_(torch.nan)
        return loss

    optimizer.step(poisoned)
    assert (optimizer.steps, optimizer.skipped_steps) == (0, 1)
    assert torch.equal(optimizer.generator.get_state(), before)


def test_every_other_step_is_every_other_step() -> None:
    model = mlp()
    optimizer = SAM(sgd(model))
    optimizer.policy = Every(2)
    passes = []
    for number in range(6):
        optimizer.step(closure(optimizer, model, seed=number))
        passes.append(len(optimizer.losses))
    assert passes == [2, 1, 2, 1, 2, 1]
    assert optimizer.sam_steps == 3
