"""One thread a process: the tests run in parallel processes, and small tensors gain nothing from more.

And SIGINT is heard, also where a shell started the tests in the background with the signal ignored.
"""

import gc
import os
import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Before anything is imported that asks; processes that tests start inherit it.
for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

import hypothesis  # noqa: E402
import pretend_device  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

# A busy machine is no defect.
hypothesis.settings.register_profile("any-speed", suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("any-speed")

torch.set_num_threads(1)
if not pretend_device.reason_without():
    pretend_device.prepare()

DEVICES = ["cpu", "pretend", *(d for d in ("cuda", "mps") if getattr(torch, d).is_available())]


def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores: some tests wait for processes of their own most of the time."""
    return 1 + (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def pytest_collection_finish() -> None:
    """What is imported by now stays: a collection of garbage, of hundreds in a run, need not look through it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> torch.device:
    """Every device of this machine, and one that only pretends to be foreign."""
    if request.param != "pretend":
        return torch.device(request.param)
    if reason := pretend_device.reason_without():
        pytest.skip(reason)
    return pretend_device.pretend_device()
