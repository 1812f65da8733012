"""A surface of sharded weights: all processes compute every point together, and the first one writes."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from landscape.errors import UsageError
from landscape.processes.launch import launch

from . import options
from .surface_computing import Grid, Target
from .surface_files import journal_of

if TYPE_CHECKING:
    from landscape.processes.group import Group


def refuse_shared_points(grid: Grid, *, merge: bool) -> None:
    """Raises a :class:`UsageError` for flags by which processes compute different points."""
    if merge or grid.shard is not None:
        flag = "--merge" if merge else "--shard"
        raise UsageError(f"--shard-weights computes every point in all processes together; leave out {flag}")
    if launch() is None:
        raise UsageError(options.ONE_PROCESS)


@contextlib.contextmanager
def same_files(target: Target, files: Sequence[Path], device: str) -> "Iterator[tuple[Group, Target]]":
    """The group of the processes, and where each writes: the first as asked, the others where it is thrown away.

    The others begin with copies of what the first one has on disk, so that all resume at the same point.
    """
    from landscape.processes.joint import joint  # imports torch, which --help does not need

    with joint("surface", device=device) as group:
        if group.rank == 0:
            _copies(group, files)
            yield group, target
            return
        with tempfile.TemporaryDirectory() as folder:
            for name, content in _copies(group, files).items():
                (Path(folder) / name).write_bytes(content)
            yield group, replace(target, output=Path(folder) / target.output.name)


def _copies(group: "Group", files: Sequence[Path]) -> dict[str, bytes]:
    """The files and journals that the first process has, by name."""
    paths = [path for file in files for path in (file, journal_of(file))]
    return group.once(lambda: {path.name: path.read_bytes() for path in paths if path.is_file()})
