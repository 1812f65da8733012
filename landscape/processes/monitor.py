"""The watch that every process of a command keeps: whether the others live, and why one of them failed.

A process that waits in an exchange can neither run Python's signal handlers nor learn that another one failed; with
NCCL it does not even notice that it died. So a thread holds a connection between the first process and each other one:
a process that dies closes it, one that fails says why, one that is stopped says nothing. Whoever is left is ended,
and one message is printed.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from landscape.errors import ProcessFailed

# Seconds; together they are less than the 30 within which a command of several processes ends.
BEAT = 1.0  # between two signs of life
SILENT_BEATS = 15  # counted, not timed, so that a suspended computer does not seem to have lost anybody
OWN_END = 1.0  # for the main thread to fail by itself after another process did: its exchange raises
UNWINDING = 2.0  # for it to clean up after it was interrupted
SIGNALLED = 18.0  # for it to act upon a signal, which training does after the step
TERMINATED = 128 + signal.SIGTERM


class Failure(NamedTuple):
    """Why the processes of a command end.

    Attributes:
        rank: The process that failed.
        code: The exit code of all.
        text: The message, with line breaks.
        lost: Whether the process did not say this itself: it was ended, or does not answer.
    """

    rank: int
    code: int
    text: str
    lost: bool = False


class Link:
    """A connection that carries lines of JSON."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(5.0)  # of one send, as the other end may be stopped
        self.socket = connection
        self.silent = 0
        self.left = False
        self._received = b""

    def send(self, kind: str, **fields: Any) -> bool:
        """Sends a message; returns whether the other end was there."""
        try:
            self.socket.sendall(json.dumps({"kind": kind, **fields}).encode() + b"\n")
        except OSError:
            return False
        return True

    def messages(self) -> list[dict[str, Any]] | None:
        """What has arrived; ``None`` at the end of the connection."""
        try:
            chunk = self.socket.recv(1 << 16)
        except OSError:
            chunk = b""
        if not chunk:
            return None
        *lines, self._received = (self._received + chunk).split(b"\n")
        self.silent = 0
        with contextlib.suppress(ValueError):
            return [message for message in map(json.loads, lines) if isinstance(message, dict)]
        return None


