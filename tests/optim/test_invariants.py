"""What every sharpness-aware optimizer has to keep, over every row of the table: a new row is tested at once."""

import copy
import io

import pytest
import torch
from optim.battery import (
    IN_UNITS_OF_THE_LOSS,
    MULTIPLES,
    build,
    closure,
    direction,
    every_variant,
    mlp,
    of_gradients,
    sgd,
    weights,
    with_radius_only,
)
from torch import Tensor, nn

from landscape.optim import ERM, BatchClosure


@with_radius_only
def test_with_radius_zero_it_is_its_base(name: str) -> None:
    models = [mlp(), mlp()]
    optimizers = [build(f"{name}:rho=0", models[0]), ERM(sgd(models[1]))]
    for number in range(5):
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.step(closure(optimizer, model, seed=number))
    torch.testing.assert_close(weights(models[0]), weights(models[1]), rtol=1e-12, atol=1e-14)


@with_radius_only
@pytest.mark.parametrize("layer", [nn.Identity(), nn.Dropout(0.5)])
def test_with_radius_zero_and_dropout_it_is_its_base_and_draws_the_same_numbers(
    name: str, layer: nn.Module
) -> None:
    models = [mlp(layer), mlp(layer)]
    optimizers = [build(f"{name}:rho=0", models[0]), ERM(sgd(models[1]))]
    states = []
    for model, optimizer in zip(models, optimizers, strict=True):
        torch.manual_seed(5)
        for number in range(3):
            optimizer.step(closure(optimizer, model, seed=number))
        states.append(torch.get_rng_state())
    torch.testing.assert_close(weights(models[0]), weights(models[1]), rtol=1e-12, atol=1e-14)
    assert torch.equal(states[0], states[1])


@of_gradients
def test_on_a_linear_loss_the_direction_is_its_gradient(name: str) -> None:
    model = nn.Linear(3, 1, bias=False).double()
    w = model.weight
    optimizer = build(name, model, torch.optim.SGD([w], lr=0.1))
    slope = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        loss = model(slope).sum()
        loss.backward()
        return loss

    rows = BatchClosure(
        model,
        lambda outputs, _: outputs[:, 0],
        inputs=slope.expand(16, 3),
        targets=torch.zeros(16, dtype=torch.int64),
        indices=torch.arange(16),
    )
    for _ in range(3):
        optimizer.step(rows if optimizer.needs_batch else evaluate)
        torch.testing.assert_close(w.grad, MULTIPLES.get(name, 1) * slope, rtol=1e-12, atol=1e-12)


@of_gradients
def test_a_zero_gradient_is_a_step_of_the_base(name: str) -> None:
    models = [mlp(), mlp()]
    for model, optimizer in (
        (models[0], build(name, models[0])),
        (models[1], ERM(sgd(models[1]))),
    ):
        for _ in range(2):
            optimizer.step(closure(optimizer, model, scale=0.0))
        assert (optimizer.steps, optimizer.skipped_steps) == (2, 0)
    assert torch.equal(weights(models[0]), weights(models[1]))
    assert not torch.equal(weights(models[0]), weights(mlp()))  # weight decay acts


def _directions_by_unit_of_the_loss(name: str) -> list[Tensor]:
    directions = []
    for scale in (1.0, 1e3):
        model = mlp()
        optimizer = build(name, model)
        optimizer.step(closure(optimizer, model, scale=scale))
        directions.append(direction(model) / scale)
    return directions


@of_gradients
def test_direction_scales_with_the_loss(name: str) -> None:
    one, other = _directions_by_unit_of_the_loss(name)
    if name in IN_UNITS_OF_THE_LOSS:
        assert (one - other).norm() > 1e-3 * one.norm()
    else:
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-11)


@every_variant
@pytest.mark.parametrize("base", ["SGD", "AdamW"])
def test_a_resumed_run_goes_on_bit_for_bit(name: str, base: str) -> None:
    def fresh() -> tuple[nn.Module, torch.optim.Optimizer]:
        model = mlp(nn.Dropout(0.1))
        made = sgd(model) if base == "SGD" else torch.optim.AdamW(model.parameters(), lr=0.01)
        return model, build(name, model, made)

    model, optimizer = fresh()
    for number in range(3):
        optimizer.step(closure(optimizer, model, seed=number))
    file = io.BytesIO()
    torch.save(
        {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "rng": torch.get_rng_state()}, file
    )
    for number in range(3, 6):
        optimizer.step(closure(optimizer, model, seed=number))

    saved = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    again, resumed = fresh()
    again.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["optimizer"])
    torch.set_rng_state(saved["rng"])
    for number in range(3, 6):
        resumed.step(closure(resumed, again, seed=number))
    assert torch.equal(weights(model), weights(again))
    counters = ("steps", "sam_steps", "skipped_steps", "gradient_evaluations")
    assert all(getattr(optimizer, key) == getattr(resumed, key) for key in counters)


@every_variant
def test_a_state_of_an_earlier_version_goes_on(name: str) -> None:
    """It holds the state of a generator in place of a seed, and numbers where there are tensors now."""
    models = [mlp(), mlp()]
    optimizer, resumed = (build(name, model) for model in models)
    for number in range(17):  # SWA averages the last quarter of 20
        optimizer.step(closure(optimizer, models[0], seed=number))
    state = copy.deepcopy(optimizer.state_dict())
    del state["seed"]
    state["generator"] = torch.Generator().get_state()
    state["memory"] = {n: v if torch.as_tensor(v).ndim else float(v) for n, v in state["memory"].items()}
    models[1].load_state_dict(models[0].state_dict())
    resumed.load_state_dict(state)
    for number in range(17, 20):
        for model, each in zip(models, (optimizer, resumed), strict=True):
            each.step(closure(each, model, seed=number))
    assert torch.equal(*map(weights, models))
    assert all(
        torch.equal(*map(torch.as_tensor, (v, optimizer.memory[n]))) for n, v in resumed.memory.items()
    )


@every_variant
def test_state_holds_no_copy_of_the_weights(name: str) -> None:
    model = mlp()
    optimizer = build(name, model, torch.optim.SGD(model.parameters(), lr=0.1))
    optimizer.step(closure(optimizer, model))
    state = optimizer.state_dict()
    assert not any(isinstance(value, Tensor) for s in state["base"]["state"].values() for value in s.values())
    assert not any(
        torch.equal(torch.as_tensor(v).flatten(), weights(model)) for v in state["memory"].values()
    )
