"""A sweep through submitit's local executor: stopped, without its launcher, and complete in the end."""

import signal

import pytest
from command_line import landscape as landscape
from started import Command
from sweep_cases import epochs_done, launched_until

pytest.importorskip("submitit")

EPOCHS = 80
FLAGS = [
    "-m",
    "mlp:width=4,depth=1",
    "-d",
    "moons",
    "--epochs",
    str(EPOCHS),
    "-b",
    "100",
    "--device",
    "cpu",
    "-q",
]
SWEEP = [*FLAGS, "--optimizers", "sgd,sam", "--seeds", "0"]
LAUNCH = ["train", "--plan", "plan.jsonl", "--launcher", "local", "--jobs", "1", "-q"]


@pytest.mark.thorough
def test_a_sweep_that_is_stopped_and_loses_its_launcher_ends_complete_with_the_bytes_of_an_uninterrupted_one(
    tmp_path, landscape
):
    runs = tmp_path / "runs"
    assert landscape("train", *SWEEP, "-o", "runs", "--write-plan", "plan.jsonl").code == 0
    assert landscape("train", "--plan", "plan.jsonl", "--index", "1", "-q").code == 0
    # Ctrl-C: the command ends when its run is saved.
    command = launched_until("sgd-0", EPOCHS, *LAUNCH, cwd=tmp_path, runs=runs)
    command.send(signal.SIGINT)
    code, out, err = command.ended()
    assert (code, out) == (130, "")
    assert "landscape train --plan plan.jsonl --launcher local" in err
    assert not list(runs.glob("*/.lock"))
    assert epochs_done(runs)["sgd-0"] < EPOCHS
    # The run outlives its launching command, and the next one waits for it.
    command = launched_until("sgd-0", EPOCHS, *LAUNCH, cwd=tmp_path, runs=runs)
    command.send(signal.SIGKILL)
    command.ended()
    code, out, err = Command(*LAUNCH, cwd=tmp_path).ended(240)
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["runs/sgd-0", "runs/sam-0"]
    assert landscape("train", *SWEEP, "-o", "whole", "--jobs", "1").code == 0
    for name in ("sgd-0", "sam-0"):
        whole = tmp_path / "whole" / name / "checkpoint.pt"
        assert (runs / name / "checkpoint.pt").read_bytes() == whole.read_bytes()
