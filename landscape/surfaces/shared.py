"""One surface that several processes compute, each as many of its points as it can, through a folder.

The folder holds ``run``, the description of the run, which every process compares with its own; ``header``, the first
line of their journals, and the plane, both made by one process; for each process a journal of the points that it has
computed; and for each piece of the grid its claims and ``done``. The pieces become smaller towards the end, so that the
processes end at about the same time.

A process with nothing to claim waits for the others. It takes over the piece of one that has ended, and also computes
the piece of one that lives but does not get on. So the surface needs no single one of them.
"""

import math
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from landscape.errors import InputError, UsageError
from landscape.records.storage import lock, open_to_append, refuse_special
from landscape.records.surface import Surface
from landscape.surfaces.claims import Claims, FolderGone, Pause
from landscape.surfaces.journal import (
    Journal,
    Value,
    as_read,
    assembled,
    header_line,
    parsed_header,
    read_points,
    refuse_another_run,
)

SCHEMA = "landscape.surface-work/1"

_UNKNOWN = 16  # processes, if nobody says how many there will be
_MOST_PIECES = 1024  # so that the folder stays small and quick to list
_LOOK = 1.0  # seconds between looks at the other processes
_EARLIER = "earlier.journal"
_SETTLED = ".json"
_OURS = re.compile(
    r"run|earlier\.journal|\w+\.json|\d+\.done|.+\.\d+\.claim|[0-9a-f]{16}\.plane|[0-9a-f]{8}\.(worker|journal)"
    r"|\.[0-9a-f]{8}\.[12]|\..+\.[0-9a-f]{8}\.part|\.nfs[0-9a-f]+"
)


