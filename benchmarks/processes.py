"""Two processes of one thread each beside one process of one thread: eigenvalue, trace, SAM epoch, surface.

    python benchmarks/processes.py [--examples 512] [--rounds 5] [--only trace] [-o processes.json] [--quick]

The network is ResNet-20 after one epoch on the digits of scikit-learn, enlarged to 3 × 32 × 32; the pictures are the
first of them, in four batches. In every round each task is run three ways, between two meetings of the processes, by
the wall clock:

- alone: one process; the other one waits and computes nothing;
- together: two processes that divide the batches (``processes="split"``), the batch of a step, or the points;
- both alone: two processes that know nothing of each other and do all of it at the same time. Twice the time alone
  over this time is the most that two processes can reach on this machine, where they share caches and memory.

Printed are medians and extremes over the rounds, the ratio alone / together of the same round, that bound, the share of
the time together that the slower process spends in exchanges and in waiting for the other one there, and the largest
relative difference of the results. Two cores have to be free: another process on them is felt at once.
"""

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from curvature_cases import enlarged_digits
from torch import Tensor, nn

from landscape.measures import measure
from landscape.models import build_model
from landscape.objective import Objective
from landscape.optim.exchange import Exchange
from landscape.processes.group import ALONE, current_group
from landscape.records.storage import write_whole
from landscape.surfaces.sampling import sample_surface
from landscape.surfaces.sampling_together import sample_together
from landscape.surfaces.shared import Shared
from landscape.training.recipe import Recipe
from landscape.training.session import Session
from landscape.training.subject import subject_of

GOALS = {"top eigenvalue": 1.7, "trace": 1.7, "SAM epoch": 1.7, "surface": 1.85}
PROCESSES = 2
BATCHES = 4
POINTS = 6
EXAMPLES = "LANDSCAPE_BENCHMARK_EXAMPLES"  # the task of a recipe has no arguments
EXCHANGES = ("all_reduce", "all_gather_object", "broadcast_object_list", "barrier")


@dataclass
class Line:
    """The rounds of one task: seconds of each way, and of the exchanges together."""

    alone: list[float] = field(default_factory=list)
    together: list[float] = field(default_factory=list)
    both_alone: list[float] = field(default_factory=list)
    exchanges: list[float] = field(default_factory=list)
    difference: float = 0.0

    @property
    def ratios(self) -> list[float]:
        """Alone over together, in each round."""
        return [alone / together for alone, together in zip(self.alone, self.together, strict=True)]

    @property
    def bounds(self) -> list[float]:
        """Twice alone over both alone, in each round."""
        return [PROCESSES * alone / both for alone, both in zip(self.alone, self.both_alone, strict=True)]


def pictures() -> tuple[Tensor, Tensor]:
    """The examples, all on one device."""
    inputs, targets = enlarged_digits()
    count = int(os.environ[EXAMPLES])
    return inputs[:count], targets[:count]


def network() -> nn.Module:
    """ResNet-20 after one epoch of SGD on the pictures, the same in every process."""
    model = build_model("resnet20", classes=10, input_shape=(3, 32, 32), seed=0).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    inputs, targets = pictures()
    for batch, labels in zip(inputs.split(64), targets.split(64), strict=True):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(batch), labels).backward()
        optimizer.step()
    optimizer.zero_grad()
    return model.eval()


def task() -> dict[str, object]:
    """Network, data and loss of the SAM epoch, as ``landscape train --task`` takes them."""
    inputs, targets = pictures()
    data = torch.utils.data.TensorDataset(inputs, targets)
    few = torch.utils.data.TensorDataset(inputs[:16], targets[:16])
    return {"model": network(), "data": (data, few), "loss": nn.CrossEntropyLoss()}


