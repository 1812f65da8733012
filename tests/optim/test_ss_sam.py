"""SS-SAM: its two ends, its coin and its cost."""

import copy

import pytest
import torch
from optim.battery import closure, mlp, sgd
from optim.twins import end
from torch import nn

from landscape.draws import Draws
from landscape.errors import UsageError
from landscape.optim import ERM, OPTIMIZERS, SAM, SSSAM


@pytest.mark.parametrize("layers", [(), (nn.Dropout(0.5),)])
def test_with_certainty_it_is_sam_and_with_none_its_base_bit_for_bit(layers: tuple[nn.Module, ...]) -> None:
    sam, base = end(lambda b: SAM(b, rho=0.1), *layers), end(ERM, *layers)
    assert torch.equal(end(lambda b: SSSAM(b, rho=0.1, p=1.0), *layers), sam)
    assert torch.equal(end(lambda b: SSSAM(b, rho=0.1, p=0.0), *layers), base)
    assert not torch.equal(sam, base)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_sam_steps_are_as_frequent_as_asked_within_four_standard_errors(p: float) -> None:
    policy = OPTIMIZERS.build(f"ss-sam:p={p}", sgd(mlp())).policy  # type: ignore[attr-defined]
    draws = [policy.looks_around(torch.zeros(1), {}, step=i, draws=Draws(0, i)) for i in range(2000)]
    assert abs(sum(draws) / 2000 - p) < 4 * (p * (1 - p) / 2000) ** 0.5


def test_a_step_without_a_second_gradient_is_no_sam_step() -> None:
    model = mlp()
    optimizer = SSSAM(sgd(model), p=0.5)
    second = 0
    for number in range(20):
        optimizer.step(closure(optimizer, model, seed=number))
        second += len(optimizer.losses) - 1
    assert 0 < second < 20
    assert (optimizer.sam_steps, optimizer.gradient_evaluations) == (second, 20 + second)


def test_a_resumed_run_draws_the_same_coins() -> None:
    def coins(optimizer: SSSAM, model: nn.Module) -> list[int]:
        taken = []
        for number in range(15):
            optimizer.step(closure(optimizer, model, seed=number))
            taken.append(len(optimizer.losses))
        return taken

    model, twin = mlp(), mlp()
    optimizer, resumed = SSSAM(sgd(model)), SSSAM(sgd(twin))
    first = coins(optimizer, model)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    second = coins(optimizer, model)
    assert coins(resumed, twin) == second
    assert second != first


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_a_probability_outside_its_range_is_refused(p: float) -> None:
    with pytest.raises(UsageError, match="p must be a finite number ≥ 0 and ≤ 1"):
        SSSAM(sgd(mlp()), p=p)
