"""A sweep as an array of a real Slurm: each task trains one run, and a run that is put back into the queue resumes."""

import shlex
import time

import pytest
from command_line import TINY
from slurm_commands import Slurm

from landscape.records import RunFolder

SHORT = ["train", *TINY, "-q"]
# Long enough to be interrupted in the middle.
LONG = [*SHORT[:6], "40", "-b", "16", *SHORT[9:]]
RUNS = ["sgd-0", "sgd-1", "sam-0", "sam-1"]


def planned(slurm, landscape, flags=SHORT):
    several = ["--optimizers", "sgd,sam", "--seeds", "0-1"] if flags is SHORT else []
    result = slurm.run(*landscape, *flags, *several, "-o", "runs", "--write-plan", "plan.jsonl")
    assert result.returncode == 0, result.stderr


def weights(slurm, name):
    return (slurm.folder / name / "checkpoint.pt").read_bytes()


@pytest.fixture(scope="module")
def references(environment, tmp_path_factory, landscape):
    """The runs, trained by one command and without an interruption."""
    slurm = Slurm(environment, tmp_path_factory.mktemp("references"))
    assert (
        slurm.run(*landscape, *SHORT, "--optimizers", "sgd,sam", "--seeds", "0-1", "-o", "runs").returncode
        == 0
    )
    assert slurm.run(*landscape, *LONG, "-o", "long").returncode == 0
    return slurm


def test_every_task_of_an_array_trains_one_run(slurm, landscape, references):
    planned(slurm, landscape)
    command = shlex.join([*landscape, "train", "--plan", "plan.jsonl", "--index"])
    number = slurm.submitted(f'{command} "$SLURM_ARRAY_TASK_ID"', "--array", "0-3", "-o", "job-%a.txt")
    assert [job["JobState"] for job in slurm.finished(number)] == ["COMPLETED"] * 4
    for name in RUNS:
        assert weights(slurm, f"runs/{name}") == weights(references, f"runs/{name}")


def test_the_text_for_sbatch_is_taken_as_it_is(slurm, landscape, references):
    planned(slurm, landscape)
    text = slurm.run(
        *landscape, "train", "--plan", "plan.jsonl", "--launcher", "sbatch", "--slurm", "time=10"
    ).stdout
    result = slurm.run("sbatch", "--parsable", fed=text)
    assert result.returncode == 0, result.stderr
    assert [job["JobState"] for job in slurm.finished(result.stdout.strip())] == ["COMPLETED"] * 4
    assert weights(slurm, "runs/sam-1") == weights(references, "runs/sam-1")


def test_a_run_that_is_put_back_into_the_queue_resumes(slurm, landscape, references):
    planned(slurm, landscape, LONG)
    text = slurm.run(
        *landscape, "train", "--plan", "plan.jsonl", "--launcher", "sbatch", "--slurm", "time=10"
    ).stdout
    number = slurm.run("sbatch", "--parsable", fed=text).stdout.strip()
    history = slurm.folder / "runs" / "history.jsonl"
    requeue(slurm, number, history)
    assert [job["JobState"] for job in slurm.finished(number)] == ["COMPLETED"]
    assert slurm.job(number)[0]["Restarts"] == "1"
    log = "".join(file.read_text() for file in (slurm.folder / "plan.logs").glob("*.log"))
    assert "Interrupted; the results so far are on disk" in log
    assert weights(slurm, "runs") == weights(references, "long")


def test_a_run_is_saved_before_its_time_limit_and_goes_back_into_the_queue(slurm, landscape, references):
    planned(slurm, landscape, LONG)
    text = slurm.run(
        *landscape, "train", "--plan", "plan.jsonl", "--launcher", "sbatch", "--slurm", "time=10"
    ).stdout
    number = slurm.run("sbatch", "--parsable", fed=text).stdout.strip()
    slurm.wait(lambda: (slurm.folder / "runs" / "history.jsonl").exists())
    # What Slurm does 90 seconds before the limit, by --signal=B:USR1@90.
    assert slurm.run("scancel", "--batch", "--signal", "USR1", f"{number}_0").returncode == 0
    started_again(slurm, number)
    assert [job["JobState"] for job in slurm.finished(number)] == ["COMPLETED"]
    assert weights(slurm, "runs") == weights(references, "long")


def test_the_launcher_submits_an_array_that_resumes(slurm, landscape, references):
    pytest.importorskip("submitit")
    planned(slurm, landscape, LONG)
    result = slurm.run(
        *landscape, "train", "--plan", "plan.jsonl", "--launcher", "slurm", "--slurm", "time=10"
    )
    assert result.returncode == 0, result.stderr
    number = result.stdout.split(" as job ")[1].split(";")[0]
    requeue(slurm, number, slurm.folder / "runs" / "history.jsonl")
    assert [job["JobState"] for job in slurm.finished(number)] == ["COMPLETED"]
    assert slurm.job(number)[0]["Restarts"] == "1"
    assert weights(slurm, "runs") == weights(references, "long")


def test_a_cancelled_run_is_saved_and_does_not_come_back(slurm, landscape):
    planned(slurm, landscape, LONG)
    command = shlex.join([*landscape, "train", "--plan", "plan.jsonl", "--index", "0"])
    number = slurm.submitted(f"exec {command}", "-o", "job.txt")
    slurm.wait(lambda: (slurm.folder / "runs" / "history.jsonl").exists())
    assert slurm.run("scancel", number).returncode == 0
    [job] = slurm.finished(number)
    assert job["JobState"] == "CANCELLED"
    assert "Interrupted; the results so far are on disk" in (slurm.folder / "job.txt").read_text()
    assert 0 < len(RunFolder(slurm.folder / "runs").read_history()) < 40


def requeue(slurm, number, history):
    """Puts a job back into the queue once its run has an epoch."""
    slurm.wait(history.exists)
    assert slurm.run("scontrol", "requeue", number).returncode == 0
    started_again(slurm, number)


def started_again(slurm, number):
    """Starts a job that is back in the queue, without the two minutes for which Slurm waits."""
    slurm.wait(lambda: slurm.job(number)[0]["JobState"] == "PENDING")
    # The node may not have said yet how the first start ended, which Slurm would take for the end of the second.
    time.sleep(4)
    slurm.run("scontrol", "update", f"JobId={number}", "StartTime=now")
