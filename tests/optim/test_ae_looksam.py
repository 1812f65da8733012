"""AE-LookSAM: AE-SAM's steps with LookSAM's rule, and nothing of its own."""

import copy
import math

import numpy as np
import pytest
import torch
from optim.battery import closure, mlp, sgd, weights
from optim.numpy_network import Loss, assert_same_run
from optim.twins import end

from landscape.errors import UsageError
from landscape.optim import ERM, SAM, AELookSAM, LongGradient, LookSAM

TOTAL = 20


@pytest.mark.parametrize("within", [None, 2])
def test_twenty_steps_agree_with_the_rule_in_numpy(within: int | None) -> None:
    mean, variance, step, added = 0.0, math.exp(-10), 0, np.zeros(0)
    taken: list[bool] = []

    def rule(w: np.ndarray, loss: Loss) -> np.ndarray:
        nonlocal mean, variance, step, added
        g = loss(w)[1]
        s = g @ g
        mean = 0.9 * mean + 0.1 * s
        variance = 0.9 * variance + 0.1 * (s - mean) ** 2
        c = step / TOTAL * -1.0 + (1 - step / TOTAL) * 1.5
        step += 1
        is_old = within is not None and len(taken) >= within and not any(taken[-within:])
        taken.append(bool(s >= mean + c * math.sqrt(variance)) or is_old)
        if not taken[-1]:
            return g + 0.4 * np.linalg.norm(g) * added / np.linalg.norm(added)
        p = loss(w + 0.1 * g / np.linalg.norm(g))[1]
        added = p - (g @ p) / (g @ g) * g
        return p

    def make(model: torch.nn.Module, base: torch.optim.Optimizer) -> AELookSAM:
        options = {"rho": 0.1, "alpha": 0.4, "lambda1": -1.0, "lambda2": 1.5}
        return AELookSAM(base, total_steps=TOTAL, renew_within=within, **options)

    assert_same_run(make, rule)
    assert 3 < sum(taken) < 17


def test_it_is_looksam_with_the_policy_of_ae_sam() -> None:
    def composed(base: torch.optim.Optimizer) -> LookSAM:
        optimizer = LookSAM(base, rho=0.1)
        optimizer.policy = LongGradient(12, delta=0.9, lambda1=0.0, lambda2=2.0)
        return optimizer

    ends = [end(make, steps=12) for make in (composed, lambda b: AELookSAM(b, total_steps=12, rho=0.1))]
    assert torch.equal(ends[0], ends[1])


@pytest.mark.parametrize("threshold", [-4.0, 4.0])
def test_with_a_threshold_out_of_reach_it_is_sam_or_its_base(threshold: float) -> None:
    def make(base: torch.optim.Optimizer) -> AELookSAM:
        return AELookSAM(base, total_steps=6, rho=0.1, lambda1=threshold, lambda2=threshold)

    assert torch.equal(end(make), end((lambda b: SAM(b, rho=0.1)) if threshold < 0 else ERM))


def test_a_step_that_uses_again_what_was_found_is_no_sam_step() -> None:
    model = mlp()
    optimizer = AELookSAM(sgd(model), total_steps=30)
    second = 0
    for number in range(30):
        optimizer.step(closure(optimizer, model, seed=number))
        second += len(optimizer.losses) - 1
    assert 0 < second < 20
    assert (optimizer.sam_steps, optimizer.gradient_evaluations) == (second, 30 + second)


def test_options_outside_their_range_are_refused() -> None:
    with pytest.raises(UsageError, match="alpha must be"):
        AELookSAM(sgd(mlp()), total_steps=5, alpha=-1.0)


@pytest.mark.parametrize("within", [1, 3, 7])
def test_what_is_kept_is_used_so_many_steps_in_a_row_at_most(within: int) -> None:
    model = mlp()
    optimizer = AELookSAM(sgd(model), total_steps=40, lambda1=3.1, lambda2=3.1, renew_within=within)
    passes = ""
    for number in range(40):
        optimizer.step(closure(optimizer, model, seed=number))
        passes += str(len(optimizer.losses))
    # The first step has a long gradient, and hardly another one.
    between = [len(kept) for kept in passes.strip("1").split("2")[1:-1]]
    assert max(between) == within
    assert passes[0] == "2"


def test_a_resumed_run_remembers_how_old_the_kept_part_is() -> None:
    def make(model: torch.nn.Module) -> AELookSAM:
        return AELookSAM(sgd(model), total_steps=40, lambda1=3.1, lambda2=3.1, renew_within=4)

    models = [mlp(), mlp()]
    whole, resumed = map(make, models)
    for number in range(3):
        whole.step(closure(whole, models[0], seed=number))
    models[1].load_state_dict(models[0].state_dict())
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    for number in range(3, 12):
        for model, optimizer in zip(models, (whole, resumed), strict=True):
            optimizer.step(closure(optimizer, model, seed=number))
        assert len(whole.losses) == len(resumed.losses)
    assert torch.equal(*map(weights, models))
    assert whole.sam_steps == resumed.sam_steps > 2
