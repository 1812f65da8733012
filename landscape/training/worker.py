"""A process of the pool: ``python -m landscape.training.worker THREADS``.

It reads jobs from standard input and writes what happens to standard output, one line of JSON each. What trained code
prints goes to standard error.
"""

import json
import os
import sys
import warnings
from typing import Any


def main() -> None:
    """Trains the jobs on standard input, one after the other, until it is closed or the GPU has failed."""
    # Imported only here, because the file is imported with the package in every process.
    import torch

    from landscape.training.job import Job, attempt

    torch.set_num_threads(int(sys.argv[1]))
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # also what libraries print from C

    def report(kind: str, **fields: Any) -> None:
        channel.write(json.dumps({"kind": kind, **fields}) + "\n")
        channel.flush()

    def warn(message: Warning | str, *_: Any, **__: Any) -> None:
        report("warning", text=str(message))

    warnings.showwarning = warn
    try:
        for line in sys.stdin:
            if not attempt(Job.from_dict(json.loads(line)), report):
                break
    except BrokenPipeError:
        os._exit(1)  # the starting process is gone, and a normal exit would fail again at flushing the pipe


if __name__ == "__main__":
    main()
