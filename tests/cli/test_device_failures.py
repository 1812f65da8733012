"""A GPU that fails for good, in the middle of a command: one line, exit code 1, and what was finished is kept."""

import json
import re
import warnings

import pytest
import torch
from command_line import TINY

from landscape.errors import InputError, device_failure, is_out_of_memory
from landscape.objective.replica import Replica
from landscape.objective.risk import Risk
from landscape.training import job, worker
from landscape.training.pool import Pool
from landscape.training.session import Session

ASSERTION = (
    "CUDA error: device-side assert triggered\nCUDA kernel errors might be reported at some other API call"
)
ACCESS = "CUDA error: an illegal memory access was encountered\nSearch for `cudaErrorIllegalAddress'"


class GPU:
    """Fails at one call of a function of the library and at every call of one that follows, as CUDA does."""

    def __init__(self, monkeypatch, text=ASSERTION):
        self._monkeypatch, self.text, self.explained = monkeypatch, text, False
        self.left, self.calls = None, 0

    def passes_through(self, owner, name):
        function = getattr(owner, name)

        def called(*arguments, **options):
            self.calls += 1
            if self.left is not None:
                self.left -= 1
                if self.left <= 0 and self.explained:
                    raise InputError("the network cannot be evaluated") from torch.AcceleratorError(self.text)
                if self.left <= 0:
                    raise torch.AcceleratorError(self.text)
            return function(*arguments, **options)

        self._monkeypatch.setattr(owner, name, called)


@pytest.fixture
def gpu(monkeypatch):
    device = GPU(monkeypatch)
    device.passes_through(Risk, "forward")
    device.passes_through(Replica, "move")
    device.passes_through(Session, "_take_step")
    return device


def error(result):
    """The line on the failure, and no traceback."""
    assert result.code == 1, result.err
    assert "Traceback" not in result.err
    [line] = [line for line in result.err.splitlines() if line.startswith("Error")]
    return line


def measured(runs):
    return [json.loads(line)["measure"] for line in (runs / "measures.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (ASSERTION, "a kernel met an index out of range, such as a label"),
        (ACCESS, "the driver or the hardware"),
    ],
)
def test_measures_before_the_failure_are_on_disk(landscape, runs, gpu, text, says):
    arguments = ["measure", "runs/sgd-0", "-M", "loss,gradient-norm,hessian-trace", "--device", "cpu", "-q"]
    (runs / "sgd-0/measures.jsonl").unlink(missing_ok=True)
    landscape(*arguments)
    complete, calls = measured(runs / "sgd-0"), gpu.calls
    assert complete == ["loss", "gradient-norm", "hessian-trace"]
    (runs / "sgd-0/measures.jsonl").unlink()
    gpu.left, gpu.text = calls - 2, text
    line = error(landscape(*arguments))
    assert line.startswith(f"Error: {text.splitlines()[0]}: ")
    assert says in line
    assert "run it again with --device cpu, or with CUDA_LAUNCH_BLOCKING=1" in line
    assert measured(runs / "sgd-0") == complete[:2]
    gpu.left = None
    assert landscape(*arguments).code == 0
    assert measured(runs / "sgd-0") == complete


@pytest.mark.parametrize("explained", [False, True])
def test_a_comparison_does_not_go_on_with_the_other_runs(landscape, runs, gpu, explained):
    """Whether or not the library takes the failure for one of the network on its data."""
    gpu.left, gpu.explained = 30, explained
    before = gpu.calls
    line = error(landscape("compare", "runs", "-M", "train:hessian-trace", "--device", "cpu", "-q"))
    assert "device-side assert triggered" in line
    assert gpu.calls - before < 40  # cleaning up, and no further run


