"""CR-SAM's two gradients at the same time: a step by two processes beside steps of SAM and of CR-SAM.

    python benchmarks/branches.py [--rounds 12] [--write]

The caption of Fig. 3 of the CR-SAM paper says of its two gradients: "The two gradient steps are independent of each
other and can be perfectly parallelized. Hence the training speed is almost the same as SAM." Two processes of one
thread each take turns at these steps, all on the same batch of examples:

- SAM on one process, while the other waits;
- CR-SAM on one process, while the other waits;
- CR-SAM with ``branches="parallel"``: both have the whole batch, and one of the two gradients each;
- CR-SAM data-parallel: DistributedDataParallel over both, each with half of the batch;
- SAM data-parallel, likewise.

A round is one turn of each in an order that rotates, and a ratio is computed within a round, because other work on the
machine slows all of them. There are two clocks. The processor time of the busier of the two processes does not run
while other programs do, nor while it waits: it is what a step takes on two idle cores but for the waiting for an
exchange. The clock on the wall is that of the slower process. Printed are the median and the quartiles of the rounds.
``--write`` puts the rounds into ``figures/data/cr_sam_branches.json``, from which ``figures/reproductions/results.py``
makes the rows of RESULTS.md.
"""

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from landscape.models.cifar_resnet import resnet20
from landscape.models.mlp import MLP
from landscape.optim import CRSAM, SAM, SharpnessAware

RECORD = Path(__file__).parents[1] / "figures" / "data" / "cr_sam_branches.json"
LR, MOMENTUM, BATCH = 0.01, 0.9, 128
Network = tuple[Callable[[], nn.Module], tuple[int, ...], int]
NETWORKS: Mapping[str, Network] = {  # how it is made, the shape of an example, the steps of a turn
    "MLP 64-64-10, batch 128": (lambda: MLP(depth=1, input_shape=(64,)), (64,), 30),
    "ResNet-20, batch 128": (resnet20, (3, 32, 32), 1),
}
ONE_SAM, ONE_CR = "SAM, one process", "CR-SAM, one process"
BRANCHES, DIVIDED = "CR-SAM, branches in parallel", "CR-SAM, data-parallel"
DIVIDED_SAM = "SAM, data-parallel"
ARMS = (ONE_SAM, ONE_CR, BRANCHES, DIVIDED, DIVIDED_SAM)
CLOCKS = ("processor", "wall")
COMPARISONS = (
    (BRANCHES, ONE_SAM),
    (BRANCHES, DIVIDED),
    (BRANCHES, ONE_CR),
    (DIVIDED, ONE_SAM),
    (DIVIDED, ONE_CR),
)


def turn(name: str, network: Network, rank: int) -> Callable[[], None] | None:
    """The steps of one turn of this process; ``None`` where it waits."""
    make, shape, steps = network
    torch.manual_seed(0)
    model = make()
    inputs, targets = torch.randn(BATCH, *shape), torch.randint(0, 10, (BATCH,))
    if "one process" in name and rank > 0:
        return None
    trained: nn.Module = model
    if "data-parallel" in name:
        trained = DistributedDataParallel(model)
        inputs, targets = inputs[rank::2], targets[rank::2]
    base = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)
    optimizer: SharpnessAware = SAM(base, model=trained, rho=0.05)
    if name.startswith("CR-SAM"):
        optimizer = CRSAM(base, model=trained, rho=0.1, branches="parallel" if name == BRANCHES else "serial")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = nn.functional.cross_entropy(trained(inputs), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    def take() -> None:
        for _ in range(steps):
            optimizer.step(closure)

    return take


def process(rank: int, folder: str, rounds: int) -> None:
    """One of the two: takes its turns and, as the first, saves the seconds of a step of each round."""
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group(
        "gloo", init_method=store, rank=rank, world_size=2, timeout=timedelta(seconds=600)
    )
    seconds: dict[str, dict[str, list[float]]] = {}
    for label, network in NETWORKS.items():
        turns = {name: turn(name, network, rank) for name in ARMS}
        times = seconds[label] = {f"{name}, {clock}": [] for name in ARMS for clock in CLOCKS}
        for number in range(rounds + 1):
            shift = number % len(ARMS)
            for name in ARMS[shift:] + ARMS[:shift]:
                dist.barrier()
                begun = time.process_time(), time.perf_counter()
                if (take := turns[name]) is not None:
                    take()
                ended = time.process_time(), time.perf_counter()
                spent = torch.tensor([b - a for a, b in zip(begun, ended, strict=True)], dtype=torch.float64)
                dist.all_reduce(spent, dist.ReduceOp.MAX)
                if number > 0:  # the first turn allocates
                    for clock, value in zip(CLOCKS, spent.tolist(), strict=True):
                        times[f"{name}, {clock}"].append(value / network[2])
    if rank == 0:
        (Path(folder) / "seconds.json").write_text(json.dumps(seconds))
    dist.barrier()
    dist.destroy_process_group()


def measured(rounds: int) -> dict[str, dict[str, list[float]]]:
    """The seconds of a step by network and arm, one number a round."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        both = [context.Process(target=process, args=(rank, folder, rounds)) for rank in range(2)]
        for each in both:
            each.start()
        for each in both:
            each.join()
        if any(each.exitcode for each in both):
            raise SystemExit("a process failed")
        found: dict[str, dict[str, list[float]]] = json.loads((Path(folder) / "seconds.json").read_text())
    return found


def report(label: str, times: Mapping[str, list[float]]) -> None:
    """Prints the times and the ratios of one network."""
    print(f"\n{label}; {len(next(iter(times.values())))} rounds; processor time, wall time")
    for name in ARMS:
        cells = [f"{1e3 * statistics.median(times[f'{name}, {clock}']):>10.2f} ms" for clock in CLOCKS]
        print(f"  {name:<58}" + "".join(cells))
    for above, below in COMPARISONS:
        cells = []
        for clock in CLOCKS:
            pairs = zip(times[f"{above}, {clock}"], times[f"{below}, {clock}"], strict=True)
            low, middle, high = statistics.quantiles([a / b for a, b in pairs])
            cells.append(f"  {middle:.2f} ({low:.2f}–{high:.2f})")
        print(f"  {f'{above} / {below}':<54}" + "".join(cells))


def main() -> None:
    """Measures, prints and keeps the numbers if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=12, help="turns of each (default: 12)")
    parser.add_argument("--write", action="store_true", help=f"write {RECORD.name}")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    times = measured(options.rounds)
    where = (
        f"{platform.machine()}, two processes of one thread on {os.cpu_count()} cores, load {load:.1f} before and "
        f"{os.getloadavg()[0]:.1f} after; torch {torch.__version__}, gloo"
    )
    print(where)
    for label, of_network in times.items():
        report(label, of_network)
    if options.write:
        rounded = {
            label: {name: [float(f"{value:.4g}") for value in values] for name, values in of_network.items()}
            for label, of_network in times.items()
        }
        RECORD.write_text(json.dumps({"where": where, "seconds": rounded}, indent=1) + "\n")


if __name__ == "__main__":
    main()
