"""A run that is stopped at any moment and started again ends with the same bytes as one that was not."""

import dataclasses
import random
import signal
import time

import pytest
import torch
from started import started
from torch import nn

from landscape.models import MODELS
from landscape.optim import OPTIMIZERS
from landscape.records import storage
from landscape.registry.names import Row
from landscape.training import Recipe, train

RECIPE = Recipe(model="mlp:width=8", data="moons:samples=100", epochs=3, batch_size=16)
STEPS = 15
STATEFUL = "sgd adamw gsam looksam ae-looksam ss-sam ssam-f vasso msam eigen-sam saf mesa bsam entropy-sgd swa".split()
"""Each has something else to remember. Every variant is stopped once in test_every_optimizer.py."""


def noisy(*, classes: int = 10, input_shape: tuple[int, ...] = (2,)) -> nn.Module:
    """A network with everything that has a state of its own: dropout and batch norm."""
    del input_shape
    return nn.Sequential(
        nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, classes)
    )


@pytest.fixture(autouse=True)
def noisy_model(monkeypatch):
    row = Row("noisy", noisy, "for these tests", hidden=frozenset({"classes", "input_shape"}))
    monkeypatch.setitem(MODELS._rows, "noisy", row)


def stop_at(step, number):
    def stop(progress):
        if progress.step == step:
            signal.raise_signal(number)

    return stop


@pytest.mark.parametrize(
    ("optimizer", "number", "expected"),
    [("sgd", signal.SIGTERM, SystemExit), ("gsam", signal.SIGTERM, SystemExit)]
    + [(name, signal.SIGINT, KeyboardInterrupt) for name in OPTIMIZERS if name in STATEFUL],
)
def test_a_run_interrupted_in_every_epoch_ends_with_the_same_bytes(tmp_path, optimizer, number, expected):
    recipe = dataclasses.replace(RECIPE, model="noisy", optimizer=optimizer, lr=0.01)
    whole = train(recipe, output=tmp_path / "whole")
    for step in (2, 5, 14):
        with pytest.raises(expected):
            train(recipe, output=tmp_path / "parts", progress=stop_at(step, number))
        assert torch.load(tmp_path / "parts" / "checkpoint.pt", weights_only=True)["step"] == step
    parts = train(recipe, output=tmp_path / "parts")
    assert parts.checkpoint.read_bytes() == whole.checkpoint.read_bytes()
    assert [e | {"seconds": 0} for e in parts.history] == [e | {"seconds": 0} for e in whole.history]


def test_a_signal_in_the_last_step_stops_the_caller_too_but_the_run_is_complete(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(RECIPE, output=tmp_path, progress=stop_at(STEPS, signal.SIGINT))
    run = train(RECIPE, output=tmp_path)
    assert run.checkpoint.read_bytes() == train(RECIPE, output=tmp_path / "whole").checkpoint.read_bytes()


class Killed(BaseException):
    """What a power cut looks like to the code above the file system."""


@pytest.mark.parametrize("moment", ["replace", "fsync"])
def test_dying_at_every_single_write_ends_with_the_same_bytes(tmp_path, monkeypatch, moment):
    whole = train(RECIPE, output=tmp_path / "whole", save_every=1)
    function, left = getattr(storage.os, moment), [0]

    def dying(*arguments, **options):
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        return function(*arguments, **options)

    monkeypatch.setattr(storage.os, moment, dying)
    for count in range(1, 30):
        output = tmp_path / f"killed-{count}"
        left[0] = count
        try:
            train(RECIPE, output=output, save_every=1)
        except Killed:
            left[0] = 0
            run = train(RECIPE, output=output, save_every=1)
        else:
            break
        assert run.checkpoint.read_bytes() == whole.checkpoint.read_bytes()
        assert [entry["epoch"] for entry in run.history] == [1, 2, 3]
        for name in ("epoch-0001.pt", "epoch-0002.pt", "epoch-0003.pt"):
            kept = run.path / "checkpoints" / name
            assert kept.read_bytes() == (whole.path / "checkpoints" / name).read_bytes()
    assert count > 6


LONG = Recipe(model="mlp:width=8", data="moons:samples=400", optimizer="gsam", epochs=30, batch_size=32)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return train(LONG, output=tmp_path_factory.mktemp("whole"), save_every=1)


def start(output):
    return started(train, LONG, output=output, save_every=1)


def written(path):
    return path.stat().st_mtime_ns if path.exists() else None


def wait_until_written(path, before=None):
    deadline = time.monotonic() + 60
    while written(path) == before and time.monotonic() < deadline:
        time.sleep(0.002)


def test_killing_the_process_at_random_moments_ends_with_the_same_bytes(tmp_path, undisturbed):
    output, moments, kills = tmp_path / "killed", random.Random(0), 0
    seconds = sum(entry["seconds"] for entry in undisturbed.history)
    for _ in range(4):
        # A run writes its recipe when it begins to train, and again when it goes on.
        before = written(output / "recipe.toml")
        process = start(output)
        wait_until_written(output / "recipe.toml", before)
        process.join(moments.uniform(0, seconds / 4))
        kills += process.is_alive()
        process.kill()
        process.join()
    assert kills >= 2
    last = start(output)
    last.join(60)
    assert last.exitcode == 0
    assert (output / "checkpoint.pt").read_bytes() == undisturbed.checkpoint.read_bytes()
    assert not list(output.glob(".*.part"))


def test_terminating_the_process_saves_the_run_and_exits_with_143(tmp_path, undisturbed):
    process = start(tmp_path)
    wait_until_written(tmp_path / "checkpoint.pt")
    process.terminate()
    process.join(60)
    assert process.exitcode == 143
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert 0 < saved["step"] < 30 * 9
    run = train(LONG, output=tmp_path)
    assert run.checkpoint.read_bytes() == undisturbed.checkpoint.read_bytes()
