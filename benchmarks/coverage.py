"""How often the 95 % interval of the trace holds the truth, over many seeds.

    python benchmarks/coverage.py [--seeds 200] [--only NAME]

Small networks in float64 with the dense Hessian at hand, each with an estimator that stops by itself: plain Hutchinson
on a ReLU network, probes of their own for every example on a tanh network and on one with attention; and, on the tanh
network with its outputs hidden, fresh probes for every batch. The interval is that in the details, by Student's t.
Printed with the share covered: its own 95 % interval (Wilson); the mean of (estimate − truth) / standard error, which
is 0 if nothing is biased, and its standard deviation, which is 1 if the errors are as large as is said.
"""

import argparse
import math
import platform
import statistics
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from landscape.measures import hessian_trace
from landscape.objective import BatchLoss, Objective

LOSS = nn.CrossEntropyLoss()
TOLERANCE = 0.05


@dataclass(frozen=True)
class Study:
    """A network, and how its trace is estimated."""

    name: str
    objective: Objective
    method: str


class Attention(nn.Module):
    """One block of self-attention on patches of a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 8, 2, stride=2)
        self.block = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True, activation="gelu")
        self.head = nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores ``(B, 3)`` of images ``(B, 1, 6, 6)``."""
        tokens = self.patches(images).flatten(2).mT
        scores: Tensor = self.head(self.block(tokens).mean(1))
        return scores


def mlp(activation: type[nn.Module]) -> nn.Module:
    """8 → 24 → 12 → 3."""
    return nn.Sequential(nn.Linear(8, 24), activation(), nn.Linear(24, 12), activation(), nn.Linear(12, 3))


def prepared(model: nn.Module, *shape: int, size: int, hidden: bool = False) -> Objective:
    """Briefly trained on 96 random examples; in batches of ``size``."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(96, *shape, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 3, (96,), generator=generator)
    model = model.double().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(20):
        optimizer.zero_grad()
        LOSS(model(inputs), targets).backward()
        optimizer.step()
    loss = BatchLoss(lambda network, batch: LOSS(network(batch[0]), batch[1])) if hidden else LOSS
    pieces = list(zip(inputs.split(size), targets.split(size), strict=True))
    return Objective(model.eval(), loss, pieces)


def studies() -> list[Study]:
    """Networks and estimators."""
    torch.manual_seed(0)
    return [
        Study("ReLU MLP, method=hutchinson", prepared(mlp(nn.ReLU), 8, size=96), "hutchinson"),
        Study("tanh MLP, probes an example", prepared(mlp(nn.Tanh), 8, size=24), "auto"),
        Study("attention, probes an example", prepared(Attention(), 1, 6, 6, size=24), "auto"),
        Study("tanh MLP, fresh probes a batch", prepared(mlp(nn.Tanh), 8, size=24, hidden=True), "auto"),
    ]


def wilson(covered: int, runs: int) -> tuple[float, float]:
    """The 95 % interval of a share."""
    z, share = 1.96, covered / runs
    middle = (share + z * z / (2 * runs)) / (1 + z * z / runs)
    half = z / (1 + z * z / runs) * math.sqrt(share * (1 - share) / runs + (z / (2 * runs)) ** 2)
    return middle - half, middle + half


def report(study: Study, seeds: int) -> None:
    """Prints one line."""
    objective = study.objective
    identity = torch.eye(objective.dimension, dtype=torch.float64)
    truth = float(objective.hessian_product(identity).trace())
    deviations, probes, ways, covered = [], [], set(), 0
    for seed in range(seeds):
        fresh = objective.at(objective.point)
        found = hessian_trace(
            fresh,
            method=study.method,
            tolerance=TOLERANCE,
            max_probes=100_000,
            seed=seed,  # type: ignore[arg-type]
        )
        assert found.standard_error is not None
        low, high = found.details["interval_95"]  # type: ignore[misc]
        covered += low <= truth <= high
        deviations.append((found.value - truth) / found.standard_error)
        probes.append(int(str(found.details["probes"])))
        ways.add(str(found.details["method"]))
    low, high = wilson(covered, seeds)
    print(
        f"{study.name:<32}{'/'.join(ways):<24}{objective.dimension:>6}{statistics.fmean(probes):>8.1f}"
        f"{100 * covered / seeds:>8.1f} % ({100 * low:.1f}–{100 * high:.1f})"
        f"{statistics.fmean(deviations):>8.2f}{statistics.stdev(deviations):>7.2f}",
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--only", default="", help="studies whose name holds this")
    asked = parser.parse_args()
    seeds = asked.seeds
    torch.set_num_threads(1)
    print(f"{platform.machine()}, torch {torch.__version__}, {seeds} seeds, tolerance {TOLERANCE:g}")
    print(
        f"{'network':<32}{'method':<24}{'n':>6}{'probes':>8}{'covered (95 % interval)':>26}{'mean':>8}{'sd':>7}"
    )
    for study in studies():
        if asked.only in study.name:
            report(study, seeds)


if __name__ == "__main__":
    main()
