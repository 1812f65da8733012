"""Several runs of one command that work on one output: which of them this is, and how many there are.

A scheduler says so in the environment. Tasks exchange nothing, so that they may start and end at any time; each may be
several processes itself, where ``srun`` or ``torchrun`` starts them inside a task of an array.
"""

import os
from dataclasses import dataclass

from landscape.errors import UsageError
from landscape.processes.launch import launch

_INDEXED_JOB = "JOB_COMPLETION_INDEX"  # set by Kubernetes in the pods of an Indexed Job
_COMPLETIONS = "JOB_COMPLETIONS"  # not set by Kubernetes, but often by hand
_LOCAL = ("LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID")


@dataclass(frozen=True)
class Task:
    """One task of several: its number from 0, how many there are, ``None`` if nobody says, and who started it."""

    index: int
    count: int | None
    source: str


def task() -> Task | None:
    """This task by the environment; ``None`` if no scheduler has set anything there."""
    inner, outer = launch(), _array() or _indexed_job()
    single = _number("RANK") == 0 and _number("WORLD_SIZE") == 1
    if inner is None and outer is None:
        return Task(0, 1, "torchrun") if single else None
    if inner is None:
        return outer
    if outer is None:
        return Task(inner.rank, inner.world, inner.program)
    count = None if outer.count is None else outer.count * inner.world
    return Task(outer.index * inner.world + inner.rank, count, f"{outer.source} and {inner.program}")


def required_task() -> Task:
    """The same; raises :class:`UsageError` if the environment says nothing."""
    here = task()
    if here is None:
        raise UsageError(
            "--shard auto: no scheduler says which task this is (RANK and WORLD_SIZE, SLURM_ARRAY_TASK_ID, or "
            f"{_INDEXED_JOB} is not set); start it under one of them, or write --processes N on one machine"
        )
    return here


def local_number() -> int | None:
    """The number of this process among those on its machine; ``None`` if nobody says."""
    return next((number for number in map(_number, _LOCAL) if number is not None), None)


def _array() -> Task | None:
    """The task of a Slurm array. With ``--array=10-30:5`` the numbers of tasks begin at 10, in steps of 5."""
    number = _number("SLURM_ARRAY_TASK_ID")
    if number is None:
        return None
    first, step = _number("SLURM_ARRAY_TASK_MIN") or 0, _number("SLURM_ARRAY_TASK_STEP") or 1
    return Task(max(0, number - first) // step, _number("SLURM_ARRAY_TASK_COUNT"), "Slurm")


def _indexed_job() -> Task | None:
    number = _number(_INDEXED_JOB)
    return None if number is None else Task(number, _number(_COMPLETIONS), "Kubernetes")


def _number(name: str) -> int | None:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() and text.isascii() else None
