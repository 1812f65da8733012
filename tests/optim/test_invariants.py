"""What every sharpness-aware optimizer has to keep, over every row of the table: a new row is tested at once."""

import io

import pytest
import torch
from optim.battery import VARIANTS, Watch, build, closure, direction, mlp, sgd, weights
from torch import Tensor, nn

from landscape.optim import ERM, OPTIMIZERS, BatchClosure

every_variant = pytest.mark.parametrize("name", VARIANTS)
# A direction that is no gradient, whose steps are neither those of the base nor in proportion to the loss.
OWN_DIRECTION = {"ada-sam", "bsam", "entropy-sgd"}
of_gradients = pytest.mark.parametrize("name", [n for n in VARIANTS if n not in OWN_DIRECTION])
# Weights that are sampled, or a gradient of chosen examples or ahead, also where the radius is zero.
NO_BASE = {"ada-sam", "bsam", "esam", "sampa"}
# A displacement that weighs gradients against something of another unit.
IN_UNITS_OF_THE_LOSS = {"fisher-sam", "r-sam"}
with_radius = pytest.mark.parametrize("name", [n for n in VARIANTS if "rho" in OPTIMIZERS[n].options])
with_radius_only = pytest.mark.parametrize(
    "name", [n for n in VARIANTS if "rho" in OPTIMIZERS[n].options and n not in NO_BASE]
)
of_fixed_cost = pytest.mark.parametrize(
    ("name", "passes"), [(n, OPTIMIZERS[n].cost) for n in VARIANTS if isinstance(OPTIMIZERS[n].cost, int)]
)


def passes_of(name: str) -> int:
    """How many passes the first step of a variant takes."""
    model = mlp()
    optimizer = build(name, model)
    optimizer.step(closure(optimizer, model))
    return len(optimizer.losses)


each_pass = pytest.mark.parametrize(
    ("name", "failing"), [(n, i + 1) for n in VARIANTS for i in range(passes_of(n))]
)


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


@every_variant
def test_the_base_steps_from_the_very_weights(name: str) -> None:
    model = mlp()
    before = weights(model)
    base = torch.optim.SGD(model.parameters(), lr=0.1)
    seen: list[Tensor] = []
    base.register_step_pre_hook(lambda *_: seen.append(weights(model)))
    optimizer = build(name, model, base)
    watch = Watch(closure(optimizer, model), model)
    optimizer.step(watch)
    assert torch.equal(seen[0], before)
    assert len(watch.points) == 1 or any(not torch.equal(point, before) for point in watch.points)


@each_pass
@pytest.mark.parametrize("what", [RuntimeError, KeyboardInterrupt])
def test_an_exception_in_any_pass_leaves_the_weights_as_they_were(
    name: str, failing: int, what: type[BaseException]
) -> None:
    model = mlp(nn.BatchNorm1d(5))
    optimizer = build(name, model)
    before, memory = weights(model), dict(optimizer.memory)

    def fail(number: int) -> None:
        if number == failing:
            raise what("out of memory")

    with pytest.raises(what):
        optimizer.step(Watch(closure(optimizer, model), model, before=fail))
    assert torch.equal(weights(model), before)
    assert model[1].track_running_stats
    assert optimizer.steps == 0
    assert optimizer.memory == memory
    assert not optimizer.state


@each_pass
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_gradient_that_is_not_finite_in_any_pass_skips_the_step(
    name: str, failing: int, value: float
) -> None:
    model = mlp()
    optimizer = build(name, model)
    evaluate = closure(optimizer, model)
    optimizer.step(evaluate)

    def poison(number: int) -> None:
        if number == failing:
            model[2].bias.grad[1] = value

    while not optimizer.skipped_steps:  # a policy may keep some steps to fewer passes
        before, momentum = weights(model), [s["momentum_buffer"].clone() for s in optimizer.state.values()]
        steps, generator = optimizer.steps, optimizer.generator.get_state()
        assert steps < 20
        loss = optimizer.step(Watch(evaluate, model, before=poison))
    assert torch.isfinite(loss)
    assert torch.equal(weights(model), before)
    assert torch.equal(optimizer.generator.get_state(), generator)
    after = [s["momentum_buffer"] for s in optimizer.state.values()]
    assert all(torch.equal(a, b) for a, b in zip(momentum, after, strict=True))
    assert (optimizer.steps, optimizer.skipped_steps) == (steps, 1)
    optimizer.step(evaluate)
    assert torch.isfinite(weights(model)).all()
    assert (optimizer.steps, optimizer.skipped_steps) == (steps + 1, 1)


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
        targets=torch.zeros(16),
        indices=torch.arange(16),
    )
    for _ in range(3):
        optimizer.step(rows if optimizer.needs_batch else evaluate)
        torch.testing.assert_close(w.grad, slope, rtol=1e-12, atol=1e-12)


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


@of_fixed_cost
def test_gradients_a_step_are_those_of_the_table(name: str, passes: int) -> None:
    model = mlp()
    optimizer = build(name, model)
    forward: list[int] = []
    model.register_forward_hook(lambda *_: forward.append(1))
    for _ in range(4):
        optimizer.step(closure(optimizer, model))
    assert len(forward) == optimizer.gradient_evaluations == 4 * passes
    assert optimizer.steps == 4
    assert optimizer.sam_steps == (4 if passes > 1 else 0)


