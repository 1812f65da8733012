"""Signals wait for the end of a step, and the handlers are the caller's again afterwards."""

import signal
import threading

import pytest

from landscape.training.interruption import Interruption

BOTH = (signal.SIGINT, signal.SIGTERM)


def handlers():
    return [signal.getsignal(number) for number in BOTH]


@pytest.mark.parametrize(
    ("number", "expected", "status"),
    [(signal.SIGINT, KeyboardInterrupt, None), (signal.SIGTERM, SystemExit, 143)],
)
def test_a_signal_is_noted_first_and_acted_on_when_asked(number, expected, status):
    before = handlers()
    with Interruption() as interruption:
        assert not interruption.received
        signal.raise_signal(number)
        assert interruption.received
        with pytest.raises(expected) as caught:
            interruption.act()
    assert getattr(caught.value, "code", None) == status
    assert handlers() == before


def test_without_a_signal_nothing_happens():
    with Interruption() as interruption:
        interruption.act()


def test_a_second_signal_acts_at_once():
    before = handlers()
    with pytest.raises(KeyboardInterrupt), Interruption():  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second signal was held back")
    assert handlers() == before


def test_a_signal_that_is_ignored_stays_ignored():
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            signal.raise_signal(signal.SIGINT)
            assert not interruption.received
    finally:
        signal.signal(signal.SIGINT, previous)


def test_another_thread_leaves_the_handlers_alone():
    before, inside = handlers(), []

    def enter():
        with Interruption():
            inside.extend(handlers())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert inside == before
