"""What is said of the time that is left: what is known, or nothing."""

import pytest
from landscape.cli import progress
from landscape.cli.progress import Bar
from problems import quadratic

from landscape.measures import MEASURES


class Clock:
    """Time that a test moves."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)

    def at(self, bar, seconds, words, fraction):
        self.now = 1000.0 + seconds
        bar.tell(words, fraction)


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
        found = MEASURES.build("dominant-eigenvalue:max_iterations=500", objective)
    assert found.converged
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(steps) > 30
    assert not [line for line in lines if "about 0 s" in line]
    assert all("tolerance 1.0e-03" in line for line in lines)
