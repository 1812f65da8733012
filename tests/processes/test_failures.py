"""A failure of one process of a command ends all of them: soon, with one message, its exit code and whole files."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from command_cases import free_port, process
from started import started

from landscape.processes import starting

PRETEND = Path(__file__).parent.parent / "pretend_rank.py"
INTERRUPTED = (
    "Interrupted; the results so far are on disk. To continue, run it again:\n  landscape measure net.pt -q"
)
DIED = "Error: process {} of {} was ended without a message, perhaps because memory ran out"
SILENT = "Error: process {} of {} has not answered for 4 s: it is stopped, or its machine is gone"
UNKNOWN = "No such option '--no-such-flag'; see landscape measure --help"


class Case(NamedTuple):
    """Faults by rank, the signals that are sent to some ranks, and what is to come of it."""

    faults: dict[int, str]
    code: int
    message: str
    world: int = 2
    signals: dict[int, int] = {}  # noqa: RUF012


CASES = {
    "killed": Case({1: "killed"}, 1, DIED.format(1, 2)),
    "first killed": Case({0: "killed"}, 1, DIED.format(0, 3), world=3),
    "stopped": Case({1: "stopped"}, 1, SILENT.format(1, 3), world=3),
    "first stopped": Case({0: "stopped"}, 1, SILENT.format(0, 2)),
    "memory": Case({1: "memory"}, 5, "Error: process 1 of 2: out of memory; try a smaller batch: -b 32"),
    "memory beside a file": Case(
        {0: "write", 1: "memory"}, 5, "Error: process 1 of 2: out of memory; try a smaller batch: -b 32"
    ),
    "input": Case({2: "input"}, 3, "Error: process 2 of 3: the loss is nan", world=3),
    "first input": Case({0: "input"}, 3, "Error: the loss is nan"),
    "input in all": Case({0: "input", 1: "input"}, 3, "Error: the loss is nan"),
    "internal": Case(
        {1: "internal"}, 1, "Error: process 1 of 2: internal error (KeyError); please report it"
    ),
    "deaf": Case(
        {0: "busy", 1: "memory"}, 5, "Error: process 1 of 2: out of memory; try a smaller batch: -b 32"
    ),
    "options": Case(
        {1: "options"},
        2,
        "Error: process 1 of 2 has other options than process 0 (-M accuracy instead of nothing)",
    ),
    "late options": Case(
        {1: "late options"}, 2, "Error: process 1 of 2 has other options than process 0 (-M"
    ),
    "version": Case({1: "version"}, 3, "Error: process 1 of 2 on "),
    "refused": Case({1: "refused"}, 2, f"Error: process 1 of 2: {UNKNOWN}"),
    "first refused": Case({0: "refused"}, 2, f"Error: {UNKNOWN}"),
    "Ctrl-C": Case({}, 130, INTERRUPTED, signals={0: signal.SIGINT, 1: signal.SIGINT}),
    "SIGTERM": Case({}, 143, INTERRUPTED, signals={1: signal.SIGTERM}),
    "first SIGTERM": Case({}, 143, INTERRUPTED, signals={0: signal.SIGTERM}),
    "SIGTERM in an exchange": Case({0: "busy"}, 143, INTERRUPTED, signals={1: signal.SIGTERM}),
}


WAITING = {"stopped", "first stopped", "memory beside a file", "deaf", "SIGTERM in an exchange"}
"""Those that wait for seconds, which they do at the same time."""


class Outcome(NamedTuple):
    seconds: float
    codes: list[int | None]
    out: str
    err: str
    folder: Path


def begun(case, folder):
    """The processes of a case, after its signals; all get an unknown fault, which is none."""
    folder.mkdir()
    port, words = free_port(), ["measure", "net.pt", "-q"]
    running = [
        started(process, folder, rank, case.world, port, words, case.faults.get(rank, "none"))
        for rank in range(case.world)
    ]
    for rank, number in case.signals.items():
        while not all((folder / f"{each}.ready").exists() for each in range(case.world)):
            time.sleep(0.01)
        os.kill(running[rank].pid, number)
    return running, time.monotonic()


def over(case, running, since, folder):
    left = [each for rank, each in enumerate(running) if case.faults.get(rank) != "stopped"]
    for each in left:
        each.join(60)
    seconds = time.monotonic() - since
    codes = [each.exitcode if each in left else None for each in running]
    for each in running:
        each.kill()
    texts = {
        kind: "".join(file.read_text() for file in sorted(folder.glob(f"*.{kind}")))
        for kind in ("out", "err")
    }
    said = [
        line for line in texts["err"].splitlines(keepends=True) if not line.startswith("Note: 3 processes")
    ]
    return Outcome(seconds, codes, texts["out"], "".join(said), folder)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What came of all cases; as they mostly wait, several run at a time."""
    root, found = tmp_path_factory.mktemp("failures"), {}
    names = sorted(CASES, key=lambda name: name not in WAITING)
    for k in range(0, len(names), 5):
        some = {name: (CASES[name], root / name.replace(" ", "-")) for name in names[k : k + 5]}
        running = {name: begun(case, folder) for name, (case, folder) in some.items()}
        for name, (case, folder) in some.items():
            found[name] = over(case, *running[name], folder)
    return found


