"""Groups shared with the base: schedulers, radii of their own, groups that join, hooks."""

import pytest
import torch
from optim.battery import Watch, closure, mlp, sgd, weights

from landscape.optim import SAM


@pytest.mark.parametrize("attach_to_base", [True, False])
@pytest.mark.filterwarnings("error")
def test_a_scheduler_attaches_to_the_optimizer_or_its_base(attach_to_base: bool) -> None:
    model = mlp()
    optimizer = SAM(sgd(model, lr=0.4))
    schedule = torch.optim.lr_scheduler.StepLR(optimizer.base if attach_to_base else optimizer, 1, gamma=0.5)
    for expected in (0.4, 0.2, 0.1):
        assert (
            optimizer.param_groups[0]["lr"] == optimizer.base.param_groups[0]["lr"] == pytest.approx(expected)
        )
        optimizer.step(closure(optimizer, model))
        schedule.step()


def test_groups_are_shared_with_the_base_also_after_either_has_loaded_a_state() -> None:
    optimizer = SAM(sgd(mlp()))
    for load in (
        lambda: None,
        lambda: optimizer.load_state_dict(optimizer.state_dict()),
        lambda: optimizer.base.load_state_dict(optimizer.base.state_dict()),
    ):
        load()
        assert optimizer.param_groups is optimizer.base.param_groups
        assert optimizer.state is optimizer.base.state


def test_a_base_that_loads_a_state_without_a_radius_gets_the_default() -> None:
    plain = sgd(mlp())
    optimizer = SAM(sgd(mlp()), rho=0.3)
    optimizer.base.load_state_dict(plain.state_dict())
    assert optimizer.param_groups[0]["rho"] == 0.3


def test_a_base_that_is_wrapped_again_takes_the_new_radius() -> None:
    model = mlp()
    base = torch.optim.SGD(
        [{"params": model[0].parameters(), "rho": 0.7}, {"params": model[2].parameters()}], lr=0.1
    )
    SAM(base, rho=0.05)
    SAM(base, rho=0.2)
    assert [group["rho"] for group in base.param_groups] == [0.7, 0.2]


@pytest.mark.parametrize("through_base", [True, False])
def test_a_group_can_be_added_between_steps(through_base: bool) -> None:
    model = mlp()
    optimizer = SAM(torch.optim.SGD(model[0].parameters(), lr=0.1), rho=0.1)
    optimizer.step(closure(optimizer, model))
    (optimizer.base if through_base else optimizer).add_param_group(
        {"params": model[2].parameters(), "rho": 0.0}
    )
    before = weights(model)
    watch = Watch(closure(optimizer, model), model)
    optimizer.step(watch)
    assert torch.equal(watch.points[1][25:], before[25:])
    assert not torch.equal(weights(model)[25:], before[25:])


def test_a_group_without_a_radius_gets_the_default() -> None:
    model = mlp()
    optimizer = SAM(torch.optim.SGD(model[0].parameters(), lr=0.1), rho=0.4)
    optimizer.add_param_group({"params": model[2].parameters()})
    assert optimizer.param_groups[1]["rho"] == 0.4


def test_zero_grad_clears_the_gradients() -> None:
    model = mlp()
    optimizer = SAM(sgd(model))
    optimizer.step(closure(optimizer, model))
    optimizer.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_step_hooks_see_every_step() -> None:
    model = mlp()
    optimizer = SAM(sgd(model))
    seen: list[str] = []
    optimizer.register_step_post_hook(lambda *_: seen.append("optimizer"))
    optimizer.base.register_step_post_hook(lambda *_: seen.append("base"))
    optimizer.step(closure(optimizer, model))
    assert seen == ["base", "optimizer"]


def test_a_profiler_sees_every_step() -> None:
    model = mlp()
    optimizer = SAM(sgd(model))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        optimizer.step(closure(optimizer, model))
    assert "Optimizer.step#SAM.step" in {event.key for event in profile.key_averages()}
