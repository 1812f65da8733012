"""Runs of a plan through submitit: what a job does, an array of Slurm, and jobs on this machine.

A job starts ``landscape train --plan … --index …`` and passes on the signals with which schedulers end a job, so that
the run is saved in the middle of an epoch too. It is then resumed by whatever starts the same command again.
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from landscape.errors import InputError
from landscape.training.batch_script import SECONDS_TO_SAVE, minutes, run_command

if TYPE_CHECKING:
    import submitit

_TICK = 0.1
# A run always goes on from where it was, so there is no number of time limits after which another is pointless.
_MOST_REQUEUES = 1000
# Seconds between SIGTERM and the signal at which submitit requeues, where Slurm sends both; it kills after 30.
_BETWEEN_SIGNALS = 20.0
_FOR_EVER = 60 * 24 * 365 * 10  # minutes: jobs on this machine have no time limit


class Submission:
    """What submitit calls: trains one run in a process of its own.

    Args:
        plan: The plan, absolute.
        flags: More flags of the command.
        environment: Variables for the command; ``None`` removes one.
    """

    def __init__(
        self, plan: Path, *, flags: Sequence[str] = (), environment: Mapping[str, str | None] | None = None
    ) -> None:
        self.plan = plan
        self.flags = tuple(flags)
        self.environment = dict(environment or {})

    def __call__(self, index: int) -> None:
        """Trains the run; raises ``RuntimeError`` if it does not end well."""
        received: list[int] = []
        # Slurm signals every process of a step, and a second signal would end the run before it is saved.
        is_slurm = os.environ.get("SUBMITIT_EXECUTOR") == "slurm"

        def save(number: int, frame: FrameType | None) -> None:
            received.append(number)

        requeue = signal.getsignal(signal.SIGUSR2)
        for number in (signal.SIGTERM, signal.SIGUSR2):
            signal.signal(number, save)
        kept = {name: value for name, value in os.environ.items() if name not in self.environment}
        added = {name: value for name, value in self.environment.items() if value is not None}
        process = subprocess.Popen(
            [*run_command(self.plan, str(index)), *self.flags],
            env={**kept, **added},
            # It would end the command at once; ignored signals stay so in a new program.
            preexec_fn=lambda: signal.signal(signal.SIGUSR2, signal.SIG_IGN) and None,
        )
        has_heard = bool(received)  # before the command could hear it
        if has_heard:
            process.terminate()
        while (code := process.poll()) is None:
            # Signals that are sent together are not heard in their order, but within the same tick.
            time.sleep(_TICK)
            if received and not has_heard and not (is_slurm and signal.SIGTERM in received):
                process.terminate()
                has_heard = True
        if code == 0:
            return
        if signal.SIGTERM in received and is_slurm:
            end = time.monotonic() + _BETWEEN_SIGNALS
            while signal.SIGUSR2 not in received and time.monotonic() < end:
                time.sleep(_TICK)
        if signal.SIGUSR2 in received and callable(requeue):
            requeue(signal.SIGUSR2, None)  # of submitit: it calls checkpoint(), requeues the job and exits
        raise RuntimeError(f"run {index} of {self.plan} ended with code {code}")

    def checkpoint(self, index: int) -> "submitit.helpers.DelayedSubmission":
        """The same again, which resumes: what submitit submits when a job is requeued."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(Submission(self.plan, flags=self.flags, environment=self.environment), index)


def has_submitit() -> bool:
    """Whether the extra ``slurm`` is installed."""
    return importlib.util.find_spec("submitit") is not None


def submit_array(
    plan: Path,
    indices: Sequence[int],
    options: Mapping[str, str],
    *,
    logs: Path,
    at_a_time: int | None = None,
) -> list[str]:
    """Submits runs to Slurm, as one array; returns the numbers of the jobs.

    Args:
        plan: The plan, absolute.
        indices: Its runs.
        options: Options of ``sbatch``, with the time limit.
        logs: A folder on all nodes, absolute.
        at_a_time: The largest number of runs at a time.

    Raises:
        InputError: This machine has no Slurm, or Slurm refuses the job.
    """
    import submitit

    missing = next((name for name in ("sbatch", "srun") if shutil.which(name) is None), None)
    if missing is not None:
        raise InputError(
            f"there is no {missing} on this machine; run the command on a login node of the cluster, or use --launcher "
            "local here"
        )
    executor = submitit.SlurmExecutor(folder=logs / "%j", max_num_timeout=_MOST_REQUEUES)
    others = {key: value for key, value in options.items() if key != "time"}
    cpus = options.get("cpus-per-task")
    executor.update_parameters(
        job_name=plan.stem,
        time=minutes(options["time"]),
        signal_delay_s=SECONDS_TO_SAVE,
        array_parallelism=at_a_time or len(indices),
        wckey=None,
        # Since Slurm 22.05 a step does not inherit the cores of its job.
        srun_args=[f"--cpus-per-task={cpus}"] if cpus else [],
        additional_parameters={**others, "requeue": True},
    )
    try:
        jobs = executor.map_array(Submission(plan), list(indices))
    except (submitit.core.utils.FailedJobError, OSError, subprocess.CalledProcessError) as failure:
        reason = " ".join(str(failure).split()) or type(failure).__name__
        raise InputError(f"Slurm did not take the job: {reason}; change --slurm") from failure
    return [job.job_id for job in jobs]


class LocalJob:
    """A job of submitit on this machine."""

    def __init__(self, job: Any) -> None:
        self._job = job

    def done(self) -> bool:
        """Whether it has ended."""
        return bool(self._job.done())

    def stop(self) -> None:
        """Tells it to save its run and to end."""
        # The number of a job is that of its process, which passes the signal on to its task. cancel() would kill the
        # task a second later.
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(self._job.job_id), signal.SIGTERM)

    def reason(self) -> str:
        """Why it failed, in one line: the last error of the command, or where the log is."""
        log = Path(self._job.paths.stderr)
        lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
        errors = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
        return errors[-1] if errors else f"its process was ended; see {log}"


class LocalJobs:
    """Starts jobs on this machine with submitit.

    Args:
        plan: The plan, absolute.
        logs: A folder for the logs of these jobs alone.
        threads: The number of threads of each.
    """

    def __init__(self, plan: Path, *, logs: Path, threads: int) -> None:
        import submitit

        self._plan = plan
        # submitit hides all GPUs from a job that did not ask it for one, and here the device is a flag.
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        self._environment = {"CUDA_VISIBLE_DEVICES": visible, "OMP_NUM_THREADS": str(threads)}
        # The names of its files are numbers of processes, which the system uses again.
        self._executor = submitit.LocalExecutor(
            logs / f"local-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        )
        self._executor.update_parameters(timeout_min=_FOR_EVER)

    def start(self, index: int, device: str | None) -> LocalJob:
        """Starts the run of an index."""
        flags = ["-q", *(["--device", device] if device is not None else [])]
        submission = Submission(self._plan, flags=flags, environment=self._environment)
        with _without_interrupts():
            return LocalJob(self._executor.submit(submission, index))


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """A context in which processes are started that Ctrl-C does not reach: they are stopped once, with SIGTERM."""
    # Blocked and not ignored, so that one that arrives here meanwhile is not lost.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