@pytest.mark.parametrize("name", CASES)
def test_all_end_with_the_code_of_the_failure(outcomes, name):
    case, outcome = CASES[name], outcomes[name]
    gone = {
        rank: code
        for rank, code in enumerate(outcome.codes)
        if case.faults.get(rank) not in ("killed", "stopped")
    }
    assert set(gone.values()) == {case.code}
    assert outcome.seconds < 30


@pytest.mark.parametrize("name", CASES)
def test_one_message_says_why(outcomes, name):
    case, outcome = CASES[name], outcomes[name]
    assert outcome.out == ""
    assert outcome.err.count(case.message) == 1, outcome.err
    rest = outcome.err.strip()
    if name == "internal":
        assert rest.startswith("Traceback")
        assert rest.count("Error: process 1") == 1
        rest = rest[rest.index("Error: process 1") :]
    assert rest.startswith(case.message), outcome.err
    assert rest.count("\n") == case.message.count("\n"), outcome.err


def test_the_message_is_that_of_the_first_process(outcomes):
    """The next one prints if there is no other left."""
    for name, outcome in outcomes.items():
        files = sorted(outcome.folder.glob("*.err"))
        spoke = [
            file.name
            for file in files
            if {"Error", "Interrupted"} & set(re.findall(r"\w+", file.read_text()))
        ]
        assert spoke == ["1.err" if name in ("first killed", "first stopped") else "0.err"], name


def test_what_is_on_disk_is_whole(outcomes):
    for outcome in outcomes.values():
        lines = outcome.folder / "lines"
        if lines.exists():
            content = lines.read_text()
            assert content.endswith("\n")
            assert content.split() == list(map(str, range(content.count("\n"))))
    left = [file.name for file in outcomes["memory beside a file"].folder.iterdir() if "whole" in file.name]
    assert left == []


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_never_comes_is_named(tmp_path, rank):
    port = free_port()
    here = started(process, tmp_path, rank, 2, port, ["measure", "net.pt", "-q"], "alone")
    here.join(60)
    assert here.exitcode == 1
    lines = (tmp_path / f"{rank}.err").read_text().splitlines()
    if rank == 0:
        assert lines[0] == "Note: process 1 of 2 has not come yet; waiting for at most 1 s"
        assert lines[1].startswith("Error: process 1 of 2 did not come within 1 s: it did not start")
    else:  # which prints because the first one does not
        assert lines[0].startswith(
            f"Error: process 1 of 2 found nobody at 127.0.0.1:{port} for 1 s: the first"
        )
    assert len(lines) == 2 - rank


