"""The processes of one command as a group: they meet, are compared, share the machine, and end together."""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from landscape.errors import Remark, UsageError
from landscape.processes.group import ALONE, Group, current_group
from landscape.processes.launch import launch
from landscape.processes.rendezvous import Hello, meet, reached, refuse_differences, store
from landscape.processes.sharing import own_gpu, own_threads
from landscape.processes.watching import watched

# Of one exchange. The watch ends processes that died or stopped much earlier; this is for those that wait for each
# other by mistake, and longer than the pieces of work of two processes may differ.
_PATIENCE = timedelta(hours=2)


@contextlib.contextmanager
def joint(command: str, *, device: str = "auto") -> Iterator[Group]:
    """The group of the processes that a launcher started for a command, joined and watched; else this one alone.

    Args:
        command: The name of the command, for messages.
        device: The value of ``--device``. With ``auto`` and ``cuda`` every process gets a GPU of its own, the current
            device from then on, if there are any.

    Raises:
        UsageError: Another process has other options, there are fewer GPUs than processes, or it is not known where
            they meet.
        InputError: Another process has another version.
        ProcessFailed: Another process did not come, or it failed.
    """
    here = launch()
    if here is None:
        yield ALONE
        return
    if ":" in device:
        raise UsageError(
            f"--device {device} is one device, and landscape {command} runs in {here.world} processes: choose cuda, "
            "which gives each its own, or cpu"
        )
    with watched(here) as watch:
        common = store(here, watch)
        own = Hello.own(_gpus() if device in ("auto", "cuda") else [])
        with reached("the processes lost each other before they began"):
            hellos = meet(common, here, watch, own)
        refuse_differences(hellos)
        gpu = own_gpu(hellos, here.rank)
        _share_cores(hellos, here.rank, uses_cores=gpu is None)
        if len({each.machine for each in hellos}) == 1 and sys.platform == "linux":
            # The name of the machine need not lead to an address.
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        backend: dict[str, Any] = {"backend": "gloo"}
        if gpu is not None:
            torch.cuda.set_device(gpu)
            backend = {"backend": "cpu:gloo,cuda:nccl", "device_id": torch.device("cuda", gpu)}
        stores: Any = dist  # they are not typed
        with reached("the processes cannot exchange numbers"):
            dist.init_process_group(
                store=stores.PrefixStore("group", common),
                rank=here.rank,
                world_size=here.world,
                timeout=_PATIENCE,
                **backend,
            )
        yield current_group()
        watch.leave()
        dist.destroy_process_group()


def _gpus() -> list[str]:
    if not torch.cuda.is_available():
        return []
    return [str(torch.cuda.get_device_properties(k).uuid) for k in range(torch.cuda.device_count())]


def _share_cores(hellos: Sequence[Hello], rank: int, *, uses_cores: bool) -> None:
    """Gives every process its part of the threads, unless the user has chosen their number."""
    threads = own_threads(hellos, rank)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, threads))
    if threads == 0 and uses_cores:
        there = sum(each.machine == hellos[rank].machine for each in hellos)
        warnings.warn(
            Remark(
                f"{there} processes share {len(hellos[rank].cores)} cores, so that they wait for each other"
            ),
            stacklevel=2,
        )
