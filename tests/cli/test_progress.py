"""What is said of the time that is left: what is known, or nothing."""

import io
import re
import sys

import pytest
from command_line import call
from landscape.cli import progress, terminal
from landscape.cli.progress import Bar, TimeLeft
from problems import quadratic

from landscape.measures import MEASURES


class Clock:
    """Time that a test moves."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)

    def at(self, bar, seconds, words, fraction, **more):
        self.now = 1000.0 + seconds
        bar.tell(words, fraction, **more)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_a_forecast_that_has_passed_is_not_said_to_be_almost_over(clock, capsys):
    with Bar("eigenvalue", quiet=False, expected=20.0) as bar:
        for seconds in (35, 70, 105):
            clock.at(bar, seconds, "residual 3e-2, wanted 1e-3", None)
        clock.at(bar, 140, "residual 2e-3", 0.05)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:3] == ["eigenvalue: (residual 3e-2, wanted 1e-3)"] * 3
    assert lines[3] == "eigenvalue: 5%, about 44 min 20 s left (residual 2e-3)"


def test_until_a_share_is_done_the_forecast_is_said_and_then_the_share(clock, capsys):
    with Bar("trace", quiet=False, expected=200.0) as bar:
        clock.at(bar, 50, "a", 0.01)
        clock.at(bar, 100, "b", 0.5)
        clock.at(bar, 150, "c", 1.0)
    assert capsys.readouterr().err.splitlines() == [
        "trace: 1%, about 2 min 30 s left (a)",
        "trace: 50%, about 1 min 40 s left (b)",
        "trace: 100% (c)",
    ]


def test_a_slow_search_on_a_network_is_never_said_to_be_over_before_it_is(clock, capsys):
    objective, _ = quadratic([1.0, 0.97, *[0.5] * 8])
    with Bar("dominant-eigenvalue", quiet=False, expected=20.0) as bar:
        steps = []

        def listen(words, fraction):
            steps.append(fraction)
            clock.at(bar, 31.0 * len(steps), words, fraction)

        objective.ledger.listener = listen
        found = MEASURES.build("dominant-eigenvalue:method=power,max_iterations=500", objective)
    assert found.converged
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(steps) > 30
    assert not [line for line in lines if "about 0 s" in line]
    assert all(re.search(r"step \d+, residual \S+ \(goal 1e-03\), eigenvalue ", line) for line in lines)


def left(clock, estimate, seconds, fraction):
    clock.now = 1000.0 + seconds
    estimate.learn(fraction)
    return estimate.words()


def test_an_estimate_that_was_disproved_is_not_repeated(clock):
    estimate = TimeLeft()
    assert left(clock, estimate, 90, 0.9) == "about 10 s left"
    assert left(clock, estimate, 100, 0.95) == "about 5 s left"
    # The first was wrong by more than a factor of two: whatever said it is not believed now.
    assert [left(clock, estimate, at, 0.99) for at in (115, 150, 170)] == ["", "", ""]
    assert left(clock, estimate, 400, 0.5) == "about 6 min 40 s left"


def test_an_estimate_runs_down_by_itself_and_never_says_zero(clock):
    estimate = TimeLeft()
    assert left(clock, estimate, 90, 0.9) == "about 10 s left"
    clock.now += 6
    assert estimate.words_or_spent() == "about 4 s left"
    clock.now += 3.8
    assert (estimate.words(), estimate.words_or_spent()) == ("", "1 min 40 s")
    clock.now += 360
    assert estimate.words_or_spent() == "7 min 40 s"


def test_what_an_earlier_process_did_and_a_slow_start_do_not_count(clock):
    estimate = TimeLeft(counted=True)
    assert left(clock, estimate, 20, 0.8) == ""  # nothing is known of the pace yet
    assert left(clock, estimate, 30, 0.81) == "about 3 min 10 s left"
    assert left(clock, estimate, 40, 0.82) == "about 3 min 00 s left"


def test_each_part_of_the_work_has_a_line_until_it_ends(clock, capsys):
    with Bar("2 runs", quiet=False, counted=True) as bar:
        for name in ("sgd-0", "sam-0"):
            clock.at(bar, 1, "epoch 1 of 2, loss 2", 0.1, part=name)
        clock.at(bar, 11, "epoch 1 of 2, loss 1", 0.2, part="sgd-0")
        clock.at(bar, 31, "0 of 2 done", 0.25)
        bar.end("sgd-0")
        clock.at(bar, 62, "1 of 2 done", 0.5)
    assert capsys.readouterr().err.splitlines() == [
        "2 runs: 25% (0 of 2 done)",
        "sgd-0: 20%, about 1 min 00 s left (epoch 1 of 2, loss 1)",
        "sam-0: 10% (epoch 1 of 2, loss 2)",
        "2 runs: 50%, about 1 min 02 s left (1 of 2 done)",
        "sam-0: 10% (epoch 1 of 2, loss 2)",
    ]


def test_many_steps_cost_little(clock):
    estimate = TimeLeft()
    for step in range(1, 5000):
        left(clock, estimate, step, step / 5000)
    assert len(estimate._said) < 60


class Terminal(io.StringIO):
    """What a terminal is sent."""

    def isatty(self):
        return True


def on_a_terminal(monkeypatch):
    """Puts a terminal of 30 columns behind stderr; in a test and not in a fixture, after which pytest takes it away."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setenv("COLUMNS", "30")
    return stream


def test_a_note_is_replaced_by_the_next_output(monkeypatch):
    screen = on_a_terminal(monkeypatch)
    with terminal.plain_output():
        terminal.note("opening a…")
        terminal.note("opening a file with a very long name.pt")
        print("result")
    first, second = "opening a…", "opening a file with a very lo"  # a note that wraps could not be taken back
    erased = [f"\r{' ' * (len(first) + 1)}\r", f"\r{' ' * len(second)}\r"]
    assert screen.getvalue() == first + erased[0] + second + erased[1]


def test_notes_act_on_no_terminal_and_are_hidden_under_a_bar_and_with_quiet(monkeypatch):
    screen = on_a_terminal(monkeypatch)
    with terminal.plain_output():
        terminal.note("\x1b[2J")
    assert "\x1b" not in screen.getvalue()
    length = len(screen.getvalue())
    assert terminal.switch_notes(off=True) is False
    terminal.note("a")
    assert terminal.switch_notes(off=False) is True
    assert len(screen.getvalue()) == length


@pytest.mark.parametrize(("flags", "starts"), [((), True), (("-q",), False), (("--help",), False)])
def test_on_a_terminal_every_command_says_at_once_that_it_starts(monkeypatch, flags, starts):
    screen = on_a_terminal(monkeypatch)
    call(["measure", "nothing.pt", *flags])
    assert screen.getvalue().startswith("landscape measure: starting…") == starts


def test_a_bar_has_one_line_of_the_width_of_the_terminal(monkeypatch):
    screen = on_a_terminal(monkeypatch)
    with Bar("title", quiet=False) as bar:
        bar.tell("words that are far too long for a line of thirty characters", 0.5)
        bar._live.refresh()
        terminal.note("hidden")
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())
    lines = [line for line in re.split(r"[\r\n]", plain) if line.strip()]
    assert all(line.startswith("title") and len(line) <= 30 for line in lines)
    assert any("50%" in line for line in lines)
