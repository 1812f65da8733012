"""The plan of a sweep: a file with a line for every run, so that any process on any node can train one of them.

The first line says what the file is; each of the others is a :class:`Job`. Paths in it are as they were typed, and the
first line says from which folder they count: relative to the plan if the plan lies in that folder or below, so that a
project can be moved or mounted elsewhere as a whole.
"""

import contextlib
import json
import os
import platform
import reprlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from landscape.errors import InputError, UsageError
from landscape.records import RunFolder, sweep_folder
from landscape.records.reading import read_text
from landscape.records.storage import write_whole
from landscape.training.job import Job
from landscape.training.recipe import HOW_COMPUTED
from landscape.training.run import RunFiles
from landscape.version import __version__

SCHEMA = "landscape.sweep/1"
_INDEX_VARIABLES = ("SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX")
_ANEW = "write the plan again with --write-plan and the same flags: what is finished in its folders stays"

State = Literal["finished", "begun", "waiting"]


@dataclass(frozen=True)
class Sweep:
    """A plan that was read.

    Attributes:
        path: The file, absolute.
        place: The folder from which the paths in it count, absolute.
        lines: The fields of every run, or why its line cannot be read.
    """

    path: Path
    place: Path
    lines: tuple[dict[str, Any] | str, ...]

    def __len__(self) -> int:
        return len(self.lines)

    @contextlib.contextmanager
    def here(self) -> Iterator[None]:
        """A context in the folder from which the paths count.

        Raises:
            InputError: It is not there.
        """
        if not self.place.is_dir():
            raise InputError(
                f"{self.path} was written in {self.place}, which is not on this machine ({platform.node()}); every "
                f"node has to see that folder under the same path; else {_ANEW}"
            )
        with contextlib.chdir(self.place):
            yield

    def job(self, index: int) -> Job:
        """The run of an index, counted from 0; to be called within :meth:`here`, because a recipe may name files.

        Raises:
            UsageError: There is no such index.
            InputError: Its line cannot be read, or what it names is not there.
        """
        if not 0 <= index < len(self):
            raise UsageError(f"--index {index} is not in 0-{len(self) - 1}: {self.path} has {len(self)} runs")
        fields = self._fields(index)
        try:
            return Job.from_dict({name: value for name, value in fields.items() if name != "index"})
        except (UsageError, InputError) as failure:
            raise InputError(
                f"{self.path}, run {index}: {failure}; paths count from {self.place}, and every node has to see the "
                "files there"
            ) from failure
        except (KeyError, TypeError, ValueError, AttributeError) as failure:
            reason = f"it has no {failure}" if isinstance(failure, KeyError) else failure
            raise self._damaged(index, str(reason)) from failure

    def folder(self, index: int) -> RunFolder:
        """The folder of a run, which need not exist."""
        return RunFolder(self.place / str(self._fields(index).get("folder", "")))

    def epochs(self, index: int) -> tuple[int, int]:
        """The complete epochs of a run, as its history says, and all of them; without torch."""
        recipe = self._fields(index).get("recipe")
        total = recipe.get("epochs") if isinstance(recipe, dict) else None
        if not isinstance(total, int):
            raise self._damaged(index, "it has no number of epochs")
        done = max((entry["epoch"] for entry in self.folder(index).read_history()), default=0)
        return min(int(done), total), total

    def state(self, index: int) -> State:
        """How far a run is."""
        done, total = self.epochs(index)
        folder = self.folder(index)
        if done >= total and folder.checkpoint.is_file() and folder.unfinished() is None:
            return "finished"
        return "begun" if folder.recipe.is_file() else "waiting"

    def _fields(self, index: int) -> dict[str, Any]:
        line = self.lines[index]
        if isinstance(line, str):
            raise self._damaged(index, line)
        return line

    def _damaged(self, index: int, reason: str) -> InputError:
        return InputError(f"{self.path}, line {index + 2} (run {index}) is damaged: {reason}; {_ANEW}")