def test_another_program_at_the_port_is_noticed(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:  # which never answers
        port = other.getsockname()[1]
        here = started(process, tmp_path, 1, 2, port, ["measure", "net.pt", "-q"], "alone")
        here.join(60)
        here.kill()
    assert here.exitcode == 1
    lines = (tmp_path / "1.err").read_text().splitlines()
    assert [line.partition(": another program has that port")[0] for line in lines] == [
        f"Error: process 1 of 2 has no answer from 127.0.0.1:{port}"
    ]


@pytest.fixture
def pretended(monkeypatch, tmp_path):
    """Processes of ``--processes`` that only pretend to compute, with short waits."""
    monkeypatch.setattr(starting, "_PROGRAM", [sys.executable, str(PRETEND)])
    for name, seconds in {"_REST": 0.7, "_KILLED": 0.3, "_SIGNALLED": 1.0, "_LOOK": 0.01}.items():
        monkeypatch.setattr(starting, name, seconds)

    def run(fault, at, world=2, number=None):
        def send():
            while len(list(tmp_path.glob("*.pid"))) < world:
                time.sleep(0.01)
            os.kill(os.getpid(), number)

        if number is not None:
            threading.Thread(target=send).start()
        return starting.run_processes(world, [str(tmp_path), fault, str(at)])

    yield run
    assert not [file for file in tmp_path.glob("*.pid") if alive(int(file.read_text()))]


def alive(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("fault", "at", "code", "message"),
    [
        ("well", 0, 0, ""),
        (
            "killed",
            0,
            1,
            "Error: process 0 of 2 was ended by SIGKILL (out of memory?); what is finished is on disk\n",
        ),
        (
            "killed",
            1,
            1,
            "Error: process 1 of 2 was ended by SIGKILL (out of memory?); what is finished is on disk\n",
        ),
        ("silent", 1, 9, "Error: process 1 of 2 ended with exit code 9 and said nothing\n"),
        ("input", 1, 3, "Error: process 1 of 2: no such file\n"),
        ("input", 0, 3, "Error: no such file\n"),
    ],
)
def test_processes_started_here_end_together(pretended, capfd, fault, at, code, message):
    assert pretended(fault, at) == code
    found = capfd.readouterr()
    assert (found.out, found.err) == ("rank 0\n", message)


def test_a_signal_that_a_background_process_ignores_is_not_passed_on():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with starting._passed_on([]) as received:
            signal.raise_signal(signal.SIGINT)
            assert received == []
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("fault", ["wait", "deaf"])
def test_a_signal_here_ends_all(pretended, capfd, fault):
    with pytest.raises(KeyboardInterrupt):
        pretended(fault, 0, number=signal.SIGINT)
    assert capfd.readouterr().err == ""  # the command line says it once


def test_a_signal_while_processes_are_started_ends_those_that_come_after(pretended, monkeypatch, tmp_path):
    start, begun = subprocess.Popen, []

    def popen(*words, **options):
        begun.append(start(*words, **options))
        if len(begun) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return begun[-1]

    monkeypatch.setattr(starting.subprocess, "Popen", popen)
    with pytest.raises(KeyboardInterrupt):
        pretended("wait", 0, world=3)
    assert len(begun) == 3
    assert {each.returncode for each in begun} <= {-signal.SIGTERM, 128 + signal.SIGTERM}


def test_processes_whose_parent_is_killed_end(tmp_path):
    code = (
        "import sys; from landscape.processes import starting; "
        f"starting._PROGRAM = [sys.executable, {str(PRETEND)!r}]; "
        f"starting.run_processes(2, [{str(tmp_path)!r}, 'wait', '0'])"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while len(list(tmp_path.glob("*.pid"))) < 2:
        time.sleep(0.02)
    parent.kill()
    _, err = parent.communicate(timeout=30)  # until the last process with these streams has ended
    assert err.decode().splitlines() == ["Error: the command that started these processes was ended"]
    numbers = [int(file.read_text()) for file in tmp_path.glob("*.pid")]
    deadline = time.monotonic() + 30
    while any(map(alive, numbers)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
