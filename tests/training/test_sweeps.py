"""Plans of sweeps: what they hold, what is refused, what Slurm is told, and runs side by side."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from landscape.errors import InputError, UsageError
from landscape.training import Job, Recipe, local_sweep, read_sweep, submission, train, write_sweep
from landscape.training.batch_script import array_of, batch_script, minutes, slurm_options
from landscape.training.local_sweep import LocalSweep
from landscape.training.lock import locked
from landscape.training.pool import Pool
from landscape.training.submission import Submission, submit_array
from landscape.training.sweep import index_here

TINY = Recipe(model="mlp:width=4,depth=1", data="moons", epochs=2, batch_size=700, device="cpu")


def jobs(folder, count=3, **fields):
    recipes = [dataclasses.replace(TINY, seed=seed, **fields) for seed in range(count)]
    return [Job(recipe, folder / f"sgd-{recipe.seed}") for recipe in recipes]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A project in which a plan is written with paths as a user types them."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def typed(here, count=3, **fields):
    return [
        dataclasses.replace(job, folder=job.folder.relative_to(here))
        for job in jobs(here / "runs", count, **fields)
    ]


def test_a_plan_holds_every_run_and_writing_it_again_changes_nothing(here):
    plan = here / "plan.jsonl"
    sweep = write_sweep(plan, typed(here))
    before = plan.read_bytes()
    assert [sweep.job(index) for index in range(len(sweep))] == typed(here)
    assert [sweep.state(index) for index in range(3)] == ["waiting"] * 3
    assert (sweep.epochs(1), sweep.folder(1).path) == ((0, 2), here / "runs/sgd-1")
    write_sweep(plan, typed(here))
    assert plan.read_bytes() == before
    with pytest.raises(UsageError, match=r"exists and is not this plan; jobs may still read it"):
        write_sweep(plan, typed(here, 2))
    assert plan.read_bytes() == before


def test_a_project_that_was_moved_is_trained_where_it_is_now(here, monkeypatch, tmp_path):
    write_sweep(here / "plans/plan.jsonl", typed(here))
    here.rename(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    sweep = read_sweep(tmp_path / "elsewhere/plans/plan.jsonl")
    with sweep.here():
        train(sweep.job(1).recipe, output=sweep.job(1).folder)
    assert (tmp_path / "elsewhere/runs/sgd-1/checkpoint.pt").is_file()
    assert [sweep.state(index) for index in range(3)] == ["waiting", "finished", "waiting"]
    (
        tmp_path / "elsewhere/runs/sgd-1/.lock"
    ).touch()  # as a killed process leaves it, perhaps before its last epoch
    assert sweep.state(1) == "begun"


def test_a_plan_outside_the_project_says_where_the_project_is(here, tmp_path):
    write_sweep(tmp_path / "plans/plan.jsonl", typed(here))
    here.rename(tmp_path / "elsewhere")
    with (
        pytest.raises(InputError, match=r"was written in .*project, which is not on this machine"),
        read_sweep(tmp_path / "plans/plan.jsonl").here(),
    ):
        pass


def changed(line, **fields):
    return lambda lines: [
        json.dumps({**json.loads(text), **fields}) if number == line else text
        for number, text in enumerate(lines)
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    {
        "nothing": (lambda lines: [], r"is not a plan: its first line has schema None"),
        "a record": (lambda lines: ['{"schema": "landscape.measure/1"}'], r"not a plan: .*'landscape.measure/1'"),
        "newer": (changed(0, schema="landscape.sweep/2"), r"landscape.sweep/2.*half of a sweep"),
        "version": (changed(0, landscape="9.9"), r"written by landscape 9\.9 .*, and this is .*write the plan again"),
        "cut": (lambda lines: lines[:3], r"has 2 of its 3 runs: it was cut or added to"),
        "no folder": (changed(0, folder=3), r"does not say from which folder"),
        "twice": (changed(2, folder="runs/sgd-0"), r"two runs for the folder runs/sgd-0"),
    }.values(),
)  # fmt: skip
def test_a_file_that_is_not_this_versions_whole_plan_is_refused(here, change, message):
    write_sweep(here / "plan.jsonl", typed(here))
    lines = change((here / "plan.jsonl").read_text().splitlines())
    (here / "plan.jsonl").write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(InputError, match=message):
        read_sweep(here / "plan.jsonl")


@pytest.mark.parametrize(
    ("change", "message"),
    {
        "torn": (lambda lines: [*lines[:2], lines[2][:40], *lines[3:]], "not a line of JSON"),
        "swapped": (lambda lines: [*lines[:2], lines[3], lines[2]], "not the line of run 1"),
        "anew": (changed(2, overwrite=True), "would not resume"),
        "no recipe": (changed(2, recipe=None), ""),
        "no field": (changed(2, recipe={}, colour="red"), "colour"),
    }.values(),
)  # fmt: skip
def test_a_damaged_line_is_an_error_of_its_own_run_alone(here, change, message):
    write_sweep(here / "plan.jsonl", typed(here))
    lines = change((here / "plan.jsonl").read_text().splitlines())
    (here / "plan.jsonl").write_text("".join(f"{line}\n" for line in lines))
    sweep = read_sweep(here / "plan.jsonl")
    assert sweep.job(0) == typed(here)[0]
    with pytest.raises(InputError, match=rf"line 3 \(run 1\) is damaged: .*{message}"):
        sweep.job(1)


def test_an_index_beyond_the_runs_and_code_that_is_not_there_are_named(here):
    sweep = write_sweep(here / "plan.jsonl", typed(here))
    for index in (-1, 3):
        with pytest.raises(UsageError, match=rf"--index {index} is not in 0-2: .* has 3 runs"):
            sweep.job(index)
    text = (here / "plan.jsonl").read_text().replace("mlp:width=4,depth=1", "./net.py:Net")
    (here / "plan.jsonl").write_text(text)
    with pytest.raises(
        InputError, match=r"plan.jsonl, run 2: there is no file ./net.py; .*every node has to see"
    ):
        read_sweep(here / "plan.jsonl").job(2)


def test_two_sweeps_in_one_folder_are_refused_unless_one_goes_on_with_the_other(here):
    write_sweep(here / "a.jsonl", typed(here))
    write_sweep(here / "more-seeds.jsonl", typed(here, 5))
    with pytest.raises(
        UsageError, match=r"another sweep: by the plan .*more-seeds.jsonl its run sgd-0 has lr=0.1, and"
    ):
        write_sweep(here / "b.jsonl", typed(here, lr=0.2))
    assert not (here / "b.jsonl").exists()
    train(TINY, output="runs/sgd-0")
    (here / "runs/.sweep.json").unlink()
    with pytest.raises(UsageError, match=r"runs/sgd-0 holds a run with lr=0.1, and this one has lr=0.2"):
        write_sweep(here / "b.jsonl", typed(here, lr=0.2))
    with pytest.raises(UsageError, match="two of the runs would go to"):
        write_sweep(here / "c.jsonl", [*typed(here), *typed(here)])


def test_auto_is_the_index_of_the_array_or_of_the_indexed_job(monkeypatch):
    for name in ("SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX"):
        monkeypatch.delenv(name, raising=False)
    assert index_here("7") == 7
    for text in ("auto", "x", "1.5"):
        with pytest.raises(UsageError, match="--index"):
            index_here(text)
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "4")
    assert index_here("auto") == 4
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert index_here("auto") == 3


@pytest.mark.parametrize(
    ("time", "expected"),
    [("90", 90), ("4:00:00", 240), ("90:30", 91), ("2-12", 3600), ("1-00:30", 1470), ("0-0:5:1", 6)],
)
def test_a_time_is_read_as_sbatch_reads_it(time, expected):
    assert minutes(time) == expected


def test_options_of_sbatch_are_passed_on_and_those_of_an_array_are_not():
    options = slurm_options("partition=gpu,nodelist=n1,n[3-4],time=4:00:00,--gpus_per_node=1")
    assert options == {"partition": "gpu", "nodelist": "n1,n[3-4]", "time": "4:00:00", "gpus-per-node": "1"}
    wrong = {
        "time=10,array=0-3": "decided by the sweep",
        "time=10,partiton=x": "did you mean 'partition'",
        "partition=x": "names no time",
        "": "names no time",
        "time=1": "too short",
        "time=soon": "not a time of sbatch",
        "time=10,comment=a b": "not KEY=VALUE",
        "time=10\n#SBATCH --x": "not KEY=VALUE",
    }
    for text, message in wrong.items():
        with pytest.raises(UsageError, match=message):
            slurm_options(text)


def test_an_array_names_the_runs_that_are_left():
    assert array_of([0, 1, 2, 5, 7, 8]) == "0-2,5,7-8"


RUN = """#!/bin/bash
trap 'echo saved; exit 143' TERM
echo begun
for _ in $(seq 1000); do sleep 0.01; done
"""


def script(tmp_path, run):
    """The text for sbatch with a run and a ``scontrol`` of ours, as a process that has said that it began."""
    programs = {"run": run, "scontrol": '#!/bin/bash\necho "$@"\n'}
    for name, text in programs.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    text = batch_script(tmp_path / "plan.jsonl", [0, 1], {"time": "10"}, logs=tmp_path / "logs", at_a_time=1)
    assert "#SBATCH --array=0-1%1\n" in text
    assert "#SBATCH --signal=B:USR1@90\n" in text
    [command] = [line for line in text.splitlines() if "--index auto" in line]
    (tmp_path / "s.sbatch").write_text(text.replace(command, f"{tmp_path}/run &"))
    environment = {**os.environ, "SLURM_JOB_ID": "17", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    arguments = ["bash", str(tmp_path / "s.sbatch")]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGUSR1, 0, "saved\nrequeue 17\n"), (signal.SIGTERM, 143, "saved\n")],
    ids=["the time limit", "scancel"],
)
def test_the_batch_script_saves_a_run_and_requeues_it_at_the_time_limit_alone(tmp_path, number, code, said):
    process = script(tmp_path, RUN)
    process.send_signal(number)
    assert process.communicate(timeout=30)[0] == said
    assert process.returncode == code


@pytest.mark.parametrize("code", [0, 3])
def test_the_batch_script_ends_as_its_run(tmp_path, code):
    process = script(tmp_path, f"#!/bin/bash\necho begun\nexit {code}\n")
    assert process.communicate(timeout=30)[0] == ""
    assert process.returncode == code


SAVING = """
import os, pathlib, signal, sys, time
received, folder = [], pathlib.Path(sys.argv[1])
signal.signal(signal.SIGTERM, lambda *_: received.append("x"))
(folder / "begun.part").write_text(str(os.getpid()))
(folder / "begun.part").rename(folder / "begun")
while not received:
    time.sleep(0.01)