def write_sweep(path: Path, jobs: Sequence[Job]) -> Sweep:
    """Writes the plan of some runs, and into the folders of their runs what these are going to hold.

    Raises:
        UsageError: The file holds something else, two of the runs have one folder, or a folder holds another run or
            is another sweep's.
        InputError: A run in one of the folders is damaged.
    """
    twice = next((folder for folder, count in Counter(job.folder for job in jobs).items() if count > 1), None)
    if twice is not None:
        raise UsageError(f"two of the runs would go to {twice}; give them folders of their own with -o")
    for job in jobs:
        RunFiles(job.folder).resumable(job.recipe.shortened(), resume=True, overwrite=False)
    path, place = Path(os.path.abspath(path)), Path.cwd()
    beside = path.parent.is_relative_to(place)
    head = {
        "schema": SCHEMA,
        "landscape": __version__,
        "runs": len(jobs),
        "folder": os.path.relpath(place, path.parent) if beside else str(place),
    }
    lines = [head, *({"index": index, **job.to_dict()} for index, job in enumerate(jobs))]
    content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
    if path.exists():
        if not path.is_file() or path.read_bytes() != content:
            raise UsageError(
                f"{path} exists and is not this plan; jobs may still read it by index: name another file, or remove it"
            )
        return read_sweep(path)
    by_folder: dict[Path, dict[str, Any]] = defaultdict(dict)
    if len(jobs) > 1:  # the folder around a single run may be any
        for job in jobs:
            fields = job.recipe.shortened().to_dict()
            kept = {name: value for name, value in fields.items() if name not in HOW_COMPUTED}
            by_folder[job.folder.parent][job.folder.name] = kept
    for folder, recipes in by_folder.items():
        sweep_folder.register(folder, path, recipes)
    write_whole(path, content)
    return read_sweep(path)


def read_sweep(path: Path) -> Sweep:
    """The plan in a file; a line that is damaged is an error only when its run is asked for.

    Raises:
        InputError: The file is no plan, one of another version, or has not all of its runs.
    """
    path = Path(os.path.abspath(path))
    if not path.exists():
        raise InputError(f"{path} does not exist; write it first: landscape train … --write-plan {path.name}")
    first, *rest = read_text(path).rstrip("\n").split("\n")
    try:
        head = json.loads(first)
    except (ValueError, RecursionError):
        head = None
    schema = head.get("schema") if isinstance(head, dict) else None
    if not isinstance(head, dict) or not isinstance(schema, str) or not schema.startswith("landscape.sweep/"):
        raise InputError(
            f"{path} is not a plan: its first line has schema {reprlib.repr(schema)}, not {SCHEMA!r}; plans are "
            "written by landscape train … --write-plan"
        )
    if schema != SCHEMA or head.get("landscape") != __version__:
        raise InputError(
            f"{path} was written by landscape {head.get('landscape')} ({schema}), and this is {__version__} "
            f"({SCHEMA}): half of a sweep would be computed by other code; use that version, or {_ANEW}"
        )
    if head.get("runs") != len(rest):
        raise InputError(
            f"{path} has {len(rest)} of its {head.get('runs')} runs: it was cut or added to; {_ANEW}"
        )
    sweep = Sweep(path, _absolute(path, head.get("folder")), tuple(map(_line, range(len(rest)), rest)))
    folders = Counter(line.get("folder") for line in sweep.lines if isinstance(line, dict))
    twice = next((folder for folder, count in folders.items() if count > 1), None)
    if twice is not None:
        raise InputError(f"{path} has two runs for the folder {twice}; {_ANEW}")
    return sweep


def index_here(text: str) -> int:
    """The index that a user typed; ``auto`` takes it from the array task of Slurm or the Indexed Job of Kubernetes."""
    if text != "auto":
        try:
            return int(text)
        except ValueError:
            raise UsageError(f"--index {text} is neither a whole number from 0 nor auto") from None
    for name in _INDEX_VARIABLES:
        if os.environ.get(name, "").isdecimal():
            return int(os.environ[name])
    raise UsageError(
        f"--index auto needs {' or '.join(_INDEX_VARIABLES)}, which Slurm sets in an array and Kubernetes in an "
        "Indexed Job; elsewhere write the number: --index 0"
    )


def _absolute(path: Path, folder: object) -> Path:
    if not isinstance(folder, str) or "\0" in folder:
        raise InputError(f"{path} does not say from which folder its paths count; {_ANEW}")
    return Path(os.path.normpath(path.parent / folder))


def _line(index: int, text: str) -> dict[str, Any] | str:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as failure:
        return f"not a line of JSON ({failure})"
    if not isinstance(fields, dict) or fields.get("index") != index:
        return f"it is not the line of run {index}"
    if not isinstance(fields.get("folder"), str) or fields.get("overwrite") or not fields.get("resume"):
        return "it has no folder, or would not resume the run there"
    return fields
