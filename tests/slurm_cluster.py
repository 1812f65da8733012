"""A Slurm cluster of two nodes on this machine: munged, slurmctld and two slurmd on loopback, in a temporary folder.

    python tests/slurm_cluster.py [COMMAND …]     # without a command a shell, in which sinfo, srun and sbatch work

It needs the programs of Debian's packages ``slurm-wlm`` and ``munge`` (``apt-get install slurm-wlm munge``) and no
service of the system: the munge key, the sockets, the ports and the configuration are its own, and ``SLURM_CONF`` alone
tells the commands of Slurm where to find them. No cgroups, no accounting.

The daemons are held by a process that ends them, their jobs and itself when its standard input is closed, so that
nothing is left after a test that failed or was killed.
"""

import contextlib
import ctypes
import functools
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Addresses as names, because a name has to resolve as on a real cluster, and all of 127.0.0.0/8 is this machine.
NODES = ("127.0.0.1", "127.0.0.2")
CORES = 4  # of a node; they are not bound, and need not exist
_PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "scancel", "scontrol", "squeue")
_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER

_CONFIGURATION = """\
ClusterName=landscape
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SlurmdParameters=config_overrides
LaunchParameters=use_interactive_step
ReturnToService=2
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1,batch_sched_delay=0
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@functools.cache
def reason_without() -> str:
    """Why there can be no cluster here; empty if there can be one."""
    missing = [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]
    return f"no {', '.join(missing)} here (Debian: apt-get install slurm-wlm munge)" if missing else ""


@contextlib.contextmanager
def cluster():
    """The environment, as ``os.environ``, in which the commands of Slurm know a cluster that lasts as long as this."""
    command = [sys.executable, __file__, "--hold"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        try:
            configuration = holder.stdout.readline().strip()
            if not configuration:
                raise RuntimeError("the cluster did not start; what its daemons said stands above")
            yield {**os.environ, "PATH": _PATH, "SLURM_CONF": configuration}
        finally:
            holder.stdin.close()
            holder.wait(60)


class _Daemons:
    """The daemons of a cluster in a folder, children of this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "PATH": _PATH, "SLURM_CONF": str(folder / "slurm.conf")}
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Starts all of them and waits until jobs can run."""
        self.folder.chmod(0o711)  # munged insists that everybody can reach its socket
        (self.folder / "state").mkdir()
        key = self.folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(128))
        self._write_configuration()
        files = {"socket": "munge.socket", "key-file": key.name, "log-file": "munged.log"}
        files |= {"pid-file": "munged.pid", "seed-file": "munged.seed"}
        self._start(
            "munged", "--foreground", *(f"--{name}={self.folder / file}" for name, file in files.items())
        )
        self._wait(lambda: (self.folder / "munge.socket").exists())
        self._start("slurmctld", "-D")
        for node in NODES:
            self._start("slurmd", "-D", "-N", node)
        self._wait(
            lambda: len(re.findall("idle", self._output("sinfo", "-h", "-N", "-o", "%T"))) == len(NODES)
        )

    def stop(self) -> None:
        """Ends the jobs, the daemons and whatever they have left."""
        self._output("scancel", "-u", str(os.getuid()))
        with contextlib.suppress(TimeoutError):
            self._wait(lambda: not self._output("squeue", "-h"), seconds=10)
        for daemon in reversed(self._started):
            daemon.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(5)
        while rest := _children():
            for process in rest:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(-1, 0)

    def said(self) -> str:
        """The last lines of every daemon."""
        logs = sorted(self.folder.glob("*.out"))
        return "\n".join(f"{log.name}: {line}" for log in logs for line in log.read_text().splitlines()[-8:])

    def _write_configuration(self) -> None:
        host = socket.gethostname().split(".")[0]
        ports = _free_ports(1 + len(NODES))
        nodes = "\n".join(
            f"NodeName={node} NodeAddr={node} NodeHostname={host} Port={port} CPUs={CORES} State=UNKNOWN"
            for node, port in zip(NODES, ports[1:], strict=True)
        )
        text = _CONFIGURATION.format(folder=self.folder, host=host, ports=ports, user=_user(), nodes=nodes)
        (self.folder / "slurm.conf").write_text(text)

    def _start(self, program: str, *arguments: str) -> None:
        path = shutil.which(program, path=_PATH)
        assert path is not None
        with (self.folder / f"{program}{len(self._started)}.out").open("wb") as log:
            command = [path, *arguments]
            daemon = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.environment
            )
        self._started.append(daemon)

    def _output(self, *command: str) -> str:
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=30
        )
        return done.stdout

    def _wait(self, condition, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end or any(daemon.poll() is not None for daemon in self._started):
                raise TimeoutError
            time.sleep(0.1)


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in listeners]


def _children() -> list[int]:
    """The children of this process, to which orphans of the daemons belong too."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # After the name, in parentheses, which may hold spaces: state and parent.
            if entry.read_text().rpartition(")")[2].split()[1] == str(os.getpid()):
                found.append(int(entry.parent.name))
    return found


def _hold() -> int:
    """Starts a cluster, prints the path of its configuration, and ends it when standard input is closed."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # whoever holds the other end of the pipe decides
    os.setsid() if os.getpgrp() != os.getpid() else None
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    folder = Path(
        tempfile.mkdtemp(prefix="slurm-", dir="/tmp")
    )  # short: a socket's path has at most 107 characters
    daemons = _Daemons(folder)
    try:
        daemons.start()
        print(folder / "slurm.conf", flush=True)
        sys.stdin.read()
    except TimeoutError:
        print(daemons.said(), file=sys.stderr)
        return 1
    finally:
        daemons.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def main() -> int:
    """Runs a command, or a shell, with a cluster."""
    if sys.argv[1:] == ["--hold"]:
        return _hold()
    if reason := reason_without():
        print(reason, file=sys.stderr)
        return 1
    with cluster() as environment:
        return subprocess.run(
            sys.argv[1:] or [os.environ.get("SHELL", "bash")], env=environment, check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
