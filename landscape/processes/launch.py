"""Several processes that were started together, and how they divide the data: never silently."""

import os
import re
from typing import Literal, NamedTuple, get_args

from landscape.errors import UsageError

Processes = Literal["split", "own", "alone"] | None
"""How several processes share an objective, see :class:`landscape.Objective`."""

# Programs, the innermost first, with their variables for the number of a process and for how many there are. Slurm sets
# SLURM_NTASKS in a batch script and in an array task too, which are one process; srun alone sets the tasks of a step.
_LAUNCHERS = (
    ("torchrun", "RANK", "WORLD_SIZE"),
    ("mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
)
_OWN_STEPS = 0xFFFFFFF0  # from here on, steps are of Slurm itself, such as the shell of salloc: one process


class Launch(NamedTuple):
    """A process of several that one program has started."""

    rank: int
    world: int
    program: str
    variable: str  # the one that holds the count


def launch() -> Launch | None:
    """How this process was started together with others; ``None`` if it is the only one."""
    for program, rank, world in _LAUNCHERS:
        number, count, step = (os.environ.get(name, "") for name in (rank, world, "SLURM_STEP_ID"))
        if program == "srun" and ((step.isdecimal() and int(step) >= _OWN_STEPS) or _submitted_by_a_step()):
            continue
        if number.isdecimal() and count.isdecimal():
            return Launch(int(number), int(count), program, world) if int(count) > 1 else None
    return None


def _submitted_by_a_step() -> bool:
    """Whether the variables of a step are those in which this batch job was submitted: sbatch hands them on.

    A batch script is task 0 and alone on its node, where the step has several tasks. Unnoticed remains a step with one
    task a node.
    """
    tasks, here = (os.environ.get(name, "") for name in ("SLURM_STEP_TASKS_PER_NODE", "SLURM_GTIDS"))
    first = re.match(r"\d+", tasks)  # "2(x3),1" is two on each of three nodes, and one on the next
    return here == "0" and first is not None and int(first[0]) > 1


def refuse_undivided(processes: object) -> None:
    """Raises a :class:`UsageError` if there are several processes and nobody said how they divide the data."""
    values = get_args(get_args(Processes)[0])
    if processes is not None and processes not in values:
        raise UsageError(f"processes={processes!r} is not one of {', '.join(map(repr, values))}")
    number, count = _place()
    if processes is None and count > 1:
        raise UsageError(
            f"this is rank {number} of {count} processes, and it is not said how they divide the data, so that under a "
            "DistributedSampler each would report the number of its own part: write processes='split' if every process "
            "passes the same data, of which each is to compute a part; processes='own' if each passes its own part; "
            "either way every process makes the same calls, and all get the number of all data. processes='alone' is "
            "for one process that measures what it passes by itself (if rank == 0: …)"
        )
    if processes in ("split", "own") and count > 1 and not _has_group():
        raise UsageError(
            f"processes={processes!r}: this is rank {number} of {count} processes that cannot exchange anything yet: "
            "call torch.distributed.init_process_group() first, or use the command line (landscape measure …)"
        )


def refuse_joint_command(command: str, *, instead: str | None = None) -> None:
    """Raises a :class:`UsageError` if a launcher started several processes of a command.

    ``instead`` is what to do where each process is to have its own part of the work.
    """
    here = launch()
    if here is not None:
        own = f"run env -u {here.variable} landscape {command} … if each process has files of its own"
        raise UsageError(
            f"{here.program} started {here.world} processes ({here.variable}={here.world}), and landscape {command} "
            "does not divide its work over processes: each would do all of it and write the same files; start it once, "
            f"without {here.program}, or {instead or own}"
        )


def _has_group() -> bool:
    import torch.distributed as group  # here, because commands that read numbers need no torch

    return group.is_available() and group.is_initialized()


def _place() -> tuple[int, int]:
    """The number of this process and how many there are: of the process group, or of the launcher before it is made."""
    if _has_group():
        import torch.distributed as group

        return group.get_rank(), group.get_world_size()
    here = launch()
    return (0, 1) if here is None else (here.rank, here.world)
