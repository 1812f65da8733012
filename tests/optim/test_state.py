"""What is saved: the state of base and variant, refused where it does not fit, and copies that go on."""

import copy
import io
import pickle

import pytest
import torch
from optim.battery import closure, mlp, sgd, weights
from torch import nn

from landscape.errors import InputError
from landscape.optim import ASAM, ERM, GSAM, SAM


def test_the_state_of_another_optimizer_is_refused_by_name() -> None:
    state = GSAM(sgd(mlp())).state_dict()
    with pytest.raises(InputError, match="this state is GSAM over SGD, and the optimizer is SAM over SGD"):
        SAM(sgd(mlp())).load_state_dict(state)
    with pytest.raises(InputError, match="GSAM over AdamW"):
        GSAM(torch.optim.AdamW(mlp().parameters())).load_state_dict(state)
    with pytest.raises(InputError, match=r"optimizer.base.load_state_dict"):
        ERM(sgd(mlp())).load_state_dict(sgd(mlp()).state_dict())


def test_a_state_that_does_not_fit_changes_nothing() -> None:
    model = mlp()
    optimizer = SAM(sgd(model))
    optimizer.step(closure(optimizer, model))
    other = SAM(
        torch.optim.SGD([{"params": mlp()[0].parameters()}, {"params": mlp()[2].parameters()}], lr=0.1)
    )
    with pytest.raises(InputError, match="of parameter groups with shapes"):
        optimizer.load_state_dict(other.state_dict())
    assert optimizer.steps == 1


def test_a_state_of_other_shapes_is_refused_before_a_step_goes_wrong() -> None:
    small, large = mlp(), nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    saved = SAM(sgd(small))
    saved.step(closure(saved, small))
    optimizer = SAM(sgd(large))
    with pytest.raises(InputError, match=r"\[5, 4\].*and the optimizer has .*\[5, 6\].*build the network"):
        optimizer.load_state_dict(saved.state_dict())
    assert optimizer.steps == 0
    assert not optimizer.state


def test_the_radius_of_a_group_is_part_of_the_state() -> None:
    optimizer = SAM(sgd(mlp()), rho=0.1)
    optimizer.param_groups[0]["rho"] = 0.025
    again = SAM(sgd(mlp()), rho=0.1)
    again.load_state_dict(optimizer.state_dict())
    assert again.param_groups[0]["rho"] == 0.025


@pytest.mark.parametrize("copy_of", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_copy_of_model_and_optimizer_goes_on_by_itself(copy_of) -> None:  # type: ignore[no-untyped-def]
    model = mlp()
    optimizer = ASAM(sgd(model), model=model)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    optimizer.step(closure(optimizer, model))
    twin, twin_optimizer = copy_of((model, optimizer))
    before = weights(model)
    twin_optimizer.step(closure(twin_optimizer, twin))
    assert torch.equal(weights(model), before)
    optimizer.step(closure(optimizer, model))
    assert torch.equal(weights(model), weights(twin))


def test_saving_is_not_disturbed_by_further_steps() -> None:
    model = mlp()
    optimizer = SAM(sgd(model))
    optimizer.step(closure(optimizer, model))
    file = io.BytesIO()
    state = optimizer.state_dict()
    torch.save(state, file)
    optimizer.step(closure(optimizer, model))
    assert state["counters"]["steps"] == 1
