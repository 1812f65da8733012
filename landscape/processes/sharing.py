"""How processes on one machine share its cores and GPUs, computed from what each of them may use."""

from collections import Counter
from collections.abc import Sequence

from landscape.errors import UsageError
from landscape.processes.rendezvous import Hello


def own_threads(hellos: Sequence[Hello], rank: int) -> int:
    """The threads of a process: its cores, divided by the processes that may use each of them; 0 if less than one."""
    here = hellos[rank]
    users = Counter(core for each in hellos if each.machine == here.machine for core in each.cores)
    return int(sum(1 / users[core] for core in here.cores) + 1e-9)


def own_gpu(hellos: Sequence[Hello], rank: int) -> int | None:
    """The number of the GPU that a process has for itself, among those that it sees; ``None`` if there are none.

    Raises:
        UsageError: There are GPUs, but not one for every process; it is the same in all of them.
    """
    if not any(each.gpus for each in hellos):
        return None
    places = [_place(hellos, each) for each in range(len(hellos))]
    for each, place in zip(hellos, places, strict=True):
        if place >= len(each.gpus):
            sharing = sum(other.machine == each.machine for other in hellos)
            raise UsageError(
                f"{sharing} processes on {each.host} have {len(each.gpus)} GPU{'s' * (len(each.gpus) != 1)}, and each "
                "needs its own: start as many processes as there are GPUs, or compute on the cores with --device cpu"
            )
    return places[rank]


def _place(hellos: Sequence[Hello], rank: int) -> int:
    """The number of a process among those that see the same GPUs."""
    here = hellos[rank]
    return sum((each.machine, each.gpus) == (here.machine, here.gpus) for each in hellos[:rank])
