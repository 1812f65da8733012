"""Ctrl-C and SIGTERM, held back until the step is complete and the run is on disk."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Interruption:
    """A context in which SIGINT and SIGTERM only set a flag; a second signal acts at once.

    Outside the main thread, where Python does not deliver signals, it does nothing.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                # What a shell has a background process ignore stays ignored.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    @property
    def received(self) -> bool:
        """Whether a signal is waiting."""
        return self._received is not None

    def act(self) -> None:
        """Do what the waiting signal asks for, if there is one.

        Raises:
            KeyboardInterrupt: SIGINT was received.
            SystemExit: SIGTERM was received, with status 143.
        """
        if self._received == signal.SIGINT:
            raise KeyboardInterrupt
        if self._received == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._received is None:
            self._received = number
            return
        self._restore()
        signal.raise_signal(number)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            # A handler that was not installed from Python is None here and cannot be put back.
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._previous.clear()
