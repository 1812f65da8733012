"""Ctrl-C and SIGTERM, deferred until the step is complete and the run is on disk."""

import contextlib
import signal
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any

from landscape.processes.group import ALONE, Group

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption(contextlib.AbstractContextManager["Interruption"]):
    """A context in which SIGINT and SIGTERM only set a flag; a second signal acts at once.

    Outside the main thread, where Python delivers no signals, it does nothing.

    Several processes stop at the same step, whichever of them was signalled: a signal counts once :meth:`agree` has
    been called with what all have noted. A second signal is ignored then, because one request reaches a process
    by several ways, from the terminal and from whoever started it.
    """

    def __init__(self, group: Group = ALONE) -> None:
        self._group = group
        self._received: int | None = None
        self._agreed: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                # A shell makes its background processes ignore signals; that stays so.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            # A handler that was not installed from Python is None here and cannot be restored.
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._previous.clear()

    @property
    def received(self) -> bool:
        """Whether a signal is waiting."""
        return self._waiting is not None

    def noted(self) -> list[float]:
        """For each signal, whether this process has received it: 1 or 0."""
        return [float(self._received == number) for number in _SIGNALS]

    def agree(self, sums: Sequence[float]) -> None:
        """Learns how many processes have noted each signal; all are called with the same."""
        if self._agreed is None:
            self._agreed = next((n for n, count in zip(_SIGNALS, sums, strict=True) if count > 0), None)

    def ask(self) -> None:
        """Does what a waiting signal asks for, in all processes if one has received it; all call it."""
        if not self._group.alone:
            everywhere = self._group.gathered(self.noted())
            self.agree([sum(counts) for counts in zip(*everywhere, strict=True)])
        self.act()

    def act(self) -> None:
        """Does what the waiting signal asks for, if there is one.

        Raises:
            KeyboardInterrupt: SIGINT was received.
            SystemExit: SIGTERM was received; the status is 143.
        """
        if self._waiting == signal.SIGINT:
            raise KeyboardInterrupt
        if self._waiting == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)

    @property
    def _waiting(self) -> int | None:
        return self._received if self._group.alone else self._agreed

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._received is None:
            self._received = number
            return
        if self._group.alone:
            self.__exit__()
            signal.raise_signal(number)
