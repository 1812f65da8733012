"""The main paths on every device: networks and data of the CPU, numbers of the CPU."""

import copy
import functools
import signal
from pathlib import Path
from typing import Any

import numpy as np
import problems
import pytest
import torch
from optim.battery import build, closure, mlp, weights
from short_measures import short
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from landscape.isolation.randomness import preserved_randomness, private_randomness
from landscape.measures import MEASURES, measure
from landscape.objective import Objective
from landscape.surfaces.directions import Waypoint
from landscape.surfaces.sampling import sample_surface
from landscape.training import Progress, Recipe, determinism, train, trainer

CE = nn.CrossEntropyLoss()
ITERATED = {
    "dominant-eigenvalue": 0.05,
    "top-eigenvalues": 0.05,
    "layer-eigenvalues": 0.1,
    "spectral-density": 1e-2,
    "block-spectra": 1e-2,
}
"""Relative tolerance of what an iteration yields: another device may end it a step earlier, within that residual."""
FLOAT32 = 1e-4
"""Relative tolerance of all others: the same sums with the same random numbers, in another order."""
CPU = torch.device("cpu")


def case(activation: type[nn.Module] = nn.Tanh, **options: object) -> Objective:
    x, y = problems.classification(40, dtype=torch.float32)
    layers = (nn.Linear(8, 5), nn.BatchNorm1d(5), activation(), nn.Linear(5, 4))
    model = problems.network(*layers, dtype=torch.float32)
    return Objective(model, CE, problems.batches(x, y, 25), **options)  # type: ignore[arg-type]


@functools.cache
def numbers(place: torch.device) -> dict[str, tuple[str, float, float]]:
    estimates = measure(case(device=place), [short(name) for name in MEASURES if name != "path-norm"])
    estimates += measure(case(nn.ReLU, device=place), ["path-norm"])  # which is undefined with tanh
    return {e.measure: (e.provenance.device, e.value, e.standard_error or 0.0) for e in estimates}


def test_every_measure_is_that_of_the_cpu(device: torch.device) -> None:
    for (name, here), there in zip(numbers(CPU).items(), numbers(device).values(), strict=True):
        assert there[0] == device.type
        assert there[1:] == pytest.approx(here[1:], rel=ITERATED.get(name, FLOAT32), abs=1e-5), name


PLANES = {"random": 0, "eigenvectors": 0, "sam": 0, "interpolation": 2, "bezier:steps=2": 2, "trajectory": 3}
"""With the number of checkpoints; all but the first are on the CPU, as they come from files."""


@pytest.mark.parametrize("plane", PLANES)
def test_a_surface_is_that_of_the_cpu(plane: str, device: torch.device) -> None:
    losses = []
    for place in (CPU, device):
        objective = case(device=place)
        far = [objective.point.cpu() + 0.1 * torch.linspace(0, k, objective.dimension) ** k for k in (1, 2)]
        through = [Waypoint(str(k), point) for k, point in enumerate([objective.point, *far])]
        losses.append(sample_surface(objective, plane, points=3, through=through[: PLANES[plane]]).loss)
    np.testing.assert_allclose(*losses, rtol=1e-4)


@pytest.mark.parametrize("engine", ["double-backward", "forward-over-reverse"])
def test_a_product_is_that_of_the_cpu(engine: str, device: torch.device) -> None:
    here, there = case(products=engine), case(products=engine, device=device)
    v = torch.linspace(-1, 1, here.dimension)
    torch.testing.assert_close(
        there.hessian_product(v.to(device)).cpu(), here.hessian_product(v), rtol=1e-4, atol=1e-6
    )


def test_a_run_is_that_of_the_cpu(
    tmp_path: Path, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(
        model="mlp:width=8,norm=batch",
        data="digits",
        epochs=2,
        batch_size=256,
        optimizer="gsam",
        device="cpu",
    )
    here = train(recipe, output=tmp_path / "here")
    monkeypatch.setattr(trainer, "device_of", lambda recipe: device)
    losses: list[float] = []
    there = train(recipe, output=tmp_path / "there", progress=lambda state: losses.append(state.loss))
    assert len(losses) == 12, "progress is told after the first step of every epoch too"
    assert there.metrics["test_loss"] == pytest.approx(here.metrics["test_loss"], rel=1e-4)
    tensors = pytree.tree_leaves(torch.load(there.checkpoint, weights_only=True))
    assert all(t.device == CPU for t in tensors if isinstance(t, Tensor)), (
        "it is read where there is no such device"
    )


def test_a_run_with_dropout_that_is_interrupted_ends_with_the_same_bits(
    tmp_path: Path, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dropping.py").write_text(
        "from torch import nn\n"
        "def net(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Dropout(0.3), nn.Linear(8, 10))\n"
    )
    monkeypatch.setattr(trainer, "device_of", lambda recipe: device)
    model = f"{tmp_path / 'dropping.py'}:net"
    recipe = Recipe(model=model, data="digits", epochs=2, batch_size=256, optimizer="sam", device="cpu")
    whole = train(recipe, output=tmp_path / "whole").checkpoint.read_bytes()

    def stop(state: Progress) -> None:
        if state.step == 8:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(recipe, output=tmp_path / "parts", progress=stop)
    assert train(recipe, output=tmp_path / "parts").checkpoint.read_bytes() == whole


def test_random_numbers_of_a_run_come_again_and_disturb_nobody(device: torch.device) -> None:
    before = torch.rand(3, device=device)
    with preserved_randomness(device):
        determinism.seed_generators(7, device)
        torch.rand(2, device=device)
        state = determinism.generators_state(device)
        first = torch.rand(3, device=device)
        determinism.restore_generators(state, device)
        assert torch.equal(torch.rand(3, device=device), first)
        with private_randomness(device, seed=7):
            torch.rand(2, device=device)
            assert torch.equal(torch.rand(3, device=device), first)
        rest = torch.rand(3, device=device)
    with preserved_randomness(device):
        after = torch.rand(3, device=device)
    assert torch.equal(torch.rand(3, device=device), after)
    assert not torch.equal(after, rest)
    assert not torch.equal(before, after)


MOVED = ["sam", "gsam", "looksam", "bsam", "saf", "mesa", "vasso", "msam"]
"""Optimizers whose memory is of every kind."""


@pytest.mark.parametrize("name", MOVED)
def test_a_state_continues_on_another_device(name: str, device: torch.device) -> None:
    def after(place: torch.device, *states: dict[str, Any]) -> tuple[Tensor, list[dict[str, Any]]]:
        model = mlp().to(place)
        optimizer = build(name, model)
        for part, state in zip((model, optimizer), states, strict=False):
            part.load_state_dict(copy.deepcopy(state))  # type: ignore[arg-type]
        for number in range(3):
            optimizer.step(closure(optimizer, model, seed=number))
        return weights(model).cpu(), [model.state_dict(), optimizer.state_dict()]

    for start, end in ((device, CPU), (CPU, device)):
        states = after(start)[1]
        torch.testing.assert_close(after(end, *states)[0], after(start, *states)[0], rtol=1e-9, atol=1e-11)
