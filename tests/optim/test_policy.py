"""A policy goes with any rule: SS-GSAM is made of its parts, and is neither of them."""

import copy

import torch
from optim.battery import closure, mlp, sgd
from optim.twins import end
from torch import Tensor

from landscape.optim import ERM, GSAM, SAM, WSAM, Bernoulli, Every, SharpnessAware


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
    for number in range(10):
        twin = copy.deepcopy(model)
        optimizer.step(closure(optimizer, model, seed=number))
        plain = (ERM, gsam)[len(optimizer.losses) - 1](torch.optim.SGD(twin.parameters(), lr=0.1))
        plain.step(closure(plain, twin, seed=number))
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
    assert 0 < optimizer.sam_steps < 10
    assert optimizer.gradient_evaluations == 10 + optimizer.sam_steps


def test_a_step_that_fails_throws_the_same_coin_again() -> None:
    model = mlp()
    optimizer = ss_gsam(sgd(model))
    evaluate = closure(optimizer, model)
    branches = []
    for number in range(12):
        before = optimizer.draws

        def fails() -> Tensor:
            if optimizer.losses:  # the coin said so
                raise KeyboardInterrupt
            return evaluate()

        try:
            optimizer.step(fails)
            failed = False
        except KeyboardInterrupt:
            failed = True
            assert optimizer.draws == before
            optimizer.step(evaluate)
        assert (len(optimizer.losses) == 2) == failed
        assert optimizer.draws != before
        assert optimizer.steps == number + 1
        branches.append(failed)
    assert 0 < sum(branches) < 12


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


def test_a_correction_after_the_step_is_left_out_where_the_policy_leaves_out_the_rule() -> None:
    def wsam(base: torch.optim.Optimizer, p: float = 0.5) -> SharpnessAware:
        optimizer = WSAM(base, rho=0.1)
        optimizer.policy = Bernoulli(p)
        return optimizer

    assert torch.equal(end(lambda base: wsam(base, 0.0)), end(ERM))
    for other in (ERM, lambda base: WSAM(base, rho=0.1)):
        assert not torch.allclose(end(wsam), end(other))
