"""``landscape surface --processes N`` and ``--shard auto``: what is written, said and returned."""

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from command_line import TINY, call
from command_line import landscape as landscape
from landscape.cli.surface_team import Assistants, Team
from started import Command

from landscape.surfaces.journal import Journal
from landscape.surfaces.shared import read_shared

SMALL = ("surface", "run", "--points", "5", "--limit", "20", "--device", "cpu", "-q")
SURFACE = (*SMALL, "-o", "s.svg")
BOTH = ("surface", "run", "other", *SMALL[2:], "-o", "s.csv")
LONG = ("surface", "run", "--points", "25", "--limit", "1500", "-b", "4", "--device", "cpu", "-o", "s.csv")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    with contextlib.chdir(folder):
        for name, seed in (("run", "0"), ("other", "1")):
            assert call(["train", *TINY, "--seed", seed, "-o", name, "-q"]) == 0
    return folder


@pytest.fixture
def here(trained, tmp_path):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def task(monkeypatch):
    """This is the second of three tasks of an array."""
    for name, value in (("ID", "1"), ("COUNT", "3"), ("MIN", "0"), ("STEP", "1")):
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)


def made(folder):
    """What the command has left, but for its folder."""
    names = [file for file in folder.iterdir() if file.name[:2] in ("s.", "s-") and file.is_file()]
    return {file.name: file.read_bytes() for file in names}


def interrupted(landscape, *arguments, after):
    append, left = Journal.append, [after]

    def interrupting(self, *point):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        append(self, *point)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "append", interrupting)
        assert landscape(*arguments).code == 130


def counting(computed):
    append = Journal.append

    def counted(self, *point):
        computed.append(point)
        append(self, *point)

    return counted


@pytest.mark.parametrize("command", [SURFACE, BOTH], ids=["one", "two"])
def test_a_task_writes_the_bytes_of_one_process_and_one_that_is_late_finds_them(
    here, landscape, task, monkeypatch, command
):
    alone = landscape(*command)
    expected = made(here)
    for name in expected:
        (here / name).unlink()
    interrupted(landscape, *command, "--shard", "auto", after=4)
    assert (here / ("s.work" if command == SURFACE else "s-1.work")).is_dir()
    done = landscape(*command, "--shard", "auto")
    assert not [file for file in here.iterdir() if "work" in file.name]
    assert (done.code, done.out) == (0, alone.out)
    assert made(here) == expected
    monkeypatch.setattr(Journal, "append", None)
    late = landscape(*command, "--shard", "auto")
    assert (late.code, late.out) == (0, alone.out)
    assert made(here) == expected


def test_one_process_continues_what_tasks_have_begun_and_they_what_it_has(here, landscape, task):
    assert landscape(*SURFACE).code == 0
    expected = made(here)
    for first, second in ((("--shard", "auto"), ()), ((), ("--shard", "auto"))):
        for name in expected:
            (here / name).unlink()
        interrupted(landscape, *SURFACE, *first, after=9)
        computed = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Journal, "append", counting(computed))
            assert landscape(*SURFACE, *second).code == 0
        assert len(computed) == 25 - 9
        assert made(here) == expected


def test_a_full_disk_ends_a_task_with_one_line_and_costs_one_point(here, landscape, task, monkeypatch):
    append, left = Journal.append, [6]

    def full(self, *point):
        left[0] -= 1
        if left[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device", "s.work/00.journal")
        append(self, *point)

    monkeypatch.setattr(Journal, "append", full)
    stopped = landscape(*SURFACE, "--shard", "auto")
    assert stopped.code == 3
    assert "s.work/00.journal: No space left on device" in stopped.error
    assert landscape(*SURFACE, "--shard", "auto").code == 0
    assert left[0] == 6 - 1 - 25


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--shard", "auto", "--overwrite"), "--shard auto --overwrite: a task that starts late"),
        (("--shard", "auto", "--no-resume"), "--shard auto --no-resume: a task that starts late"),
        (("--shard", "auto", "--processes", "2"), "a scheduler starts, and --processes starts them here"),
        (("--shard", "1/2", "--processes", "2"), "--processes 2 is for a whole surface"),
        (("--shard", "all"), "--shard all is neither auto nor of the form I/N"),
    ],
)
def test_what_does_not_go_together_is_refused(here, landscape, task, flags, words):
    refused = landscape(*SURFACE, *flags)
    assert refused.code == 2
    assert words in refused.error
    assert not made(here)


