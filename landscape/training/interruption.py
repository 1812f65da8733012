"""Ctrl-C and SIGTERM, deferred until the step is complete and the run is on disk."""

import contextlib
import signal
import threading
from types import FrameType
from typing import Any


class Interruption(contextlib.AbstractContextManager["Interruption"]):
    """A context in which SIGINT and SIGTERM only set a flag; a second signal acts at once.

    Outside the main thread, where Python delivers no signals, it does nothing.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
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
        return self._received is not None

    def act(self) -> None:
        """Does what the waiting signal asks for, if there is one.

        Raises:
            KeyboardInterrupt: SIGINT was received.
            SystemExit: SIGTERM was received; the status is 143.
        """
        if self._received == signal.SIGINT:
            raise KeyboardInterrupt
        if self._received == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._received is None:
            self._received = number
            return
        self.__exit__()
        signal.raise_signal(number)
