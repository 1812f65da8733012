"""What Slurm needs to know of a sweep: the options of ``sbatch``, and a script that works without any other library."""

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from landscape.errors import UsageError
from landscape.registry.nearest import did_you_mean

SECONDS_TO_SAVE = 90
"""Seconds before the time limit at which Slurm signals a run to save itself; it may be up to a minute off."""

# What an array of resumable runs of one process each decides by itself.
_OURS = {
    *("array", "requeue", "no-requeue", "signal", "open-mode", "output", "error", "ntasks", "nodes", "chdir"),
    *("wrap", "parsable", "export", "ntasks-per-node"),
}
_USUAL = (
    *("partition", "time", "account", "qos", "mem", "mem-per-cpu", "cpus-per-task", "gpus", "gpus-per-node"),
    *("gres", "constraint", "exclude", "nodelist", "reservation", "job-name", "comment", "nice", "exclusive"),
    *("mail-type", "mail-user", "dependency", "licenses", "tmp", "clusters", "wckey", "begin", "deadline"),
    *("cpus-per-gpu", "mem-per-gpu", "gpus-per-task", "gpu-bind", "hint", "priority", "threads-per-core"),
)
_DAYS = re.compile(r"(\d+)-(\d+)(?::(\d+))?(?::(\d+))?")
_CLOCK = re.compile(r"(\d+)(?::(\d+))?(?::(\d+))?")


def slurm_options(text: str | None) -> dict[str, str]:
    """``partition=gpu,time=4:00:00`` → the long options of ``sbatch``; a part without ``=`` belongs to the one before.

    Raises:
        UsageError: An option is unknown, belongs to the array itself, or the time limit is missing or unreadable.
    """
    options: dict[str, str] = {}
    last = None
    for part in (text or "").split(","):
        key, equals, value = part.strip().removeprefix("--").partition("=")
        if not equals and last is not None and key:
            options[last] += f",{key}"
            continue
        key = key.replace("_", "-")
        if not equals or not value or not re.fullmatch(r"[\w.,:+*=/@%&|!()\[\]-]+", value):
            if text is None or not part.strip():
                continue
            raise UsageError(
                f"--slurm {part.strip()!r} is not KEY=VALUE, such as partition=gpu,time=4:00:00,gpus-per-node=1"
            )
        if key in _OURS:
            raise UsageError(f"--slurm {key} is decided by the sweep, whose runs are an array; leave it out")
        if key not in _USUAL:
            raise UsageError(
                f"--slurm {key} is not an option of sbatch that a sweep passes on{did_you_mean(key, _USUAL)}; known: "
                f"{', '.join(_USUAL)}"
            )
        options[key] = value
        last = key
    if "time" not in options:
        raise UsageError(
            "--slurm names no time: a run is saved and put back into the queue before its limit, so say how long one "
            "may take at once: --slurm partition=NAME,time=4:00:00"
        )
    minutes(options["time"])
    return options


def minutes(time: str) -> int:
    """A time limit as ``sbatch`` reads it (``90``, ``4:00:00``, ``2-12``, ``1-00:30``), in minutes, at least 3."""
    days, clock = _DAYS.fullmatch(time), _CLOCK.fullmatch(time)
    if days:
        day, hour, minute, second = (int(part or 0) for part in days.groups())
    elif clock and clock[3] is not None:
        day, (hour, minute, second) = 0, (int(part) for part in clock.groups())
    elif clock:
        day, hour, minute, second = 0, 0, int(clock[1]), int(clock[2] or 0)
    else:
        raise UsageError(
            f"--slurm time={time} is not a time of sbatch, such as 90 (minutes), 4:00:00 or 1-12:00:00"
        )
    total = (day * 24 + hour) * 60 + minute + (second > 0)
    if total < 3:
        raise UsageError(
            f"--slurm time={time} is too short: a run is told to save itself {SECONDS_TO_SAVE} s before the limit; "
            "give 3 minutes or more"
        )
    return total


def array_of(indices: Sequence[int]) -> str:
    """Ascending indices as an array of Slurm: ``0-3,7``."""
    spans: list[list[int]] = []
    for index in indices:
        if spans and index == spans[-1][1] + 1:
            spans[-1][1] = index
        else:
            spans.append([index, index])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def run_command(plan: Path, index: str) -> list[str]:
    """The command that trains one run of a plan, with this Python on every node."""
    return [sys.executable, "-P", "-m", "landscape", "train", "--plan", str(plan), "--index", index]


def batch_script(
    plan: Path,
    indices: Sequence[int],
    options: Mapping[str, str],
    *,
    logs: Path,
    at_a_time: int | None = None,
) -> str:
    """The text for ``sbatch``: an array task a run, saved before the time limit and put back into the queue.

    Args:
        plan: The plan, absolute.
        indices: Its runs that are to be trained, ascending.
        options: Options of ``sbatch``.
        logs: An existing folder on all nodes, absolute.
        at_a_time: The largest number of runs at a time.
    """
    most = f"%{at_a_time}" if at_a_time else ""
    flags = {
        "job-name": plan.stem,
        **options,
        "array": array_of(indices) + most,
        "ntasks": "1",
        "signal": f"B:USR1@{SECONDS_TO_SAVE}",
        "open-mode": "append",
        "output": f"{logs}/%A_%a.log",
    }
    lines = [f"#SBATCH --{key}={shlex.quote(value)}" for key, value in flags.items()]
    return _SCRIPT.format(
        flags="\n".join(lines),
        command=shlex.join(run_command(plan, "auto")),
    )


# USR1 and not TERM before the limit: TERM is also what scancel sends, and a cancelled run must not come back. No srun,
# which would end its task at once where it is sent TERM itself.
_SCRIPT = """\
#!/bin/bash
{flags}
#SBATCH --requeue

# One run of the plan. Shortly before the time limit Slurm sends USR1: the run saves
# itself, and this task goes back into the queue. On scancel and preemption Slurm sends
# TERM: the run saves itself too, and Slurm decides whether it comes back.
due= ending= run=
trap 'due=yes; [ -z "$run" ] || kill -TERM "$run" 2>/dev/null' USR1
trap 'ending=yes; [ -z "$run" ] || kill -TERM "$run" 2>/dev/null' TERM
{command} &
run=$!
[ -z "$due$ending" ] || kill -TERM "$run"
wait "$run"; code=$?
# A signal ends `wait` before the run has ended.
while kill -0 "$run" 2>/dev/null; do wait "$run"; code=$?; done
if [ -n "$due" ] && [ "$code" -eq 143 ]; then
    scontrol requeue "$SLURM_JOB_ID" && exit 0
fi
exit "$code"
"""
