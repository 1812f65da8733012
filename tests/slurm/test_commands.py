"""Commands whose processes a real Slurm starts: one number on two nodes, one surface by an array, one end for all."""

import json
import os
import shlex
import signal
import time

import pytest
from slurm_commands import Slurm

MEASURES = ["-M", "gradient-norm,dominant-eigenvalue,hessian-trace"]
LASTING = ["-M", "hessian-trace:method=hutchinson,tolerance=1e-9,max_probes=1000000", "--no-resume"]
SURFACE = ["surface", "net", "--points", "9", "-q"]


@pytest.fixture(scope="module")
def trained(environment, tmp_path_factory, landscape):
    """A folder with a network and what one process says of it."""
    slurm = Slurm(environment, tmp_path_factory.mktemp("trained"))
    flags = [
        "-m",
        "mlp:width=8,depth=1,activation=tanh",
        "-d",
        "digits",
        "--epochs",
        "1",
        "--device",
        "cpu",
        "-q",
    ]
    assert slurm.run(*landscape, "train", *flags, "-o", "net").returncode == 0
    slurm.alone = measured(
        slurm.run(*landscape, "measure", "net", *MEASURES, "--format", "json", "-o", "alone.jsonl")
    )
    assert slurm.run(*landscape, *SURFACE, "-o", "surface.npz").returncode == 0
    (slurm.folder / "surface.npz").rename(
        slurm.folder / "alone.npz"
    )  # the file says by which command it was made
    return slurm


def measured(result):
    assert result.returncode == 0, result.stderr
    return {row["measure"]: row["value"] for row in json.loads(result.stdout)}


def test_two_nodes_measure_what_one_process_measures_and_print_once(trained, landscape):
    steps = ["srun", "-N", 2, "--ntasks-per-node", 1]
    result = trained.run(
        *steps, *landscape, "measure", "net", *MEASURES, "--format", "json", "-o", "two.jsonl"
    )
    assert measured(result) == pytest.approx(trained.alone, rel=1e-6)
    assert len((trained.folder / "two.jsonl").read_text().splitlines()) == len(trained.alone)


def test_a_task_that_is_killed_ends_the_step(trained, landscape):
    with trained.background(
        "srun", "-n", 2, *landscape, "measure", "net", *LASTING, "-o", "killed.jsonl"
    ) as step:
        task = trained.task(1)
        begun(step.stderr)
        os.kill(task, signal.SIGKILL)
        begun_at = time.monotonic()
        step.wait(900)
        print(f"ended {time.monotonic() - begun_at:.1f} s after SIGKILL")
        errors = [line for line in step.stderr.read().splitlines() if line.startswith("Error: ")]
    assert step.returncode != 0
    assert len(errors) == 1
    assert "process 1 of 2" in errors[0]


def test_a_cancelled_job_ends_by_itself(trained, landscape):
    command = shlex.join([*landscape, "measure", "net", *LASTING, "-o", "cancelled.jsonl"])
    number = trained.submitted(f"srun {command}", "-n", 2, "-o", "cancelled.txt")
    output = trained.folder / "cancelled.txt"
    trained.wait(lambda: output.exists() and "net" in output.read_text())
    assert trained.run("scancel", number).returncode == 0
    begun_at = time.monotonic()
    [job] = trained.finished(number)
    trained.wait(lambda: "Interrupted" in output.read_text())
    print(f"ended {time.monotonic() - begun_at:.1f} s after scancel")
    assert job["JobState"] == "CANCELLED"
    assert output.read_text().count("Interrupted; the results so far are on disk") == 1


def test_an_array_computes_one_surface(trained, landscape):
    command = shlex.join([*landscape, *SURFACE, "--shard", "auto", "-o", "surface.npz"])
    number = trained.submitted(command, "--array", "0-1", "-o", "surface-%a.txt")
    states = [job["JobState"] for job in trained.finished(number)]
    said = [(trained.folder / f"surface-{index}.txt").read_text() for index in range(2)]
    assert states == ["COMPLETED"] * 2, said
    assert (trained.folder / "surface.npz").read_bytes() == (trained.folder / "alone.npz").read_bytes()


def begun(stream):
    """Reads until the command has described what it measures."""
    assert any("net" in line for line in stream)
