"""A process of the pool: ``python -m landscape.training.worker THREADS``.

It reads jobs from standard input and writes what happens to standard output, a line of JSON each. What trained code
prints goes to standard error. When the process that started it is gone, so is the pipe, and it ends.
"""

import json
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any, TextIO

_SECONDS_BETWEEN = 0.25


def main(lines: TextIO, tell: Callable[..., None]) -> None:
    """Train what is asked for, one run after the other.

    Args:
        lines: A job each.
        tell: Called with the kind of an event and its fields.
    """
    from landscape.training.failure import is_foreseen, reason
    from landscape.training.job import Job
    from landscape.training.progress import Progress
    from landscape.training.trainer import train_job

    for line in lines:
        job = Job.from_dict(json.loads(line))
        told = 0.0

        def progress(at: Progress) -> None:
            nonlocal told
            if time.monotonic() - told > _SECONDS_BETWEEN or at.step == at.steps:
                told = time.monotonic()
                tell("progress", step=at.step, steps=at.steps, epoch=at.epoch)

        try:
            run = train_job(job, progress=progress)
        except BrokenPipeError:
            raise
        except Exception as failure:
            if not is_foreseen(failure):
                traceback.print_exc()
            tell("failed", reason=reason(failure))
        else:
            tell("done", metrics=dict(run.metrics))


def _start() -> None:
    import torch

    torch.set_num_threads(int(sys.argv[1]))
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(kind: str, **fields: Any) -> None:
        channel.write(json.dumps({"kind": kind, **fields}) + "\n")
        channel.flush()

    def warn(message: Warning | str, *_: Any, **__: Any) -> None:
        tell("warning", text=str(message))

    warnings.showwarning = warn
    try:
        main(sys.stdin, tell)
    except BrokenPipeError:
        os._exit(1)


if __name__ == "__main__":
    _start()
