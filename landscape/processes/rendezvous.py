"""Where the processes of a command meet: the store of torch, in which each says who it is before any group is made.

Nobody waits for a group that another process will never join: one that fails before says so in the store, and what
differs between the processes is found by all of them from the same words.
"""

import contextlib
import json
import os
import re
import secrets
import socket
import sys
import threading
import time
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from landscape.errors import InputError, ProcessFailed, Remark, UsageError
from landscape.processes.launch import Launch
from landscape.processes.monitor import Failure, Watch
from landscape.version import __version__

# Seconds. Imports from a file system that all nodes share take minutes.
MEETING = 300.0
REMARKED = 20.0
ANNOUNCING = 10.0
ANSWERING = 20.0
_PAUSE = 0.05
_FIRST_PORT, _PORTS = 15_000, 15_000  # below those that systems give to connections
LISTENER = "LANDSCAPE_LISTENER"
"""The variable with the open socket on which the first process of ``--processes`` serves the store."""


@dataclass(frozen=True)
class Hello:
    """What a process says of itself.

    Attributes:
        version: Of this package and of torch.
        words: The command line without the program.
        machine: What only the processes on one machine have in common.
        host: The name of that machine.
        cores: The cores that the process may use.
        gpus: The GPUs that it sees, by names that are unique.
    """

    version: str
    words: list[str]
    machine: str
    host: str
    cores: list[int]
    gpus: list[str]

    @classmethod
    def own(cls, gpus: list[str]) -> "Hello":
        """Of this process."""
        import torch

        boot = Path("/proc/sys/kernel/random/boot_id")
        host = socket.gethostname()
        cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
        return cls(
            version=f"landscape {__version__} with torch {torch.__version__}",
            words=sys.argv[1:],
            machine=f"{host} {boot.read_text().strip() if boot.exists() else ''}",
            host=host,
            cores=sorted(cores),
            gpus=gpus,
        )


class Store(Protocol):
    """What is used of a store of torch: texts by their names, the same for all processes."""

    def set(self, key: str, value: str, /) -> None:
        """Sets a text."""

    def get(self, key: str, /) -> bytes:
        """A text that is there."""

    def check(self, keys: list[str], /) -> bool:
        """Whether texts are there."""

    def compare_set(self, key: str, expected: str, value: str, /) -> bytes:
        """Sets a text if it is not there."""


def address(here: Launch) -> tuple[str, int]:
    """Host and port of the store: ``MASTER_ADDR`` and ``MASTER_PORT``, or what the launcher implies.

    Raises:
        UsageError: Neither says them.
    """
    env = os.environ
    host, port = env.get("MASTER_ADDR"), env.get("MASTER_PORT", "")
    if port and not (port.isdecimal() and 0 < int(port) < 1 << 16):
        raise UsageError(f"MASTER_PORT={port} is no port; choose a free one between 1024 and 65535")
    job = ""
    if here.program == "srun":
        alone = "1" in (env.get("SLURM_STEP_NUM_NODES"), env.get("SLURM_NNODES"))
        host = host or ("127.0.0.1" if alone else _first_host(env.get("SLURM_STEP_NODELIST", "")))
        job = f"{env.get('SLURM_JOB_ID', '')}.{env.get('SLURM_STEP_ID', '')}"
    elif here.program == "mpirun" and env.get("OMPI_COMM_WORLD_LOCAL_SIZE") == str(here.world):
        host = host or "127.0.0.1"
        job = env.get("PMIX_NAMESPACE") or env.get("OMPI_MCA_ess_base_jobid") or str(os.getppid())
    if not host or not (port or job):
        raise UsageError(
            f"{here.program} started {here.world} processes, and it is not known where they meet: set MASTER_ADDR to "
            "the host of the first one and MASTER_PORT to a free port there, for example 29500"
        )
    return host, int(port) if port else _FIRST_PORT + zlib.crc32(job.encode()) % _PORTS


def _first_host(nodes: str) -> str:
    """``"gpu[03-05,9],cpu1"`` → ``"gpu03"``."""
    name = re.sub(r"\[(\w+)[^\]]*\]", r"\1", nodes)
    return name.partition(",")[0]


def store(here: Launch, watch: Watch, *, seconds: float = MEETING) -> Store:
    """The store that all processes share; the first one serves it, unless ``torchrun`` does.

    Raises:
        UsageError: Its port is in use.
        ProcessFailed: The first process did not come in time, or it failed.
    """
    import torch

    dist: Any = torch.distributed  # its stores are not typed
    host, port = address(here)
    listener = os.environ.pop(LISTENER, None)
    if listener is not None:
        os.set_inheritable(int(listener), False)
    serves = here.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    if not serves:
        _wait_for_port(host, port, here, watch, seconds)
    try:
        with contextlib.nullcontext() if serves or watch.has_parent else _answering(host, port, here, watch):
            common = dist.TCPStore(
                host,
                port,
                is_master=serves,
                wait_for_workers=False,
                timeout=timedelta(seconds=seconds),
                master_listen_fd=None if listener is None or not serves else int(listener),
            )
    except RuntimeError as failure:
        if not serves:
            raise ProcessFailed(f"the first process, at {host}:{port}, went away") from failure
        raise UsageError(
            f"the processes cannot meet at {host}:{port}: {str(failure).splitlines()[0][:200]}; set MASTER_PORT to a "
            "free port, the same for all"
        ) from failure
    # torchrun keeps its store when it starts the processes again.
    run = f"{os.environ.get('TORCHELASTIC_RUN_ID', '')}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '')}"
    prefixed: Store = dist.PrefixStore(f"landscape/{run}", common)
    return prefixed


