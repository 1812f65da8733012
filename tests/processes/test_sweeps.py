"""A sweep through submitit's local executor: killed twice, stopped once, and complete in the end."""

import signal

import pytest
from command_line import landscape as landscape
from started import Command
from sweep_cases import epochs_done, kill_all, launched_until

pytest.importorskip("submitit")

EPOCHS = 60
FLAGS = [
    "-m",
    "mlp:width=16,depth=1",
    "-d",
    "moons",
    "--epochs",
    str(EPOCHS),
    "-b",
    "16",
    "--device",
    "cpu",
    "-q",
]
SWEEP = [*FLAGS, "--optimizers", "sgd,sam", "--seeds", "0"]


def test_a_sweep_that_is_killed_twice_and_stopped_ends_complete_with_the_bytes_of_an_uninterrupted_one(
    tmp_path, landscape
):
    launch = ["train", "--plan", "plan.jsonl", "--launcher", "local", "--jobs", "1", "-q"]
    runs = tmp_path / "runs"
    assert landscape("train", *SWEEP, "-o", "runs", "--write-plan", "plan.jsonl").code == 0
    for _ in range(2):
        kill_all(launched_until(EPOCHS, *launch, cwd=tmp_path, runs=runs), runs)
    # Ctrl-C of the terminal: the command ends when its run is saved.
    command = launched_until(EPOCHS, *launch, cwd=tmp_path, runs=runs)
    command.send(signal.SIGINT)
    code, out, err = command.ended()
    assert (code, out) == (130, "")
    assert "landscape train --plan plan.jsonl --launcher local" in err
    assert not list(runs.glob("*/.lock"))
    assert min(epochs_done(runs).values()) < EPOCHS
    last = Command(*launch, cwd=tmp_path)
    code, out, err = last.ended(240)
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["runs/sgd-0", "runs/sam-0"]
    assert landscape("train", *SWEEP, "-o", "whole", "--jobs", "1").code == 0
    for name in ("sgd-0", "sam-0"):
        whole = tmp_path / "whole" / name / "checkpoint.pt"
        assert (runs / name / "checkpoint.pt").read_bytes() == whole.read_bytes()
