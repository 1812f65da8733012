"""Several processes that were started together: each computes by itself, so that nothing is divided silently."""

import os
import re
from typing import Literal, NamedTuple

from landscape.errors import UsageError

Processes = Literal["alone"] | None
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
    """Raises a :class:`UsageError` if there are several processes and nobody said that this one measures alone."""
    if processes not in ("alone", None):
        raise UsageError(
            f"processes={processes!r} is not 'alone', the only value: one process computes an objective, from the data "
            "that it passes"
        )
    number, count = _place()
    if processes is None and count > 1:
        raise UsageError(
            f"this is rank {number} of {count} processes, and one process computes an objective, from the data that it "
            "passes, so that under a DistributedSampler each would report the number of its own part: for the number "
            "of all data, write processes='alone' in one process that passes all of them (if rank == 0: …); for a "
            "number of every part, write it in each process"
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


def _place() -> tuple[int, int]:
    """The number of this process and how many there are: of the process group, or of the launcher before it is made."""
    import torch.distributed as group  # here, because commands that read numbers need no torch

    if group.is_available() and group.is_initialized():
        return group.get_rank(), group.get_world_size()
    here = launch()
    return (0, 1) if here is None else (here.rank, here.world)
