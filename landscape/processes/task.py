"""Several runs of one command that work on one output: how many there are.

A scheduler says so in the environment. Tasks exchange nothing, so that they may start and end at any time; each may be
several processes itself, where ``srun`` or ``torchrun`` starts them inside a task of an array.
"""

import os

from landscape.errors import UsageError
from landscape.processes.launch import launch

# The number of a task and how many there are. In the pods of an Indexed Job, Kubernetes sets the first one alone; the
# other one is often set by hand.
_SCHEDULERS = (
    ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT"),
    ("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS"),
)
_LOCAL = ("LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID")


def task_count() -> int | None:
    """How many tasks there are, of which this is one; ``None`` if the scheduler does not say.

    Raises:
        UsageError: This is no task of a scheduler.
    """
    inner = launch()
    outer = next((count for number, count in _SCHEDULERS if _number(number) is not None), None)
    is_single = (_number("RANK"), _number("WORLD_SIZE")) == (0, 1)
    if inner is None and outer is None and not is_single:
        raise UsageError(
            "--shard auto: no scheduler says which task this is (RANK and WORLD_SIZE, SLURM_ARRAY_TASK_ID, or "
            "JOB_COMPLETION_INDEX is not set); start it under one of them, or write --processes N on one machine"
        )
    tasks = 1 if outer is None else _number(outer)
    return None if tasks is None else tasks * (1 if inner is None else inner.world)


def local_number() -> int | None:
    """The number of this process among those on its machine; ``None`` if nobody says."""
    return next((number for number in map(_number, _LOCAL) if number is not None), None)


def _number(name: str) -> int | None:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() and text.isascii() else None
