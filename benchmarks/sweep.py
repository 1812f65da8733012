"""A sweep of 12 runs through submitit's local executor, killed twice, beside the same runs without an interruption.

    python benchmarks/sweep.py [--runs 12] [--epochs 40]

Each time some runs are under way, SIGKILL ends them and the launching command. The third launch ends by itself. Prints
what was complete after each launch, and whether every checkpoint has the same bytes as that of the uninterrupted run.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

LANDSCAPE = [sys.executable, "-m", "landscape", "train"]


def epochs_done(folder: Path) -> dict[str, int]:
    """The complete epochs of every run in a folder."""
    histories = sorted(folder.glob("*/history.jsonl"))
    return {file.parent.name: file.read_bytes().count(b"\n") for file in histories}


def training(folder: Path) -> Iterator[int]:
    """The processes that train in a folder."""
    for lock in folder.glob("*/.lock"):
        with contextlib.suppress(OSError, ValueError):
            yield int(lock.read_text())


def killed(place: Path, plan: str, epochs: int) -> None:
    """Launches the plan and kills everything once a run is in the middle that was not begun before."""
    before = epochs_done(place / "runs")
    command = subprocess.Popen(
        [*LANDSCAPE, "--plan", plan, "--launcher", "local", "-q"], cwd=place, stdout=subprocess.DEVNULL
    )
    while not any(
        1 < done < epochs and done > before.get(name, 0) for name, done in epochs_done(place / "runs").items()
    ):
        assert command.poll() is None, "the sweep ended before it could be killed; give more --epochs"
        time.sleep(0.01)
    command.kill()
    command.wait()
    victims = list(training(place / "runs"))
    for process in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    done = epochs_done(place / "runs")
    finished = sum(count >= epochs for count in done.values())
    print(f"killed the command and {len(victims)} runs: {finished} finished, epochs {done}", flush=True)


def main() -> None:
    """Runs the sweep three times and compares it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=12, help="runs, half of them with SGD and half with SAM")
    parser.add_argument("--epochs", type=int, default=40)
    arguments = parser.parse_args()
    flags = [*("-d", "digits", "-m", "mlp:width=32,depth=1", "-b", "32", "--device", "cpu")]
    flags += ["--optimizers", "sgd,sam", "--seeds", f"0-{arguments.runs // 2 - 1}", "-q"]
    flags += ["--epochs", str(arguments.epochs)]
    # A number of threads decides the last digits, and each of the runs at a time has its share.
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        subprocess.run(
            [*LANDSCAPE, *flags, "-o", "runs", "--write-plan", "plan.jsonl"], cwd=place, check=True
        )
        for _ in range(2):
            killed(place, "plan.jsonl", arguments.epochs)
        begun = time.monotonic()
        subprocess.run([*LANDSCAPE, "--plan", "plan.jsonl", "--launcher", "local"], cwd=place, check=True)
        print(f"third launch: {time.monotonic() - begun:.0f} s", flush=True)
        subprocess.run([*LANDSCAPE, *flags, "-o", "whole"], cwd=place, check=True, stdout=subprocess.DEVNULL)
        names = sorted(path.name for path in (place / "whole").iterdir() if path.is_dir())
        same = [
            name
            for name in names
            if (place / "runs" / name / "checkpoint.pt").read_bytes()
            == (place / "whole" / name / "checkpoint.pt").read_bytes()
        ]
        print(f"{len(same)} of {len(names)} checkpoints have the bytes of the uninterrupted run")
        sys.exit(len(same) != len(names) or len(names) != arguments.runs)


if __name__ == "__main__":
    main()
