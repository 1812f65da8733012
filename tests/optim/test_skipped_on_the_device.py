"""Steps that the device skips: the host reads nothing, and the run is that of the CPU, which reads and skips itself."""

import pytest
import torch
from optim.battery import VARIANTS, build, closure, mlp, weights
from torch import Tensor, nn
from waits import Waits

from landscape.optim import SharpnessAware

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


@pytest.mark.parametrize("name", VARIANTS)
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