class Watch(threading.Thread):
    """The thread that watches over one of several processes; made in the main thread.

    Args:
        rank: The number of this process.
        world: How many there are.
        say: Prints the message of a failure.
        interrupted: The message of a signal, given the exit code.
        parent: The connection to the command that started the processes, if it is ours: it prints then.
    """

    def __init__(
        self,
        rank: int,
        world: int,
        *,
        say: Callable[[str], None],
        interrupted: Callable[[int], str],
        parent: socket.socket | None = None,
    ) -> None:
        super().__init__(name="watch", daemon=True)
        self.rank, self.world = rank, world
        self._say, self._interrupted = say, interrupted
        self._parent = None if parent is None else Link(parent)
        self._links: dict[int, Link] = {}
        self._selector = selectors.DefaultSelector()
        self._bell, self._ear = socket.socketpair()
        self._bell.setblocking(False)
        self._changed = threading.Condition()
        self._failure: Failure | None = None
        self._failed_at = self._signalled_at = 0.0
        self._signal: int | None = None
        self._has_left = self._is_over = self._was_interrupted = False
        self._ended_by: int | None = None  # a thread
        self._handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self._selector.register(self._ear, selectors.EVENT_READ, self._heard_bell)
        if self._parent is not None:
            self._selector.register(self._parent.socket, selectors.EVENT_READ, self._heard_parent)
        self._bell_before = signal.set_wakeup_fd(self._bell.fileno(), warn_on_full_buffer=False)

    # What the main thread calls.

    @property
    def has_parent(self) -> bool:
        """Whether a command of ours started this process, which then prints."""
        return self._parent is not None

    @property
    def is_joined(self) -> bool:
        """Whether there is a connection to another process."""
        return bool(self._links)

    @property
    def connections(self) -> int:
        """How many other processes are connected to this one."""
        return len(self._links)

    def lead(self, listener: socket.socket, token: str) -> None:
        """Accepts the connections of the other processes, which know the token."""
        self._selector.register(listener, selectors.EVENT_READ, lambda: self._accept(listener, token))
        self._ring()

    def follow(self, connection: socket.socket, token: str) -> None:
        """Watches the first process at the other end of a connection."""
        self._link(0, Link(connection)).send("here", token=token, rank=self.rank)
        self._ring()

    def known(self, failure: Failure) -> None:
        """Takes notice of a failure, if it is the first: this process will end with it."""
        with self._changed:
            if self._failure is None and not self._has_left:
                self._failure, self._failed_at = failure, time.monotonic()
                if self.rank == 0:
                    self._broadcast("failure", **failure._asdict())
                self._changed.notify_all()
        self._ring()

    def check(self) -> None:
        """Raises a :class:`ProcessFailed` if a failure is known; for a main thread that waits."""
        if self._failure is not None:
            raise ProcessFailed(self._failure.text)

    def leave(self) -> None:
        """Waits until all processes have finished, after which the end of a connection is no failure."""
        with self._changed:
            if self.rank:
                self._links[0].send("bye")
            self._changed.wait_for(lambda: self._failure or all(link.left for link in self._links.values()))
            self.check()
            self._has_left = True
            if self.rank == 0:
                self._broadcast("bye")

    def end(self, code: int, text: str, *, follows: bool) -> int:
        """Ends the others too, and has one message printed for all; returns the exit code.

        Args:
            code: The exit code of this process by itself.
            text: The message of this process by itself.
            follows: Whether it may have failed only because another one did, which then says why.
        """
        with self._changed:
            if not self._claim():
                self._changed.wait(60)  # the other thread is about to end this process
            for number in self._handlers:
                signal.signal(number, signal.SIG_IGN)
            own = failure = Failure(self.rank, code, placed(text, self.rank, self.world), lost=follows)
            # A signal reaches all processes at once, so that nobody has to say why for long.
            seconds = 0.5 if code == TERMINATED else 5.0 if self.rank == 0 else 10.0
            if follows or self._was_interrupted or code == TERMINATED:
                self._changed.wait_for(lambda: self._failure, seconds if self.is_joined else 0)
                failure = self._failure or own
            if failure is own and self.rank and self.is_joined:
                self._links[0].send("failure", **own._asdict())
                self._changed.wait_for(lambda: self._failure, OWN_END + UNWINDING)
            elif self.rank == 0:
                self.known(failure)
        self._publish(failure)
        return failure.code

    def stop(self) -> None:
        """Ends the thread, and gives signals back to who had them."""
        self._is_over = True
        signal.set_wakeup_fd(self._bell_before)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._ring()
        self.join(5)
        for link in self._links.values():
            link.socket.close()

    # What the thread does.

    def run(self) -> None:
        """Listens, gives signs of life and ends the process when it has to."""
        next_look = time.monotonic() + BEAT
        while not self._is_over:
            for key, _ in self._selector.select(min(BEAT, 0.2) if self._failure else BEAT):
                key.data()
            if time.monotonic() >= next_look:
                self._look()
                next_look = time.monotonic() + BEAT
            self._act()

    def _look(self) -> None:
        """Gives a sign of life to the others, and counts those that have given none."""
        for rank, link in list(self._links.items()):
            link.send("beat")
            link.silent += 1
            if link.silent > SILENT_BEATS and not link.left:
                words = (
                    f"has not answered for {SILENT_BEATS * BEAT:.0f} s: it is stopped, or its machine is gone"
                )
                self._lost(rank, words)

    def _act(self) -> None:
        """Ends this process step by step, unless its main thread does."""
        now = time.monotonic()
        if self._ended_by is not None:
            return
        if self._failure is not None:
            if now - self._failed_at > OWN_END + UNWINDING:
                self._exit(self._failure)
            elif now - self._failed_at > OWN_END and not self._was_interrupted:
                with self._changed:  # in which the main thread begins its own end
                    if self._ended_by is None:
                        self._was_interrupted = True
                        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        elif self._signal is not None and now - self._signalled_at > SIGNALLED:
            code = 128 + self._signal
            failure = Failure(self.rank, code, self._interrupted(code))
            if self.rank and self._links:
                self._links[0].send("failure", **failure._asdict())
            self.known(failure)

    def _exit(self, failure: Failure) -> None:
        with self._changed:
            if not self._claim():
                return
        self._publish(failure)
        os._exit(failure.code)  # the main thread waits where nothing reaches it

    def _claim(self) -> bool:
        """Whether the calling thread, and not the other one, ends this process."""
        self._ended_by = self._ended_by or threading.get_ident()
        return self._ended_by == threading.get_ident()

    def _publish(self, failure: Failure) -> None:
        """Has the message printed: by the command that started all processes, or else by the first that is left."""
        if self._parent is not None and self._parent.send("failure", **failure._asdict()):
            return
        if self.rank == 0 or (self.rank == 1 and failure.rank == 0 and failure.lost):
            self._say(failure.text)

    def _accept(self, listener: socket.socket, token: str) -> None:
        connection, _ = listener.accept()
        link = Link(connection)
        messages = link.messages() or [{}]
        rank = messages[0].get("rank")
        if messages[0].get("token") != token or not isinstance(rank, int) or rank in self._links:
            connection.close()
            return
        self._link(rank, link)
        if self._failure is not None:
            link.send("failure", **self._failure._asdict())
        for message in messages[1:]:
            self._received(rank, message)

    def _link(self, rank: int, link: Link) -> Link:
        self._links[rank] = link
        self._selector.register(link.socket, selectors.EVENT_READ, lambda: self._heard(rank, link))
        return link

    def _heard(self, rank: int, link: Link) -> None:
        messages = link.messages()
        if messages is None:
            self._selector.unregister(link.socket)
            if not link.left:
                self._lost(rank, "was ended without a message, perhaps because memory ran out")
            return
        for message in messages:
            self._received(rank, message)

    def _received(self, rank: int, message: dict[str, Any]) -> None:
        if message["kind"] == "failure":
            self.known(Failure(*(message[field] for field in Failure._fields)))
        elif message["kind"] == "bye":
            with self._changed:
                self._links[rank].left = True
                self._changed.notify_all()

    def _lost(self, rank: int, words: str) -> None:
        self.known(Failure(rank, 1, f"Error: process {rank} of {self.world} {words}", lost=True))

    def _heard_bell(self) -> None:
        for number in self._ear.recv(1 << 10):
            if number in (signal.SIGINT, signal.SIGTERM) and not self._was_interrupted:
                self._signal, self._signalled_at = number, time.monotonic()

    def _heard_parent(self) -> None:
        assert self._parent is not None
        if self._parent.messages() is None:
            self._selector.unregister(self._parent.socket)
            self.known(Failure(0, 1, "Error: the command that started these processes was ended"))

    def _broadcast(self, kind: str, **fields: Any) -> None:
        for link in self._links.values():
            link.send(kind, **fields)

    def _ring(self) -> None:
        with contextlib.suppress(OSError):
            self._bell.send(b"\0")


def placed(text: str, rank: int, world: int) -> str:
    """The message of one process among several: ``Error: process 1 of 2: …``."""
    start, mark, words = text.rpartition("Error: ") if "\nError: " in text else text.partition("Error: ")
    if rank == 0 or not mark or words.startswith("process ") or (start and not start.endswith("\n")):
        return text
    return f"{start}{mark}process {rank} of {world}: {words}"
