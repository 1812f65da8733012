"""One thread a process: the tests run in parallel processes, and small tensors gain nothing from more."""

import os

# Before anything is imported that asks; processes that tests start inherit it.
for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

import torch  # noqa: E402

torch.set_num_threads(1)