time.sleep(0.3)
(folder / "saved").write_text("".join(received))
sys.exit(143)
"""


@pytest.fixture
def handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("numbers", "executor", "requeued"),
    [
        ([signal.SIGUSR2], "slurm", True),
        ([signal.SIGTERM, signal.SIGUSR2], "slurm", True),
        ([signal.SIGTERM], "local", False),
    ],
    ids=["the time limit", "preemption", "stopped here"],
)
def test_a_job_saves_its_run_and_is_requeued_where_the_scheduler_asks(
    tmp_path, monkeypatch, handlers, numbers, executor, requeued
):
    """A real command, which Slurm signals too, and a stand-in for the handler of submitit."""
    command = [sys.executable, "-S", "-c", SAVING, str(tmp_path)]
    monkeypatch.setattr(submission, "run_command", lambda plan, index: command)
    monkeypatch.setenv("SUBMITIT_EXECUTOR", executor)
    calls = []
    signal.signal(signal.SIGUSR2, lambda number, frame: calls.append(number))

    def send():
        while not (tmp_path / "begun").is_file():
            pass
        for number in numbers:
            if executor == "slurm":
                os.kill(int((tmp_path / "begun").read_text()), number)
            os.kill(os.getpid(), number)

    threading.Thread(target=send, daemon=True).start()
    with pytest.raises(RuntimeError, match=r"run 3 of .* ended with code 143"):
        Submission(tmp_path / "plan.jsonl")(3)
    assert (tmp_path / "saved").read_text() == "x"
    assert calls == [signal.SIGUSR2] * requeued


def test_a_requeued_job_is_the_same_one(tmp_path):
    pytest.importorskip("submitit")
    again = Submission(tmp_path, flags=["-q"], environment={"A": None}).checkpoint(4)
    assert vars(again.function) == {"plan": tmp_path, "flags": ("-q",), "environment": {"A": None}}
    assert again.args == (4,)


def test_slurm_gets_one_array_that_is_requeued(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    programs = {"sbatch": f'cat "$1" > {tmp_path}/submitted; echo Submitted batch job 123', "srun": ""}
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    options = {"partition": "gpu", "time": "1-00:00:00", "cpus-per-task": "8", "mail-user": "me@lab.org"}
    numbers = submit_array(tmp_path / "plan.jsonl", [1, 2, 5], options, logs=tmp_path / "logs", at_a_time=2)
    assert numbers == ["123_0", "123_1", "123_2"]
    lines = (tmp_path / "submitted").read_text().splitlines()
    flags = {line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")}
    expected = {
        "array=0-2%2",
        "partition=gpu",
        "time=1440",
        "cpus-per-task=8",
        "mail-user=me@lab.org",
        "requeue",
    }
    assert expected | {"signal=USR2@90", "job-name=plan"} <= flags
    assert not [flag for flag in flags if flag.startswith("wckey")]
    assert [line for line in lines if line.startswith("srun") and "--cpus-per-task=8" in line]
    monkeypatch.setenv("PATH", str(tmp_path / "logs"))
    with pytest.raises(InputError, match="there is no sbatch on this machine"):
        submit_array(tmp_path / "plan.jsonl", [1], options, logs=tmp_path / "logs")


class Pretended:
    """A job that trains at once when it is asked for the second time whether it is done."""

    def __init__(self, sweep, index, log):
        self.sweep, self.index, self.log, self.asked = sweep, index, log, 0

    def done(self):
        self.asked += 1
        if self.asked == 2 and self.index != 1:
            train(self.sweep.job(self.index).recipe, output=self.sweep.folder(self.index).path)
        return self.asked > 1

    def stop(self):
        self.log.append(f"stopped {self.index}")
        self.asked = 9

    def reason(self):
        return "it fell over"


def test_runs_side_by_side_wait_for_what_others_train_and_for_no_failure(here, monkeypatch):
    monkeypatch.setattr(local_sweep, "_TICK", 0.0)
    sweep = write_sweep(here / "plan.jsonl", typed(here, 5))
    train(TINY, output=sweep.folder(0).path)
    log = []
    elsewhere = sweep.folder(2).path
    elsewhere.mkdir()

    def start(index, device):
        log.append((index, device))
        return Pretended(sweep, index, log)

    most = []
    with locked(elsewhere):
        local = LocalSweep(sweep, start, ["cuda:0", "cuda:1"])

        def notice():
            most.append(len(local.at_work))
            if sweep.state(4) == "finished":
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            local.run(notice)
    assert local.failures == {1: "it fell over"}
    # One of the two places is that of the run elsewhere.
    assert [index for index, _ in log] == [1, 3, 4]
    assert max(most) == 2
    log.clear()
    again = LocalSweep(sweep, start, ["cuda:0", "cuda:1"])
    again.run(lambda: None)
    assert (log, again.failures) == ([(1, "cuda:0"), (2, "cuda:1")], {1: "it fell over"})
    assert [sweep.state(index) for index in range(5)] == ["finished", "waiting", *["finished"] * 3]


def test_an_interruption_stops_every_job(here, monkeypatch):
    monkeypatch.setattr(local_sweep, "_TICK", 0.0)
    sweep, log = write_sweep(here / "plan.jsonl", typed(here, 3)), []

    def interrupt():
        raise KeyboardInterrupt

    local = LocalSweep(sweep, lambda index, device: Pretended(sweep, index, log), [None, None])
    with pytest.raises(KeyboardInterrupt):
        local.run(interrupt)
    assert log == ["stopped 0", "stopped 1"]


def test_every_process_of_a_pool_has_its_own_device(tmp_path, monkeypatch):
    seen = []
    started = threading.Barrier(2)

    def served(pool, process, index, job):
        started.wait(10)
        seen.append(job.recipe.device)
        return True

    monkeypatch.setattr(Pool, "_started", lambda pool: None)
    monkeypatch.setattr(Pool, "_served", served)
    Pool(jobs(tmp_path, 4), processes=2, threads=1, devices=["cuda:0", "cuda:1"]).run(lambda event: None)
    assert sorted(seen) == ["cuda:0", "cuda:0", "cuda:1", "cuda:1"]