def test_other_flags_in_one_task_are_refused_and_the_others_go_on(here, landscape, task):
    interrupted(landscape, *SURFACE, "--shard", "auto", after=4)
    refused = landscape(*SURFACE, "--plane", "random:seed=1", "--shard", "auto")
    assert refused.code == 3
    assert "s.work is the work of another run: its plane.options.seed is None, here it is 1" in refused.error
    (here / "s.work" / "notes.txt").touch()
    foreign = landscape(*SURFACE, "--no-resume")
    assert foreign.code == 3
    assert "s.work is needed to share the surface between processes, and holds notes.txt" in foreign.error
    (here / "s.work" / "notes.txt").unlink()
    assert landscape(*SURFACE, "--shard", "auto").code == 0


def test_without_a_scheduler_or_under_one_that_is_not_named_the_way_on_is(here, landscape, monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX"):
        monkeypatch.delenv(name, raising=False)
    assert "--processes N on one machine" in landscape(*SURFACE, "--shard", "auto").error
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    error = landscape(*SURFACE).error
    assert "(--shard auto)" in error
    assert "--processes N needs no launcher" in error


def test_an_assistant_that_dies_is_said_in_one_line(capsys):
    assistants = Assistants(None, 3)
    for script in ("kill -9 $$", "echo 'Error: no GPU' >&2; exit 3"):
        errors = tempfile.TemporaryFile()  # noqa: SIM115
        process = subprocess.Popen(["sh", "-c", script], stderr=errors)
        process.wait()
        assistants._processes.append((process, errors))
    assistants.look()
    assistants.look()
    assert capsys.readouterr().err.splitlines() == [
        "process 2 of 3 was ended by SIGKILL (out of memory?); the others do its work",
        "process 3 of 3 failed (no GPU); the others do its work",
    ]
    assistants.stop()


def test_gpus_are_one_each(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert Team(workers=4, task=True).device("auto") == "cuda:1"
    assert Team(workers=4, parent=1).device("cuda") == "cuda:1"
    assert Team(workers=4, started=4).device("auto") == "cuda:0"
    assert Team(workers=4, task=True).device("cpu") == "cpu"
    assert Team().device("auto") == "auto"


def points(folder):
    """The number of points that each process has computed."""
    return [max(0, file.read_bytes().count(b"\n") - 1) for file in folder.glob("s.work/*.journal")]


def assistants_of(pid):
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(number) for number in found.stdout.split()]


def wait_for(condition, process):
    deadline = time.monotonic() + 120
    while not condition():
        assert process.alive(), process.ended()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.thorough
def test_processes_share_a_surface_survive_one_and_stop_together(here, landscape):
    command = Command(*LONG, "--processes", "2", cwd=here)
    wait_for(lambda: sum(count > 1 for count in points(here)) == 2, command)
    [assistant] = assistants_of(command._process.pid)
    os.kill(assistant, signal.SIGKILL)
    said = "process 2 of 2 was ended by SIGKILL (out of memory?); the others do its work"
    wait_for(lambda: said in (here / ".stderr").read_text(), command)
    before = sum(points(here))
    wait_for(lambda: sum(points(here)) > before + 3, command)
    command.send(signal.SIGTERM)
    code, out, err = command.ended()
    assert (code, out) == (143, "")
    assert err.strip().splitlines()[-1] == f"  landscape {' '.join(LONG)} --processes 2"
    assert not Path(f"/proc/{assistant}").exists()
    assert read_shared(here / "s.work").computed.sum() == sum(points(here))
    assert sorted(made(here)) == []