class Work:
    """The tasks, as one of the processes runs them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = network()
        self.batch_size = int(os.environ[EXAMPLES]) // BATCHES
        self.batches = list(zip(*(part.split(self.batch_size) for part in pictures()), strict=True))
        self.seconds_of_exchanges = 0.0

    def run(self, name: str, *, together: bool, number: int) -> tuple[list[float], float]:
        """The numbers of a task, and the seconds that it took."""
        function = {
            # So many products and probes as decide the ratio; until convergence it takes minutes.
            "top eigenvalue": lambda: self.measured("dominant-eigenvalue:max_iterations=6", together),
            "trace": lambda: self.measured("hessian-trace:max_probes=4", together),
            "SAM epoch": self.epoch(together),
            "surface": lambda: self.surface(together, number),
        }[name]
        dist.barrier()
        self.seconds_of_exchanges, start = 0.0, time.perf_counter()
        numbers = function()
        return numbers, time.perf_counter() - start

    def objective(self, together: bool) -> Objective:
        """With an empty cache."""
        processes = "split" if together else "alone"
        return Objective(self.model, nn.CrossEntropyLoss(), self.batches, processes=processes)

    def measured(self, name: str, together: bool) -> list[float]:
        """The value of a measure."""
        return [estimate.value for estimate in measure(self.objective(together), [name])]

    def surface(self, together: bool, number: int) -> list[float]:
        """The losses on a grid of ``POINTS × POINTS``."""
        options: dict[str, Any] = {
            "points": POINTS,
            "span": 0.1,
            "forward": "channels-last",
            "compile": False,
        }
        if not together:
            return list(sample_surface(self.objective(False), **options).loss.ravel())
        with Shared(self.folder / f"surface-{number}", workers=PROCESSES) as shared:
            return list(sample_together(shared, self.objective(False), **options).loss.ravel())

    def epoch(self, together: bool) -> Callable[[], list[float]]:
        """An epoch of SAM, from the same weights each time; the session is made before the clock starts."""
        recipe = Recipe(
            task=f"{__file__}:task", optimizer="sam:rho=0.05", epochs=1, batch_size=self.batch_size, lr=0.01
        )
        exchange = Exchange(current_group() if together else ALONE)
        session = Session(recipe, subject_of(recipe), torch.device("cpu"), exchange=exchange)

        def run() -> list[float]:
            for _ in session.train_epoch():
                pass
            return [
                float(
                    torch.linalg.vector_norm(
                        torch.cat([p.detach().ravel() for p in session.model.parameters()])
                    )
                )
            ]

        return run

    @contextmanager
    def watched_exchanges(self) -> Iterator[None]:
        """A context in which the time of every exchange is added up."""
        originals = {name: getattr(dist, name) for name in EXCHANGES}

        def timed(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **options: Any) -> Any:
                start = time.perf_counter()
                try:
                    return function(*arguments, **options)
                finally:
                    self.seconds_of_exchanges += time.perf_counter() - start

            return call

        for name, function in originals.items():
            setattr(dist, name, timed(function))
        try:
            yield
        finally:
            for name, function in originals.items():
                setattr(dist, name, function)


def serve(rank: int, folder: str, asked: Connection) -> None:
    """What each process does: the tasks that it is asked for, until there is none."""
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=PROCESSES)
    work = Work(Path(folder))
    with work.watched_exchanges():
        while (request := asked.recv()) is not None:
            name, way, number = request
            if way == "alone" and rank > 0:
                dist.barrier()
                asked.send(([], 0.0, 0.0))
                continue
            numbers, seconds = work.run(name, together=way == "together", number=number)
            asked.send((numbers, seconds, work.seconds_of_exchanges))
    dist.destroy_process_group()


def measured_line(name: str, rounds: int, processes: list[Connection]) -> Line:
    """All rounds of a task, after one that does not count."""
    line = Line()
    for number in range(rounds + 1):
        results = {}
        for way in ("alone", "together", "both alone"):
            for process in processes:
                process.send((name, way, number))
            results[way] = [process.recv() for process in processes]
        alone, together = results["alone"][0], results["together"]
        pairs = [pair for each in together for pair in zip(alone[0], each[0], strict=True)]
        line.difference = max(line.difference, *(abs(one - two) / abs(one) for one, two in pairs))
        if number == 0:
            continue
        line.alone.append(alone[1])
        line.together.append(max(seconds for _, seconds, _ in together))
        line.both_alone.append(max(seconds for _, seconds, _ in results["both alone"]))
        line.exchanges.append(min(exchanges for *_, exchanges in together))
    return line


def text(name: str, line: Line) -> str:
    """A row of the table."""
    ratio, bound = statistics.median(line.ratios), statistics.median(line.bounds)
    share = statistics.median(part / whole for part, whole in zip(line.exchanges, line.together, strict=True))
    goal = GOALS[name]
    return (
        f"{name:15} {statistics.median(line.alone):8.2f} {statistics.median(line.together):9.2f}  "
        f"{ratio:5.2f} ({min(line.ratios):.2f}–{max(line.ratios):.2f})  ≥ {goal:<4g} "
        f"{'met' if ratio >= goal else 'missed':7} {bound:5.2f} ({min(line.bounds):.2f}–{max(line.bounds):.2f}) "
        f"{share:8.1%} {line.difference:10.1e}"
    )


def conditions(examples: int, rounds: int) -> dict[str, object]:
    """The machine, the versions and the settings of this run."""
    return {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "examples": examples,
        "rounds": rounds,
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--examples", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=GOALS, action="append", help="this task alone; repeatable")
    parser.add_argument("-o", "--output", type=Path, help="a JSON file with every number")
    parser.add_argument(
        "--quick", action="store_true", help="128 examples, 1 round: only to see that it runs"
    )
    flags = parser.parse_args()
    examples, rounds = (64, 1) if flags.quick else (flags.examples, flags.rounds)
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
    os.environ[EXAMPLES] = str(examples)
    content: dict[str, Any] = {"conditions": conditions(examples, rounds), "tasks": {}}
    print(", ".join(f"{name} {value}" for name, value in content["conditions"].items()), flush=True)
    print(
        f"{'':15} {'alone, s':>8} {'together':>9}  ratio (least–most)    goal          bound (least–most)  "
        "exchange difference"
    )
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        pipes = [context.Pipe() for _ in range(PROCESSES)]
        running = [
            context.Process(target=serve, args=(rank, folder, theirs), daemon=True)
            for rank, (_, theirs) in enumerate(pipes)
        ]
        for process in running:
            process.start()
        ours = [pipe for pipe, _ in pipes]
        for name in flags.only or GOALS:
            line = measured_line(name, rounds, ours)
            print(text(name, line), flush=True)
            content["tasks"][name] = {**asdict(line), "ratios": line.ratios, "bounds": line.bounds}
            if flags.output is not None:
                write_whole(flags.output, json.dumps(content, indent=1).encode())
        for pipe in ours:
            pipe.send(None)
        for process in running:
            process.join(30)


if __name__ == "__main__":
    sys.exit(main())