def test_points_of_a_surface_are_kept_and_it_ends_with_the_same_bytes(landscape, runs, gpu, tmp_path):
    arguments = ["surface", "runs/sgd-0", "--points", "5", "--limit", "50", "--device", "cpu", "-q"]
    landscape(*arguments, "-o", "whole.csv")
    calls = gpu.calls
    gpu.left = calls - 10
    error(landscape(*arguments, "-o", "cut.csv"))
    journals = [file for file in tmp_path.rglob("*cut*") if b"surface-journal" in file.read_bytes()]
    assert len(journals) == 1
    assert journals[0].read_bytes().count(b"\n") > 5
    gpu.left, gpu.calls = None, 0
    assert landscape(*arguments, "-o", "cut.csv").code == 0
    assert gpu.calls < calls / 2
    assert (tmp_path / "cut.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_training_keeps_its_last_epoch_and_goes_on_from_there(landscape, gpu, tmp_path):
    arguments = ["train", *TINY, "--optimizer", "sgd", "-q", "-o"]
    landscape(*arguments, "whole")
    gpu.left = gpu.calls - 1
    error(landscape(*arguments, "cut"))
    assert torch.load(tmp_path / "cut/checkpoint.pt", weights_only=True)["epoch"] == 1
    gpu.left = None
    assert landscape(*arguments, "cut").code == 0
    assert (tmp_path / "cut/checkpoint.pt").read_bytes() == (tmp_path / "whole/checkpoint.pt").read_bytes()


def test_of_several_runs_in_one_process_the_rest_is_not_begun(landscape, gpu, tmp_path):
    gpu.left = 40
    result = landscape("train", *TINY, "--optimizers", "sgd,sam,asam", "--jobs", "1", "-o", "runs", "-q")
    assert result.code == 3
    assert result.err.count("device-side assert triggered: ") == 1
    assert result.err.count("not begun, because the GPU failed in an earlier run") >= 1
    assert "Traceback" not in result.err


def test_a_process_of_a_pool_ends_after_the_failure_and_the_next_run_gets_another(monkeypatch, capfd):
    jobs = [json.dumps({"n": number}) for number in range(3)]
    monkeypatch.setattr("sys.stdin", iter(jobs))
    monkeypatch.setattr("sys.argv", ["worker", "1"])
    monkeypatch.setattr(worker.os, "dup2", lambda *_: None)
    attempted = []

    def attempt(fields, report):
        attempted.append(fields["n"])
        report("failed", reason="broken", usable=fields["n"] == 0)
        return fields["n"] == 0

    monkeypatch.setattr(job, "attempt", attempt)
    monkeypatch.setattr(job.Job, "from_dict", lambda fields: fields)
    with warnings.catch_warnings():
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
        worker.main()
    assert attempted == [0, 1]

    class Process:
        waited = False
        stdin = type("", (), {"write": lambda self, text: None, "flush": lambda self: None})()
        stdout = iter([json.dumps({"kind": "failed", "reason": "broken", "usable": False})])

        def wait(self):
            self.waited = True

    process = Process()
    empty = job.Job(None, None)  # only its dictionary is needed
    monkeypatch.setattr(job.Job, "to_dict", lambda self: {})
    assert Pool([], processes=1, threads=1)._served(process, 0, empty)
    assert process.waited


def test_the_first_failure_is_told_when_the_cleanup_fails_too():
    def failing():
        try:
            raise torch.AcceleratorError(ASSERTION)
        finally:
            raise ValueError("a second failure")

    with pytest.raises(ValueError, match="second") as failure:
        failing()
    assert device_failure(failure.value).startswith("CUDA error: device-side assert triggered: a kernel met")
    assert device_failure(ValueError("device-side assert")) is None
    assert device_failure(torch.AcceleratorError("CUDA error: out of memory")) is None


def test_libraries_without_memory_are_out_of_memory():
    failure = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
    assert is_out_of_memory(failure)
    assert not is_out_of_memory(torch.AcceleratorError(ASSERTION))


def test_memory_that_ends_in_the_middle_of_a_surface_is_said_once_and_changes_no_point(
    landscape, runs, monkeypatch, tmp_path
):
    arguments = [
        "surface",
        "runs/sgd-0",
        "--points",
        "3",
        "--limit",
        "60",
        "-b",
        "60",
        "--device",
        "cpu",
        "-q",
    ]
    landscape(*arguments, "-o", "whole.csv")
    forward, calls = Risk.forward, []

    def limited(risk, batch, **options):
        calls.append(len(batch[0]))
        if len(calls) > 6 and len(batch[0]) > 40:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(risk, batch, **options)

    monkeypatch.setattr(Risk, "forward", limited)
    result = landscape(*arguments, "-o", "cut.csv")
    assert result.code == 0, result.err
    assert result.err.count("out of memory at 60 examples; going on with at most 30") == 1
    assert 30 in calls
    rows = [(tmp_path / name).read_text().splitlines() for name in ("whole.csv", "cut.csv")]
    numbers = [
        [float(cell) for row in part if row[0] in "-0123456789" for cell in row.split(",")] for part in rows
    ]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-6)


def test_memory_that_ends_for_every_checkpoint_of_a_comparison_is_said_once(landscape, runs, monkeypatch):
    forward = Risk.forward

    def limited(risk, batch, **options):
        if len(batch[0]) > 100:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(risk, batch, **options)

    arguments = ["compare", "runs", "-M", "train:gradient-norm", "--device", "cpu", "--format", "json"]
    before = landscape(*arguments)
    for file in runs.glob("*/measures.jsonl"):
        file.unlink()
    monkeypatch.setattr(Risk, "forward", limited)
    result = landscape(*arguments)
    assert result.code == 0, result.err
    assert result.err.count("Note: out of memory at 128 examples; going on with at most 64 at once") == 1
    cells = [json.dumps(json.loads(text.out), sort_keys=True) for text in (before, result)]
    numbers = [[float(n) for n in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", text)] for text in cells]
    assert numbers[1] == pytest.approx(numbers[0], rel=1e-4)
