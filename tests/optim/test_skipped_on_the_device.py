"""Steps that the device skips: the host reads nothing, and the run is that of the CPU, which reads and skips itself."""

import pytest
import torch
from optim.battery import batch, build, closure, every_variant, mlp, sgd, weights
from torch import Tensor, nn
from waits import Waits

from landscape.optim import SAM, SharpnessAware
from landscape.optim.base_step import decides_on_host
from landscape.optim.gradients_at import GradientsAt

# A number decides in these what to compute; the host waits for it once a step, for that of the mask once an epoch.
WAIT_ONCE = {"ae-sam", "ae-looksam", "ssam-d"}
BASES = {
    "sgd": lambda model: torch.optim.SGD(model.parameters(), lr=0.1),
    "momentum": lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2),
    "dampening": lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, dampening=0.5),
    "nesterov": lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True),
    "fused-sgd": lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, fused=True),
    "adamw": lambda model: torch.optim.AdamW(model.parameters(), lr=0.01),
    "fused-adamw": lambda model: torch.optim.AdamW(model.parameters(), lr=0.01, fused=True),
    "adagrad": lambda model: torch.optim.Adagrad(model.parameters(), lr=0.01),
}


def run(
    name: str, base: str, *, on_host: bool, bad: frozenset[int], steps: int = 20
) -> tuple[SharpnessAware, Tensor]:
    """The end of a run in which the gradients of some steps are not finite."""
    model = mlp(nn.BatchNorm1d(5))
    optimizer = build(name, model, BASES[base](model))
    optimizer.flat.is_on_host = on_host
    for number in range(steps):
        evaluate = closure(optimizer, model, seed=number, scale=torch.nan if number in bad else 1.0)
        optimizer.step(evaluate)
    return optimizer, weights(model)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", ["sam", "gsam", "looksam", "vasso"])
def test_a_run_with_steps_that_the_device_skips_is_that_of_the_host(name: str, base: str) -> None:
    (device, end), (host, expected) = (
        run(name, base, on_host=on_host, bad=frozenset({0, 1, 7, 12, 13})) for on_host in (False, True)
    )
    assert torch.equal(end, expected)
    assert (device.steps, device.skipped_steps, device.sam_steps) == (15, 5, host.sam_steps)
    for mine, theirs in zip(device.state.values(), host.state.values(), strict=True):
        assert all(torch.equal(mine[key], theirs[key]) for key in theirs if theirs[key] is not None)
    assert device.memory.keys() == host.memory.keys()
    assert all(torch.equal(device.memory[key], host.memory[key]) for key in host.memory)


@every_variant
def test_a_step_reads_nothing_from_the_device(name: str, device: torch.device) -> None:
    model = mlp(nn.BatchNorm1d(5)).to(device)
    optimizer = build(name, model)
    for number in range(3):
        optimizer.step(closure(optimizer, model, seed=number))
    evaluate = closure(optimizer, model)
    with Waits(device.type) as waits:
        optimizer.step(evaluate)
    # On the CPU nothing waits, and numbers are copied from where they lie, but not through the dispatcher.
    reads = waits.operations["_local_scalar_dense"] if device.type == "cpu" else waits.total
    assert reads <= (name in WAIT_ONCE), waits.operations
    assert not waits.uploads


def on_the_device(model: nn.Module, base: torch.optim.Optimizer) -> SAM:
    """An optimizer on the CPU that works as on a device."""
    optimizer = Counting(base, model=model)
    optimizer.flat.is_on_host = False
    return optimizer


class Counting(SAM):
    """SAM that keeps a number of Python, which the device cannot put back."""

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        self.memory["count"] = int(self.memory.get("count", 0)) + 1
        return super().direction(gradients, gradients_at)


def test_a_number_in_the_memory_is_put_back_by_the_host() -> None:
    model = mlp()
    optimizer = on_the_device(model, sgd(model))
    for scale in (1.0, torch.nan, 1.0, torch.inf):
        optimizer.step(closure(optimizer, model, scale=scale))
    assert optimizer.memory == {"count": 2}
    assert optimizer.state_dict()["counters"] | {"gradient_evaluations": 8} == {
        "steps": 2,
        "sam_steps": 2,
        "skipped_steps": 2,
        "gradient_evaluations": 8,
    }


@pytest.mark.parametrize("bad", [frozenset(), frozenset({1})])
def test_an_infinite_weight_stays_what_it_is(bad: frozenset[int]) -> None:
    """As of a class that is switched off: infinity times zero is no number."""
    ends, (x, y) = [], batch()
    for on_host in (True, False):
        model, mask = mlp(), nn.Parameter(torch.tensor([0.0, -torch.inf, -0.0], dtype=torch.float64))
        optimizer = SAM(torch.optim.SGD([*model.parameters(), mask], lr=0.1, momentum=0.9))
        optimizer.flat.is_on_host = on_host
        for number in range(3):
            scale = torch.nan if number in bad else 1.0

            def evaluate(optimizer=optimizer, model=model, mask=mask, scale=scale) -> Tensor:
                optimizer.zero_grad()
                loss = scale * nn.functional.cross_entropy(model(x) + mask, 2 * (y > 0))
                loss.backward()
                return loss

            optimizer.step(evaluate)
        assert optimizer.skipped_steps == len(bad)
        ends.append(torch.cat([weights(model), mask.detach()]))
    assert torch.equal(*ends)
    assert ends[0][-2] == -torch.inf


def test_a_base_with_hooks_or_from_elsewhere_takes_no_step_that_is_skipped() -> None:
    class Own(torch.optim.SGD):
        calls = 0

        def step(self, closure: object = None) -> None:
            type(self).calls += 1
            super().step()

    model = mlp()
    hooked, own, hooks = sgd(model), Own(model.parameters(), lr=0.1), []
    hooked.register_step_post_hook(lambda *_: hooks.append(1))
    for base in (hooked, own):
        optimizer = on_the_device(model, base)
        for scale in (1.0, torch.nan, 1.0):
            optimizer.step(closure(optimizer, model, scale=scale))
        assert (optimizer.steps, optimizer.skipped_steps) == (2, 1)
    assert len(hooks) == Own.calls == 2


@pytest.mark.parametrize("base", ["momentum", "adamw"])
def test_the_host_decides_only_where_a_base_counts_there(base: str, device: torch.device) -> None:
    model = mlp().to(device)
    optimizer = BASES[base](model)
    optimizer.step(closure(optimizer, model))
    # AdamW keeps the number of the step in a tensor of the CPU.
    assert decides_on_host(optimizer, device) == (base == "adamw" and device.type != "cpu")


@pytest.mark.parametrize("bad", [None, 1, 2])
def test_the_scaler_learns_of_an_overflow_without_a_read(bad: int | None) -> None:
    model = mlp().float()
    optimizer = on_the_device(model, sgd(model))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    x, y = batch()
    passes = 0

    def evaluate() -> Tensor:
        nonlocal passes
        passes += 1
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x.float()), y)
        scaler.scale(loss * (1e38 if passes == bad else 1.0)).backward()
        return loss

    before = weights(model)
    optimizer.step(evaluate, scaler=scaler)
    scaler.update()
    assert passes == 2
    assert torch.equal(weights(model), before) == (bad is not None)
    assert scaler.get_scale() == (1024.0 if bad is None else 512.0)
    assert optimizer.skipped_steps == (bad is not None)
    passes = 2
    optimizer.step(evaluate, scaler=scaler)
    scaler.update()
    with Waits() as waits:
        optimizer.step(evaluate, scaler=scaler)
    assert waits.operations["_local_scalar_dense"] == 1  # because of the number in the memory