@every_variant
@pytest.mark.parametrize("momentum", [0.1, None])
def test_batch_norm_statistics_are_those_of_one_pass_at_the_weights(
    name: str, momentum: float | None
) -> None:
    models = [mlp(nn.BatchNorm1d(5, momentum=momentum)) for _ in range(2)]
    for model, optimizer in ((models[0], build(name, models[0])), (models[1], ERM(sgd(models[1])))):
        optimizer.step(closure(optimizer, model))
    ahead = build(name, mlp()).first_displacement()
    if ahead is None or not ahead.any():  # pass 1 is at the weights
        for key, value in models[1][1].named_buffers():
            assert torch.equal(getattr(models[0][1], key), value), key
    assert models[0][1].num_batches_tracked == 1
    assert models[0][1].track_running_stats


@every_variant
def test_every_pass_uses_the_statistics_of_the_batch(name: str) -> None:
    model = mlp(nn.BatchNorm1d(5, affine=False))
    optimizer = build(name, model)
    passes, means = [], []

    def record(module: nn.Module, inputs: object, output: Tensor) -> None:
        passes.append(module)
        if module.training:  # a gradient of examples that only choose a mask may be taken in evaluation mode
            means.append(output.mean(0).abs().max().item())

    model[1].register_forward_hook(record)
    optimizer.step(closure(optimizer, model))
    assert len(passes) >= len(optimizer.losses)
    assert max(means) < 1e-12


@every_variant
def test_every_pass_has_the_same_dropout_mask(name: str) -> None:
    model = mlp(nn.Dropout(0.5))
    optimizer = build(name, model)
    masks: list[Tensor] = []

    def record(module: nn.Module, inputs: object, output: Tensor) -> None:
        if len(output) == 16:  # a part of the batch has masks of its own
            masks.append(output == 0)

    model[1].register_forward_hook(record)
    optimizer.step(closure(optimizer, model))
    count = len(masks)
    optimizer.step(closure(optimizer, model))
    assert all(torch.equal(mask, masks[0]) for mask in masks[:count])
    assert all(torch.equal(mask, masks[count]) for mask in masks[count:])
    assert not torch.equal(masks[0], masks[count])


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
def test_state_holds_no_copy_of_the_weights(name: str) -> None:
    model = mlp()
    optimizer = build(name, model, torch.optim.SGD(model.parameters(), lr=0.1))
    optimizer.step(closure(optimizer, model))
    state = optimizer.state_dict()
    assert not any(isinstance(value, Tensor) for s in state["base"]["state"].values() for value in s.values())
    assert not any(
        torch.equal(torch.as_tensor(v).flatten(), weights(model)) for v in state["memory"].values()
    )


@with_radius
def test_a_group_of_radius_zero_or_not_perturbed_stays_in_every_pass(name: str) -> None:
    for still in ({"rho": 0.0}, {"perturb": False}):
        if name in {"bsam", "sampa"} and "rho" in still:
            continue  # the radius is neither the variance of a sample nor the step ahead
        model = mlp()
        groups = [{"params": model[0].parameters(), **still}, {"params": model[2].parameters()}]
        optimizer = build(name, model, torch.optim.SGD(groups, lr=0.1))
        moved = False
        for _ in range(2):  # a momentum is there from the second step on
            before = weights(model)
            watch = Watch(closure(optimizer, model), model)
            optimizer.step(watch)
            assert all(torch.equal(point[:25], before[:25]) for point in watch.points)
            moved |= any(not torch.equal(point[25:], before[25:]) for point in watch.points)
        assert moved


@every_variant
@pytest.mark.parametrize("reached_in_pass", [1, 2])
def test_a_parameter_with_a_gradient_in_one_pass_only_is_restored(name: str, reached_in_pass: int) -> None:
    model = mlp()
    extra = nn.Parameter(torch.ones(2, dtype=torch.float64))
    base = torch.optim.SGD([*model.parameters(), extra], lr=0.0)
    optimizer = build(name, model, base)
    evaluate = closure(optimizer, model)

    def reach(number: int) -> None:
        if number == reached_in_pass:
            extra.grad = torch.tensor([3.0, -1.0], dtype=torch.float64)

    for _ in range(2):
        watch = Watch(evaluate, model, before=reach)
        optimizer.step(watch)
        assert torch.equal(extra.detach(), torch.ones(2, dtype=torch.float64))
        assert (extra.grad is not None) == (len(watch.points) >= reached_in_pass)


@every_variant
def test_a_closure_that_clears_nothing_gives_the_same_step(name: str) -> None:
    models = [mlp(), mlp()]
    tidy, untidy = build(name, models[0]), build(name, models[1])
    if tidy.needs_batch:
        pytest.skip("a BatchClosure clears by itself")
    for number in range(3):
        tidy.step(closure(tidy, models[0], seed=number))
        untidy.step(closure(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1), models[1], seed=number))
    assert torch.equal(weights(models[0]), weights(models[1]))


@every_variant
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_run_is_that_of_the_cpu(name: str) -> None:
    ends = []
    for device in ("cpu", "cuda"):
        model = mlp().to(device)
        optimizer = build(name, model)
        for number in range(5):
            optimizer.step(closure(optimizer, model, seed=number))
        ends.append(weights(model).cpu())
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-9, atol=1e-11)
