"""Peak memory of measures on decoders shaped like GPT-2, in multiples of the weights, beside a training step and peers.

    python benchmarks/memory.py [--sizes 1M,14M,124M] [--only product,top-1] [--sequences 1,4] [--write]

Every number is of a process of its own, on one thread, in float32, and is the peak above what the process took when
network and data were there. The same had been done before with a network of one block and the same width, so that
imports, thread pools and the buffers that kernels keep are not counted: copies of the weights, gradients, vectors and
graphs are, and the user's own network is not.

On Linux, the peak is that of resident memory (VmHWM, reset through /proc/self/clear_refs), so that memory of numpy and
of kernels counts too. glibc is told by MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ to give blocks of 64 KiB and
more back to the system when they are freed; otherwise they stay with the process, and a number would depend on the
order in which blocks were freed. On CUDA (--device cuda), it is torch.cuda.max_memory_allocated, in which host memory
does not count.

--write keeps the numbers in benchmarks/memory.json, where those of other rows stay, and the table in
benchmarks/README.md.
"""

import argparse
import ctypes
import gc
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from memory_cases import COPIED, FRUGAL, OURS, SHAPES, TASKS, problem

SIZES = tuple(SHAPES)
TOKENS = 64
HERE = Path(__file__).parent
NUMBERS, README = HERE / "memory.json", HERE / "README.md"
BEGIN, END = "<!-- memory: written by memory.py -->", "<!-- memory: end -->"
MIB = 1 << 20
# A second graph that keeps the first alive may leave nothing to measure with; longer is a failure.
SECONDS = 3600
ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 16),
    "MALLOC_TRIM_THRESHOLD_": "0",
    "MALLOC_ARENA_MAX": "1",
    **{f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")},
}


def status(key: str) -> int:
    """An amount of memory of this process in bytes, by its name in /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {key}")


class Peak:
    """The most memory above that of the moment at which it is made."""

    def __init__(self, device: str) -> None:
        self._device = device
        gc.collect()
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
            return
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        self._before = status("VmRSS")

    @property
    def bytes(self) -> int:
        """It, until now."""
        if self._device == "cuda":
            return torch.cuda.max_memory_allocated() - self._before
        return status("VmHWM") - self._before


def measured(task: str, tool: str, size: str, sequences: int, device: str) -> dict[str, Any]:
    """The peak of one task by one tool, in this process."""
    torch.set_num_threads(1)
    run = TASKS[task][tool]
    run(problem(size, sequences, TOKENS, device, depth=1))
    case = problem(size, sequences, TOKENS, device)
    peak, start = Peak(device), time.perf_counter()
    result = run(case)
    seconds = time.perf_counter() - start
    del result
    return {
        "weights_mib": case.size / MIB,
        "peak_mib": peak.bytes / MIB,
        "multiple": peak.bytes / case.size,
        "seconds": seconds,
    }


def in_process(task: str, tool: str, size: str, sequences: int, device: str) -> dict[str, Any]:
    """The same in a process of its own; what it failed with instead, if it did."""
    row = {"task": task, "tool": tool, "size": size, "sequences": sequences, "device": device}
    command = [sys.executable, __file__, "--row", json.dumps(row)]
    try:
        done = subprocess.run(
            command, env=os.environ | ENVIRONMENT, capture_output=True, text=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return row | {"failure": f"not done within {SECONDS} s"}
    if done.returncode:
        return row | {"failure": done.stderr.strip().splitlines()[-1][:200] if done.stderr else "killed"}
    numbers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row | numbers


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    """What two rows have in common that are of the same measurement."""
    return row["device"], row["size"], row["sequences"], row["task"], row["tool"]


def table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table: a row for each size and task, with every tool's multiple of the weights."""
    by_key = {key(row): row for row in rows}
    lines = [
        "| parameters | tokens | task | landscape | copied | frugal | others |",
        "|---|---|---|---:|---:|---:|---|",
    ]
    own = (OURS, COPIED, FRUGAL)
    devices = list(dict.fromkeys(row["device"] for row in rows))
    for device in devices:
        for size in SIZES:
            for sequences in sorted({row["sequences"] for row in rows}):
                for task, tools in TASKS.items():
                    cells = {
                        tool: by_key[device, size, sequences, task, tool]
                        for tool in tools
                        if (device, size, sequences, task, tool) in by_key
                    }
                    if not cells:
                        continue
                    others = ", ".join(
                        f"{tool} {cell(row)}" for tool, row in cells.items() if tool not in own
                    )
                    where = size if device == "cpu" else f"{size}, {device}"
                    ours = " | ".join(cell(cells[tool]) if tool in cells else "–" for tool in own)
                    lines.append(f"| {where} | {sequences} × {TOKENS} | {task} | {ours} | {others} |")
    return "\n".join(lines)


def cell(row: dict[str, Any]) -> str:
    """The multiple of the weights, or that there is none."""
    return "failed" if "failure" in row else f"{row['multiple']:.2f}"


def conditions() -> str:
    """Hardware and versions."""
    peers = {"hessian-eigenthings": "", "curvlinops-for-pytorch": "curvlinops", "pyhessian": "PyHessian"}
    names = ", ".join(f"{short or name} {version(name)}" for name, short in peers.items())
    return (
        f"{platform.machine()}, 1 thread, float32; torch {version('torch')}, {names}, Python "
        f"{platform.python_version()}"
    )


def write(rows: list[dict[str, Any]]) -> None:
    """Keeps the rows, and the table of all rows that are kept."""
    kept = json.loads(NUMBERS.read_text())["rows"] if NUMBERS.is_file() else []
    together = {key(row): row for row in [*kept, *rows]}
    everything = list(together.values())
    NUMBERS.write_text(json.dumps({"conditions": conditions(), "rows": everything}, indent=1) + "\n")
    before, _, rest = README.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    README.write_text(f"{before}{BEGIN}\n{conditions()}.\n\n{table(everything)}\n{END}{after}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default=",".join(SIZES), help=f"of {', '.join(SIZES)} (default: all)")
    parser.add_argument("--only", help=f"tasks, of {', '.join(TASKS)}")
    parser.add_argument("--tools", help="tools, by the names in the table")
    parser.add_argument("--sequences", default="1,4", help=f"of {TOKENS} tokens each (default: 1,4)")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--write", action="store_true", help="keep the numbers and the table")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        print(json.dumps(measured(**json.loads(options.row))))
        return
    tasks = options.only.split(",") if options.only else list(TASKS)
    for name, known in (("--only", TASKS), ("--sizes", SHAPES)):
        chosen = tasks if name == "--only" else options.sizes.split(",")
        if unknown := [each for each in chosen if each not in known]:
            parser.error(f"{name}: {unknown[0]!r} is not one of {', '.join(known)}")
    rows = []
    print(conditions())
    for size in options.sizes.split(","):
        for sequences in map(int, options.sequences.split(",")):
            for task in tasks:
                for tool in TASKS[task]:
                    if options.tools and tool not in options.tools.split(","):
                        continue
                    row = in_process(task, tool, size, sequences, options.device)
                    rows.append(row)
                    words = row.get("failure") or (
                        f"{row['multiple']:6.2f} ×  {row['peak_mib']:8.1f} MiB  {row['seconds']:7.1f} s"
                    )
                    print(f"{size:>5} {sequences} × {TOKENS}  {task:<14} {tool:<22} {words}", flush=True)
                    if options.write:
                        write([row])


if __name__ == "__main__":
    main()