def _wait_for_port(host: str, port: int, here: Launch, watch: Watch, seconds: float) -> None:
    """Waits until somebody serves there; torch would write of every attempt."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError):
            socket.create_connection((host, port), timeout=5).close()
            return
        watch.check()
        if time.monotonic() > deadline:
            words = (
                f"Error: process {here.rank} of {here.world} found nobody at {host}:{port} for {seconds:.0f} s: the "
                "first process did not start, or another host or port is meant (MASTER_ADDR, MASTER_PORT)"
            )
            watch.known(Failure(0, 1, words, lost=True))
            watch.check()
        time.sleep(_PAUSE)


@contextlib.contextmanager
def _answering(host: str, port: int, here: Launch, watch: Watch) -> Iterator[None]:
    """A context in which the watch ends this process if torch waits for another program that has the port.

    torch waits without end. With ``--processes`` the port is open long before the first process serves there.
    """
    words = (
        f"Error: process {here.rank} of {here.world} has no answer from {host}:{port}: another program has that port, "
        "or the first process hangs; set MASTER_PORT to a free port, the same for all"
    )
    timer = threading.Timer(ANSWERING, watch.known, [Failure(0, 1, words, lost=True)])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextlib.contextmanager
def reached(what: str) -> Iterator[None]:
    """A context in which a failed exchange is one of the processes: another one went away, or cannot be reached."""
    try:
        yield
    except (RuntimeError, OSError) as failure:
        if isinstance(failure, ProcessFailed):
            raise
        reason = str(failure).strip().splitlines() or [type(failure).__name__]
        raise ProcessFailed(f"{what}: {reason[0][:200]}") from failure


def meet(common: Store, here: Launch, watch: Watch, hello: Hello) -> list[Hello]:
    """Connects the watches of all processes and exchanges who they are.

    Raises:
        ProcessFailed: One did not come in time, or it failed.
    """
    if here.rank == 0:
        host = address(here)[0]
        inside = host in ("127.0.0.1", "localhost", "::1")
        listener = socket.create_server(("127.0.0.1" if inside else "", 0), backlog=here.world)
        token = secrets.token_hex(16)
        watch.lead(listener, token)
        common.set("watch", json.dumps([listener.getsockname()[1], token]))
    deadline = time.monotonic() + MEETING
    if here.rank:
        _wait_for(common, "watch", here, watch, deadline, 0)
        port, token = json.loads(common.get("watch"))
        connection = socket.create_connection((address(here)[0], port), timeout=60)
        watch.follow(connection, token)
    # Only now: who is not connected would not hear why the first process refuses it.
    common.set(f"hello/{here.rank}", json.dumps(asdict(hello)))
    hellos = []
    for rank in range(here.world):
        _wait_for(common, f"hello/{rank}", here, watch, deadline, rank)
        hellos.append(Hello(**json.loads(common.get(f"hello/{rank}"))))
    while here.rank == 0 and watch.connections < here.world - 1:  # they are there, but not accepted yet
        watch.check()
        time.sleep(_PAUSE)
    return hellos


def _wait_for(common: Store, key: str, here: Launch, watch: Watch, deadline: float, rank: int) -> None:
    patience = time.monotonic() + REMARKED
    while not common.check([key]):
        if here.rank == 0 and time.monotonic() > patience:
            patience = deadline
            words = f"process {rank} of {here.world} has not come yet; waiting for at most {MEETING:.0f} s"
            warnings.warn(Remark(words), stacklevel=2)
        if common.check(["failure"]):
            watch.known(Failure(*json.loads(common.get("failure"))))
            common.set(f"heard/{here.rank}", "")
        watch.check()
        if time.monotonic() > deadline:
            raise ProcessFailed(
                f"process {rank} of {here.world} did not come within {MEETING:.0f} s: it did not start, or its "
                "machine does not reach the first one"
            )
        time.sleep(_PAUSE)


def announce(here: Launch, watch: Watch, failure: Failure) -> None:
    """Tells the others, which wait to meet, that this process failed before; waits until they know."""
    others = [f"heard/{rank}" for rank in range(here.world) if rank != here.rank]
    with contextlib.suppress(ProcessFailed, UsageError, RuntimeError, OSError):
        common = store(here, watch, seconds=ANNOUNCING)
        common.compare_set("failure", "", json.dumps(failure))
        common.set(f"heard/{here.rank}", "")
        deadline = time.monotonic() + ANNOUNCING
        while time.monotonic() < deadline and not common.check(others if here.rank == 0 else ["heard/0"]):
            time.sleep(_PAUSE)


def refuse_differences(hellos: list[Hello]) -> None:
    """Raises the same error in all processes if one of them was started differently.

    Raises:
        UsageError: With other options.
        InputError: With another version.
    """
    first = hellos[0]
    for rank, each in enumerate(hellos):
        place = f"process {rank} of {len(hellos)}"
        if each.version != first.version:
            raise InputError(
                f"{place} on {each.host} is {each.version}, and process 0 on {first.host} is {first.version}: their "
                "numbers may not be added; install one version on all"
            )
        if each.words != first.words:
            own, other = (" ".join(words) for words in _different(each.words, first.words))
            raise UsageError(
                f"{place} has other options than process 0 ({own or 'nothing'} instead of {other or 'nothing'}): all "
                "compute one number together; start them with the same command line"
            )


def _different(one: list[str], other: list[str]) -> tuple[list[str], list[str]]:
    """The words of both, without those at their starts and ends that are the same."""
    start = _common(one, other)
    end = _common(one[start:][::-1], other[start:][::-1])
    return one[start : len(one) - end], other[start : len(other) - end]


def _common(one: list[str], other: list[str]) -> int:
    """The number of words at the start of both."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((k for k, (word, there) in pairs if word != there), min(len(one), len(other)))
