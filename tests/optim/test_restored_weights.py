"""Weights put back bit for bit, whatever happens in whichever pass, over every row of the table."""

import pytest
import torch
from optim.battery import VARIANTS, Closure, Watch, build, closure, every_variant, mlp, weights, with_radius
from optim.test_skipped_on_the_device import WAIT_ONCE
from torch import Tensor, nn
from waits import Waits

from landscape.optim import SharpnessAware

# Draws and schedules go on in a skipped step; options with which a rule has neither.
WITHOUT_NUMBERS = {
    "looksam": "looksam:k=1",
    "ss-sam": "ss-sam:p=1",
    "ae-sam": "ae-sam:lambda1=0,lambda2=0",
    "ae-looksam": "ae-looksam:lambda1=0,lambda2=0",
    "r-sam": "r-sam:sigma=0",
    "tilted-sam": "tilted-sam:noise=0",
    "le-sam": "le-sam:decay_from=1",
    "ssam-d": "ssam-d:sparsity=0",
    "esam": "esam:beta=1",
    "mesa": "mesa:start_epoch=0",
    "entropy-sgd": "entropy-sgd:noise=0,gamma_growth=0,langevin_steps=3",
    "swa": "swa:start=0",
}
SHORTER = {
    "ssam-f": "ssam-f:n_fisher=2",
    "hessian-trace-reg": "hessian-trace-reg:n_probe=1",
    "entropy-sgd": "entropy-sgd:langevin_steps=3",
    "mesa": "mesa:start_epoch=0",
    "swa": "swa:start=0",
    "saf": "saf:start_epoch=0,lag=1",
}
REPEATED = {
    "lookbehind-sam": "lookbehind-sam:k=2",
    "tilted-sam": "tilted-sam:samples=2",
    "ssam-f": "ssam-f:n_fisher=3",
    "entropy-sgd": SHORTER["entropy-sgd"],
}
ALWAYS_DRAWS = {"bsam", "hessian-trace-reg"}


def passes_of(name: str) -> int:
    """How many passes the first step of a variant takes."""
    model = mlp()
    optimizer = build(name, model)
    optimizer.step(closure(optimizer, model))
    return len(optimizer.losses)


# Of passes that are repeated the first, one between and the last.
each_pass = pytest.mark.parametrize(
    ("name", "failing"),
    [(n, i + 1) for n in (REPEATED.get(v, v) for v in VARIANTS) for i in range(passes_of(n))],
)


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


def state_of(optimizer: SharpnessAware, model: nn.Module) -> list[object]:
    """Copies of everything that a skipped step leaves alone."""
    base = [(key, value) for state in optimizer.state.values() for key, value in state.items()]
    tensors = [
        (key, torch.as_tensor(value, dtype=torch.float64).clone())
        for key, value in (*base, *optimizer.memory.items())
    ]
    return [
        ("weights", weights(model)),
        ("steps", torch.tensor([optimizer.steps, optimizer.sam_steps])),
        *tensors,
    ]


def assert_same_state(a: list[object], b: list[object]) -> None:
    assert [name for name, _ in a] == [name for name, _ in b]
    assert all(torch.equal(x, y) for (_, x), (_, y) in zip(a, b, strict=True))


def poisoned(
    optimizer: SharpnessAware, model: nn.Module, failing: int, value: float, seed: int = 1
) -> Closure:
    """A closure with a gradient that is not finite in one pass."""

    def poison(number: int) -> None:
        if number == failing:
            model[2].bias.grad[1] = value

    return Watch(closure(optimizer, model, seed=seed), model, before=poison)


# Where only the device knows whether a gradient was finite, nothing is read, and the step is undone by arithmetic.
on_either = pytest.mark.parametrize("on_host", [True, False], ids=["host", "device"])


@each_pass
@pytest.mark.parametrize("value", [torch.nan, -torch.inf])
@on_either
def test_a_gradient_that_is_not_finite_in_any_pass_skips_the_step(
    name: str, failing: int, value: float, on_host: bool
) -> None:
    model = mlp()
    optimizer = build(name, model)
    optimizer.flat.is_on_host = on_host
    evaluate = closure(optimizer, model)
    optimizer.step(evaluate)
    while not optimizer.skipped_steps:  # a policy may keep some steps to fewer passes
        before = state_of(optimizer, model)
        assert optimizer.steps < 20
        loss = optimizer.step(poisoned(optimizer, model, failing, value))
    assert torch.isfinite(loss)
    assert_same_state(state_of(optimizer, model), before)
    steps = optimizer.steps
    optimizer.step(evaluate)
    assert torch.isfinite(weights(model)).all()
    assert (optimizer.steps, optimizer.skipped_steps) == (steps + 1, 1)


@every_variant
@on_either
def test_a_run_with_skipped_steps_is_the_run_without_them(name: str, on_host: bool) -> None:
    models = [mlp(), mlp()]
    run, other = (build(WITHOUT_NUMBERS.get(name, name), model) for model in models)
    other.flat.is_on_host = on_host
    for number in range(9):
        if number in (0, 4):
            other.step(poisoned(other, models[1], 1, torch.nan, seed=20))
        for model, optimizer in zip(models, (run, other), strict=True):
            optimizer.step(closure(optimizer, model, seed=number))
    assert (other.steps, other.skipped_steps) == (9, 2)
    if name not in ALWAYS_DRAWS:
        assert_same_state(state_of(other, models[1]), state_of(run, models[0]))


@every_variant
def test_a_run_with_a_skipped_step_is_the_same_on_every_device(name: str, device: torch.device) -> None:
    if device.type in ("cpu", "mps"):
        pytest.skip("the CPU is what others are compared with, and MPS has no float64")
    states = []
    for place in (torch.device("cpu"), device):
        model = mlp().to(place)
        optimizer = build(SHORTER.get(name, name), model)
        for number in range(4):
            evaluate = poisoned(optimizer, model, 1 if number == 2 else 0, torch.nan, seed=number)
            with Waits(device.type) as waits:
                optimizer.step(evaluate)
        assert (optimizer.steps, optimizer.skipped_steps) == (3, 1)
        states.append(state_of(optimizer, model))
    assert waits.total <= (name in WAIT_ONCE)
    assert waits.uploads == 0
    for (_, a), (_, b) in zip(*states, strict=True):
        torch.testing.assert_close(b.cpu(), a, rtol=1e-7, atol=1e-9)


@with_radius
def test_a_group_of_radius_zero_or_not_perturbed_stays_in_every_pass(name: str) -> None:
    for still in ({"rho": 0.0}, {"perturb": False}):
        if name in {"bsam", "sampa"} and "rho" in still:
            continue  # the radius is neither the variance of a sample nor the step ahead
        model = mlp()
        groups = [{"params": model[0].parameters(), **still}, {"params": model[2].parameters()}]
        optimizer = build(name, model, torch.optim.SGD(groups, lr=0.1))
        moved = False
        for _ in range(4):  # a momentum is there from the second step on, and a coin may leave out a few
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
