"""The bar of ``measure()``: where somebody looks, after a while, and gone at the end."""

import io
import sys

import problems
import pytest
from rich.progress import Progress

import landscape
from landscape.measures import progress

NAMES = ["dominant-eigenvalue", "hessian-trace:method=hutchinson,max_probes=20"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    monkeypatch.setenv("TERM", "xterm")

    def look():  # within the test: pytest has another stderr before
        monkeypatch.setattr("sys.stderr", stream := Terminal())
        return stream

    return look


def test_a_terminal_sees_what_is_done_and_nothing_is_left(terminal):
    stderr = terminal()
    objective = problems.small_objective()
    found = landscape.measure(objective, NAMES)
    assert "goal" in stderr.getvalue()  # of the trace, whose report is the last one
    assert "\x1b[2K" in stderr.getvalue()  # the line is taken back
    assert objective.ledger.listener is None
    without = landscape.measure(problems.small_objective(), NAMES, progress=False)
    assert [estimate.value for estimate in found] == [estimate.value for estimate in without]


def test_a_quick_measure_shows_none(terminal, monkeypatch):
    stderr = terminal()
    monkeypatch.setattr(progress, "_PATIENCE", 60.0)
    landscape.measure(problems.small_objective(), NAMES)
    assert stderr.getvalue() == ""


def test_a_pipe_sees_none(monkeypatch):
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    monkeypatch.setattr("sys.stderr", stream := io.StringIO())
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    landscape.measure(problems.small_objective(), NAMES)
    assert stream.getvalue() == ""


def test_a_listener_of_the_callers_stays(terminal):
    stderr = terminal()
    objective, heard = problems.small_objective(), []
    objective.ledger.listener = listener = lambda words, share: heard.append(words)
    landscape.measure(objective, NAMES)
    assert objective.ledger.listener is listener
    assert heard
    assert stderr.getvalue() == ""


def test_a_failure_ends_the_bar(terminal):
    stderr = terminal()
    objective = problems.small_objective()

    def fail():
        with progress.shown(objective):
            objective.ledger.tell("begun", 0.5)
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        fail()
    assert objective.ledger.listener is None
    assert "begun" in stderr.getvalue()


def test_beside_a_bar_of_the_callers_it_is_no_failure(terminal):
    terminal()
    with Progress():
        landscape.measure(problems.small_objective(), NAMES)
