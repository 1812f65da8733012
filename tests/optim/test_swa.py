"""SWA: which weights are averaged, also those of another rule, and that descent is not disturbed."""

import copy

import pytest
import torch
from optim.battery import build, closure, mlp, sgd, weights
from torch import Tensor

from landscape.errors import UsageError
from landscape.optim import ERM, SAM, SWA, SharpnessAware, WeightAverage


class AveragedSAM(WeightAverage, SAM):
    pass


def run(optimizer: SharpnessAware, model: torch.nn.Module, steps: int) -> list[Tensor]:
    """The weights after each step."""
    passed = []
    for number in range(steps):
        optimizer.step(closure(optimizer, model, seed=number))
        passed.append(weights(model))
    return passed


@pytest.mark.parametrize(
    ("options", "averaged"),
    [
        ({"start": 0.75}, [10, 11, 12]),
        ({"start": 0.75, "interval": 2}, [10, 12]),
        ({"start": 0.0, "interval": 5}, [5, 10]),
        ({"start": 0.99}, [12]),
        ({"start": 1.0}, []),
    ],
)
def test_the_mean_is_that_of_the_last_weights(options: dict[str, float], averaged: list[int]) -> None:
    model = mlp()
    optimizer = SWA(sgd(model), total_steps=12, **options)
    passed = run(optimizer, model, 12)
    mean = optimizer.evaluation_weights()
    if not averaged:
        assert mean is None
        return
    torch.testing.assert_close(
        mean, torch.stack([passed[n - 1] for n in averaged]).mean(0), rtol=1e-12, atol=1e-14
    )


def test_one_weight_is_copied_and_equal_ones_are_their_mean() -> None:
    model = mlp()
    optimizer = SWA(torch.optim.SGD(model.parameters(), lr=0.0), total_steps=5, start=0.0)
    run(optimizer, model, 5)
    assert torch.equal(optimizer.evaluation_weights(), weights(model))


def test_descent_is_that_of_the_averaged_rule_bit_for_bit() -> None:
    for average, rule, options in ((SWA, ERM, {}), (AveragedSAM, SAM, {"rho": 0.2})):
        models = [mlp(), mlp()]
        averaging = average(sgd(models[0]), total_steps=6, start=0.5, **options)
        plain = rule(sgd(models[1]), **options)
        passed = run(averaging, models[0], 6)
        assert torch.equal(passed[-1], run(plain, models[1], 6)[-1])
        torch.testing.assert_close(averaging.evaluation_weights(), torch.stack(passed[3:]).mean(0))
        assert averaging.gradient_evaluations == plain.gradient_evaluations
        assert plain.evaluation_weights() is None


def test_the_mean_goes_on_after_a_resume_bit_for_bit() -> None:
    model, twin = mlp(), mlp()
    optimizer = SWA(sgd(model), total_steps=8, start=0.25)
    resumed = SWA(sgd(twin), total_steps=8, start=0.25)
    run(optimizer, model, 4)
    twin.load_state_dict(model.state_dict())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    run(optimizer, model, 4)
    run(resumed, twin, 4)
    assert torch.equal(optimizer.evaluation_weights(), resumed.evaluation_weights())


@pytest.mark.parametrize("option", ["total_steps=0", "start=-0.1", "start=1.1", "interval=0"])
def test_bad_options_are_refused(option: str) -> None:
    with pytest.raises(UsageError, match=option.split("=")[0]):
        build(f"swa:{option}", mlp())