class Shared:
    """The folder of a shared surface, as one of its processes uses it; a context.

    Args:
        folder: The folder.
        workers: How many processes are expected, which decides the sizes of pieces alone; ``None`` if unknown.
        create: Whether to make the folder; otherwise :class:`FolderGone` is raised if there is none.
        journal: A journal that a single process has left, to be continued.
        tick: Called now and then, also while this process waits for others: ``tick(done, total)``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        workers: int | None = None,
        create: bool = True,
        journal: Path | None = None,
        tick: Callable[[int, int], None] | None = None,
    ) -> None:
        refuse_foreign(folder)
        self.folder = folder
        self.workers = workers or _UNKNOWN
        self.computed = 0
        self._earlier = journal
        self.tick = tick
        self._total = 0
        self._looked = -math.inf
        self._sizes: dict[str, tuple[int, int]] = {}  # of journals: bytes counted, and complete lines in them
        self._pace = 0.0  # the longest time that a point has taken here
        self._claims = Claims(folder, create=create)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        self._claims.__exit__(*reason)

    def agree(self, run: Mapping[str, object]) -> None:
        """Compares the description of this process's run with that of the first process.

        Raises:
            InputError: They differ; the text names in what.
        """
        content = header_line({"schema": SCHEMA, **run})
        stored = self._claims.read("run")
        if stored is None:
            self._claims.publish("run", content)
            stored = self._claims.read("run")
        if stored is None:
            raise FolderGone
        there = parsed_header(self.folder / "run", stored, what="the description of a surface")
        if there.get("schema") != SCHEMA:
            raise InputError(
                f"{self.folder} was begun by another version (its format is {str(there.get('schema'))[:40]}, this one "
                f"writes {SCHEMA}); end it with that version, or delete it to start over"
            )
        refuse_another_run(self.folder, there, as_read({"schema": SCHEMA, **run}), what="the work")

    def settled(self, name: str, compute: Callable[[], object]) -> Any:
        """What one process computes for all, as JSON; the others wait until it has."""
        place = f"{name}{_SETTLED}"
        content = self._claims.once(
            place, lambda: header_line({"content": compute()}), waiting=self._wait_with_tick
        )
        return parsed_header(self.folder / place, content, what="a part of a surface")["content"]

    def begun(self, name: str, compute: Callable[[], object]) -> None:
        """Computes that in this process if no other has begun to."""
        place = f"{name}{_SETTLED}"
        if not Claims.claimed(self._claims.names()).get(place, -1) >= 0:
            self.settled(name, compute)

    def keep(self, name: str, content: bytes) -> None:
        """Stores a file under a name that nothing else has."""
        self._claims.publish(name, content)

    def kept(self, name: str) -> bytes:
        """The content of such a file."""
        content = self._claims.read(name)
        if content is None:
            raise FolderGone
        return content

    @property
    def earlier_journal(self) -> Path | None:
        """The journal of a single process that this run continues, if there is one."""
        place = self.folder / _EARLIER
        if place.exists():
            return place
        return self._earlier if self._earlier is not None and self._earlier.exists() else None

    def adopt_earlier_journal(self, header: Mapping[str, object]) -> None:
        """Moves the journal of a single process into the folder, after a comparison with the header of this run.

        Raises:
            InputError: It is that of another run.
            UsageError: That process is still computing.
        """
        place = self.earlier_journal
        if place is None:
            return
        with open_to_append(place) as file:
            if not lock(file.fileno()):
                raise UsageError(
                    f"{place}: another process is computing this surface by itself; wait until it has ended, or choose "
                    "another output (-o)"
                )
            read_points(place, header)
            if place.parent != self.folder or place.name != _EARLIER:
                os.replace(place, self.folder / _EARLIER)

    def journal(self, header: Mapping[str, object]) -> Journal:
        """The journal of this process."""
        return Journal(self.folder / f"{self._claims.token}.journal", header)

    def points(self, order: Sequence[int], own: Journal) -> Iterator[int]:
        """The points that this process has to compute, until all are computed by whatever process.

        What is between two of them is the computation of the first, whose value has to be in the journal ``own``
        before the next is asked for. At the end the journal holds the points of all processes.
        """
        self._total = len(order)
        others = self._values(own)
        workers = self.settled("pieces", lambda: {"workers": self.workers})["workers"]
        pieces = divided(order, workers)
        while (number := self._next(pieces)) is not None:
            name = f"{number}.points"
            if Claims.claimed(self._claims.names()).get(name, 0) > 0:
                others = self._values(own)  # those that its owner before has computed
            for index in pieces[number]:
                if index in own.values or index in others:
                    continue
                begun = time.monotonic()
                yield index
                self.computed += 1
                self._pace = max(self._pace, time.monotonic() - begun)
                if self._look() and f"{number}.done" in self._claims.names():
                    break
            own.to_disk()
            self._claims.publish(f"{number}.done")
        # Points can be lost with a disk that was full, or a journal that somebody has deleted.
        others = self._values(own)
        for index in [index for index in order if index not in own.values and index not in others]:
            yield index
            self.computed += 1
        own.values |= self._values(own)

    def first(self, name: str) -> bool:
        """Whether this process is to do what one has to do; waits while another does it.

        Returns:
            ``False`` when another has done it, and has removed the folder.
        """
        pause = Pause()
        try:
            while not self._claims.claim(name):
                self._wait_with_tick()
                pause()
        except FolderGone:
            return False
        return True

    def _next(self, pieces: Sequence[Sequence[int]]) -> int | None:
        """The number of a piece that this process has claimed; ``None`` when all are computed."""
        pause, before, since = Pause(), None, time.monotonic()
        while True:
            names = self._claims.names()
            waiting = [k for k in range(len(pieces)) if f"{k}.done" not in names]
            if not waiting:
                return None
            claimed = Claims.claimed(names)
            free = [k for k in waiting if f"{k}.points" not in claimed]
            for number in (*free, *waiting):
                if self._claims.claim(f"{number}.points", names=names):
                    return number
            state = [(k, claimed.get(f"{k}.points")) for k in waiting]
            if state != before:
                before, since = state, time.monotonic()
            # Nobody can tell a slow process from one that hangs; to compute its piece as well is no loss.
            patience = 1.0 + 3.0 * self._pace * len(pieces[waiting[0]]) if self._pace else 30.0
            if time.monotonic() - since > patience and self._claims.claim(
                f"{waiting[0]}.points", names=names, despite=True
            ):
                return waiting[0]
            self._wait_with_tick()
            pause()

    def _values(self, own: Journal) -> dict[int, Value]:
        """The points of all processes."""
        values: dict[int, Value] = {}
        for name in sorted(self._journals()):
            values = {**read_points(self.folder / name, own.header), **values}
        return values

    def _journals(self) -> list[str]:
        return [name for name in self._claims.names() if name.endswith(".journal")]

    def _look(self) -> bool:
        """Calls ``tick`` if a second has passed; returns whether it has."""
        if time.monotonic() - self._looked < _LOOK:
            return False
        self._wait_with_tick()
        self._looked = time.monotonic()
        return True

    def _wait_with_tick(self) -> None:
        if self.tick is not None:
            self.tick(min(self._count(), self._total), self._total)

    def _count(self) -> int:
        """About the number of points that are computed: one that two processes have computed counts twice."""
        for name in self._journals():
            before, lines = self._sizes.get(name, (0, 0))
            try:
                with open(self.folder / name, "rb") as file:
                    file.seek(before)
                    new = file.read()
            except FileNotFoundError:
                raise FolderGone from None
            self._sizes[name] = (before + len(new), lines + new.count(b"\n"))
        return sum(max(0, lines - 1) for _, lines in self._sizes.values())  # the first line is no point


def divided(order: Sequence[int], workers: int) -> list[Sequence[int]]:
    """The order in pieces: each an eighth of what is left for one of the workers, so that the last ones are small."""
    least = math.ceil(len(order) / _MOST_PIECES)
    pieces, begin = [], 0
    while begin < len(order):
        size = max(least, (len(order) - begin) // (8 * workers), 1)
        pieces.append(order[begin : begin + size])
        begin += size
    return pieces


def read_shared(folder: Path) -> Surface:
    """The surface in a folder as far as it is computed.

    Raises:
        InputError: There is none, or it is damaged.
    """
    place = folder / f"header{_SETTLED}"
    content = place.read_bytes() if place.is_file() else b""
    header = parsed_header(place, content, what="the description of a surface")["content"]
    values: dict[int, Value] = {}
    for journal in sorted(folder.glob("*.journal")):
        values = {**read_points(journal, header), **values}
    return assembled(header, values)


def refuse_foreign(folder: Path) -> None:
    """Raises :class:`InputError` for a folder that holds anything else, since it is removed at the end."""
    if folder.is_symlink() or not folder.is_dir():
        refuse_special(folder)
        return
    for name in sorted(os.listdir(folder)):
        if not _OURS.fullmatch(name):
            raise InputError(
                f"{folder} is needed to share the surface between processes, and holds {name}, not a file of one; "
                "choose another output (-o)"
            )


def is_begun(folder: Path) -> bool:
    """Whether processes have begun a surface in a folder."""
    return (folder / "run").exists()
