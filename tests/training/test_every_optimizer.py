"""`landscape train --optimizer NAME` for every name: it runs, resumes bit for bit, and counts its gradients."""

import dataclasses
import math
import signal

import pytest
from command_line import call

from landscape.optim import OPTIMIZERS
from landscape.training import Recipe, train

RECIPE = Recipe(model="mlp:width=16,norm=batch", data="digits", epochs=2, batch_size=256, lr=0.01)
STEPS = 2 * 6
GRADIENTS: dict[str, float] = {
    "looksam": 1 + 3 / STEPS,  # steps 0, 5 and 10 of 12
    "ssam-f": 2 + 16 / (256 * 6),
    "xsam": 2 + 21 / 3 / 6,  # 21 forward passes an epoch
    "n-step-sam": 3,
    "lookbehind-sam": 6,
    "tilted-sam": 6,
    "esam": (4 + 3 * 0.5) / 3,
    "mesa": 1,  # before its fifth epoch
    "hessian-trace-reg": 1 + 4 * 5 * 2 / STEPS,  # steps 0 and 10 of 12
    "entropy-sgd": 20,
}
"""Where the cost of a row is a formula: its value at the defaults of the row, in this run."""
BY_CHANCE = {"ss-sam", "ae-sam", "ae-looksam"}
RARELY = {"eigen-sam"}


def expected(name, metrics):
    if name in BY_CHANCE:
        return 1 + metrics["sam_fraction"]
    cost = GRADIENTS.get(name, OPTIMIZERS[name].cost)
    if name in RARELY:
        return 2
    assert isinstance(cost, (int, float)), f"{name} costs {cost}: give its value in this run"
    return cost


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_every_optimizer_trains_resumes_and_counts_its_gradients(tmp_path, name):
    command = ["train", "-m", RECIPE.model, "--optimizer", name, "--epochs", "2", "-b", "256", "--lr", "0.01"]
    assert call([*command, "-q", "--device", "cpu", "-o", tmp_path / "whole"]) == 0
    recipe = dataclasses.replace(RECIPE, optimizer=name, device="cpu")
    whole = train(recipe, output=tmp_path / "whole")

    def stop(progress):
        if progress.step == 8:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(recipe, output=tmp_path / "parts", progress=stop)
    parts = train(recipe, output=tmp_path / "parts")
    assert parts.checkpoint.read_bytes() == whole.checkpoint.read_bytes()

    metrics = whole.metrics
    assert whole.history[-1]["step"] == STEPS
    assert metrics["skipped_steps"] == 0
    assert math.isfinite(metrics["test_loss"])
    # A selection of whole examples misses its share by at most one of them in a batch.
    assert metrics["gradients"] / STEPS == pytest.approx(expected(name, metrics), abs=0.01)
