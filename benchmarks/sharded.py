"""Weights that are divided over processes beside one process that has all: peak memory, agreement, time.

    python benchmarks/sharded.py [--runs 14M/2,14M/3,124M/2] [--products 8] [--probes 4] [--write]

A decoder shaped like GPT-2 is saved as safetensors, at random weights, and measured by one process and by several
(gloo, one thread each, float32) on one sequence of 64 tokens a process: the dominant eigenvalue by Lanczos, and the
trace by plain probes. Every process is one of its own. One process reads the file into the network and gives it away
(``copy=False``), which is its most frugal way; several map the file, and each copies its part out of it.

Two peaks are printed for each process, above what it took when everything was imported and the processes had met:

- resident: VmHWM, reset by writing 5 to /proc/self/clear_refs. Pages of the mapped file count in it, although they are
  the page cache of the machine: all processes share them, and the kernel takes them back when it needs memory.
- private: resident memory less that of files, read from /proc/self/statm every 2 ms by a thread. The ratio is of this
  one. Buffers of gloo count in both.

glibc gives back what is freed, as in memory.py. --write puts the table into benchmarks/README.md, where the rows of
other runs stay.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from memory import ENVIRONMENT, MIB, README, TOKENS, Peak, conditions
from memory_cases import SHAPES, Decoder, token_loss
from safetensors.torch import save_file

BEGIN, END = "<!-- sharded: written by sharded.py -->", "<!-- sharded: end -->"
PAGE = os.sysconf("SC_PAGE_SIZE")
GOALS = {"peak": 0.65, "difference": 1e-5}
SEQUENCES = 2


class PrivatePeak:
    """The most private resident memory above that of the moment at which it is made."""

    def __init__(self) -> None:
        self._before = self._most = self._now()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    @staticmethod
    def _now() -> int:
        _, resident, of_files, *_ = map(int, Path("/proc/self/statm").read_text().split())
        return (resident - of_files) * PAGE

    def _watch(self) -> None:
        while not self._done.wait(0.002):
            self._most = max(self._most, self._now())

    def end(self) -> int:
        """It, until now."""
        self._done.set()
        self._thread.join()
        return self._most - self._before


def network(size: str) -> torch.nn.Module:
    """A decoder of one of the sizes, without the cost of initial values that are overwritten."""
    return Decoder(SHAPES[size]).eval()


def measured(folder: str, size: str, rank: int, world: int, products: int, probes: int) -> dict[str, Any]:
    """The numbers of one process, its peaks and seconds."""
    from landscape.checkpoints import load_checkpoint
    from landscape.measures import measure
    from landscape.objective import Objective

    torch.set_num_threads(1)
    if world > 1:
        store = f"file://{folder}/store-{size}-{world}"
        dist.init_process_group(
            "gloo", init_method=store, rank=rank, world_size=world, timeout=timedelta(hours=1)
        )
    generator = torch.Generator().manual_seed(0)
    text = torch.randint(SHAPES[size].vocabulary, (SEQUENCES, TOKENS + 1), generator=generator)
    data = list(zip(text[:, :-1].split(1), text[:, 1:].split(1), strict=True))
    if world > 1:
        dist.barrier()
    peak, private, start = Peak("cpu"), PrivatePeak(), time.perf_counter()
    file, name = f"{folder}/{size}.safetensors", f"{__file__}:network:size={size}"
    checkpoint = load_checkpoint(file, model=name, data=data, loss=token_loss, mapped=world > 1)
    way: dict[str, Any] = {"processes": "split", "shard_weights": True} if world > 1 else {"copy": False}
    objective = Objective(checkpoint.model, token_loss, data, **way)
    after, seconds = [], []
    values = []
    for task in (
        f"dominant-eigenvalue:max_iterations={products},tolerance=1e-9",
        f"hessian-trace:method=hutchinson,max_probes={probes},tolerance=1e-9",
    ):
        values += [each.value for each in measure(objective, [task])]
        after.append(peak.bytes / MIB)
        seconds.append(time.perf_counter() - start)
    return {
        "values": values,
        "resident": peak.bytes / MIB,
        "private": private.end() / MIB,
        "weights": 4 * objective.dimension / MIB,
        "after": after,
        "seconds": seconds,
    }


def run(folder: Path, size: str, world: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """What the processes of one measurement say."""
    (folder / f"store-{size}-{world}").unlink(missing_ok=True)
    rows = [
        {
            "folder": str(folder),
            "size": size,
            "rank": rank,
            "world": world,
            "products": options.products,
            "probes": options.probes,
        }
        for rank in range(world)
    ]
    running = [
        subprocess.Popen(
            [sys.executable, __file__, "--row", json.dumps(row)],
            env=os.environ | ENVIRONMENT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for row in rows
    ]
    texts = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise SystemExit(f"{size} in {world} processes failed")
    return [json.loads(text.splitlines()[-1]) for text in texts]


def line(size: str, world: int, rows: list[dict[str, Any]], alone: dict[str, Any]) -> str:
    """One row of the table."""
    cells = [size, str(world)]
    for key in ("private", "resident"):
        cells.append(", ".join(f"{row[key]:.0f} MiB ({row[key] / row['weights']:.2f})" for row in rows))
    differences = [
        max(abs(row["values"][k] - alone["values"][k]) / abs(alone["values"][k]) for row in rows)
        for k in range(2)
    ]
    ratio = max(row["private"] for row in rows) / alone["private"]
    cells += ["", "", ""] if world == 1 else [f"{ratio:.2f}", *(f"{each:.0e}" for each in differences)]
    cells.append(f"{max(row['seconds'][-1] for row in rows):.0f} s")
    if world > 1 and (ratio > GOALS["peak"] or max(differences) > GOALS["difference"]):
        cells[-1] += " (a goal is missed)"
    return f"| {' | '.join(cells)} |"


def write(lines: list[str]) -> None:
    """Puts a table into the README, where the rows of other runs stay."""
    before, _, rest = README.read_text().partition(BEGIN)
    old, _, after = rest.partition(END)
    known = {_run(each): each for each in [*old.splitlines(), *lines[2:]] if each.startswith("|")}
    rows = [row for key, row in known.items() if key[1].isdigit()]
    table = "\n".join([*lines[:2], *rows])
    README.write_text(f"{before}{BEGIN}\n{conditions()}.\n\n{table}\n{END}{after}")


def _run(row: str) -> tuple[str, str]:
    """Parameters and processes of a row."""
    _, size, world, *_ = (cell.strip() for cell in row.split("|"))
    return size, world


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", default="14M/2,14M/3,124M/2", help="SIZE/PROCESSES (default: %(default)s)")
    parser.add_argument("--products", type=int, default=8, help="of the eigenvalue (default: 8)")
    parser.add_argument("--probes", type=int, default=4, help="of the trace (default: 4)")
    parser.add_argument("--write", action="store_true", help="put the table into the README")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        print(json.dumps(measured(**json.loads(options.row))))
        return
    lines = [
        "| parameters | processes | private, each (× weights) | resident, each (× weights) | ratio | eigenvalue "
        "| trace | time |",
        "|---|---:|---|---|---:|---:|---:|---:|",
    ]
    print("\n".join(lines))
    alone: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for size, world in (each.split("/") for each in options.runs.split(",")):
            if size not in alone:
                torch.manual_seed(0)
                save_file(network(size).state_dict(), Path(folder) / f"{size}.safetensors")
                alone[size] = run(Path(folder), size, 1, options)[0]
                lines.append(line(size, 1, [alone[size]], alone[size]))
                print(lines[-1], alone[size]["after"], flush=True)
            rows = run(Path(folder), size, int(world), options)
            lines.append(line(size, int(world), rows, alone[size]))
            print(lines[-1], [row["after"] for row in rows], flush=True)
    if options.write:
        write(lines)


if __name__ == "__main__":
    main()
