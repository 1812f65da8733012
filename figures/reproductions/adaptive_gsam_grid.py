"""Whether Adaptive-GSAM is less sensitive to its hyper-parameters than GSAM: accuracy over a grid of ρ and α.

The report gives no protocol. Ours, fixed before anything was run: ρ in 0.1, 0.2, 0.5, 1 and 2 by α in 0.01, 0.04 and
0.16, with the report's network, data and learning rate; the sensitivity of a method with a seed is the standard
deviation of its test accuracy over the fifteen cells, and also the drop from the best cell to the worst. A method is
less sensitive if the 95 % interval of the paired difference over seeds says so. The control displaces along GSAM's
direction by the length that Adaptive-GSAM has at the same weights and ρ, because equal ρ are not equal radii.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import report_networks as report
import torch
from adaptive_gsam import CONTROL, Matched
from claims import Claim, Record, ordered
from setups import Setup
from study import Results, Study, Work, main, say
from torch import Tensor, nn

from landscape.data import load_data
from landscape.models import build_model
from landscape.optim import GSAM, AdaptiveGSAM

RADII, ALPHAS = (0.1, 0.2, 0.5, 1.0, 2.0), (0.01, 0.04, 0.16)
ARMS = {
    "GSAM": "gsam",
    "Adaptive-GSAM": "adaptive-gsam:gamma=0.1",
    CONTROL: "gsam, ‖ε‖ as Adaptive-GSAM",
}
MADE: dict[str, Callable[..., Any]] = {
    "GSAM": GSAM,
    "Adaptive-GSAM": lambda base, **options: AdaptiveGSAM(base, gamma=0.1, **options),
    CONTROL: lambda base, **options: Matched(base, gamma=0.1, **options),
}
COLUMNS = {
    "spread": "standard deviation over the grid (%)",
    "drop": "best − worst (%)",
    "best": "best accuracy (%)",
}
MOONS = Setup(
    "moons",
    "2,000 points, the report's mlp 2-32-32-32-1, 50 epochs, batch 64, lr 0.01, no momentum",
    "moons",
    {"epochs": 50, "batch_size": 64, "lr": 0.01},
    more={"samples": 2000},
)
DIGITS = Setup(
    "digits",
    "scikit-learn's digits (1,437 + 360), mlp 64-64-64-10, 40 epochs, batch 64, lr 0.1, no momentum",
    "digits",
    {"epochs": 40, "batch_size": 64, "lr": 0.1},
)


def compute(work: Work) -> Results:
    """Trains every cell of the grid with every method and seed in a loop of its own."""
    from landscape.training import threads_set

    data = _data(work)
    found: Results = {}
    for label in work.arms:
        for seed in work.seeds:
            cells = []
            for rho, alpha in itertools.product(RADII, ALPHAS):
                name = f"{label}-{rho:g}-{alpha:g}-{seed}".replace(",", "")

                def trained(
                    rho: float = rho, alpha: float = alpha, label: str = label, seed: int = seed
                ) -> float:
                    return _accuracy(work, MADE[label], rho, alpha, seed, data)

                with threads_set(1):  # networks so small are slower with more
                    cells.append(work.remember(name, trained))
            numbers = {
                "spread": float(np.std(cells, ddof=1)),
                "drop": max(cells) - min(cells),
                "best": max(cells),
            }
            say(f"{label}, seed {seed}: {numbers}")
            for name, value in {**numbers, "cells": cells}.items():
                found.setdefault(label, {}).setdefault(name, []).append(value)
    return found


def _data(work: Work) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    if work.setup.name == "moons":
        return report.moons_data(int(str(work.setup.more["samples"])))
    found = load_data(work.data)
    train, test = found.split("train"), found.split("test")
    return train.inputs, train.targets, test.inputs, test.targets


def _accuracy(
    work: Work, made: Callable[..., Any], rho: float, alpha: float, seed: int, data: tuple[Tensor, ...]
) -> float:
    """Accuracy on the test set at the end, in percent."""
    inputs, targets, test_inputs, test_targets = data
    moons, fields = work.setup.name == "moons", work.setup.fields
    torch.manual_seed(seed)
    model: nn.Module = (
        report.Moons()
        if moons
        else build_model("mlp:width=64", classes=10, input_shape=tuple(inputs.shape[1:]))
    )
    loss = report.moons_loss if moons else nn.functional.cross_entropy
    base = torch.optim.SGD(model.parameters(), lr=float(str(fields["lr"])))
    optimizer = made(base, rho=rho, alpha=alpha)
    for _ in range(int(str(fields["epochs"]))):
        for rows in torch.randperm(len(inputs)).split(int(str(fields["batch_size"]))):

            def closure(x: Tensor = inputs[rows], y: Tensor = targets[rows]) -> Tensor:
                optimizer.zero_grad()
                value: Tensor = loss(model(x), y)
                value.backward()
                return value

            optimizer.step(closure)
    with torch.no_grad():
        scores = model(test_inputs)
    right = (
        report.moons_correct(scores, test_targets) if moons else int((scores.argmax(1) == test_targets).sum())
    )
    return 100 * right / len(test_targets)


def claims(record: Record) -> Sequence[Claim]:
    """Less spread over the grid, at equal ρ and at equal radius; and what the best cell reaches."""
    found = record["results"]

    def less(name: str, text: str, paper: str, other: str) -> Claim:
        return ordered(text, paper, *((arm, found[arm][name]) for arm in ("Adaptive-GSAM", other)))

    said, none = "“reduces sensitivity to hyper-parameters”", "no such control"
    best = [(arm, found[arm]["best"]) for arm in ("GSAM", "Adaptive-GSAM")]
    return [
        less("spread", "the spread over ρ and α: Adaptive-GSAM < GSAM", said, "GSAM"),
        less("drop", "the drop from best to worst: Adaptive-GSAM < GSAM", said, "GSAM"),
        less("spread", "the spread over ρ and α: Adaptive-GSAM < GSAM at the same radius", none, CONTROL),
        less("drop", "the drop from best to worst: Adaptive-GSAM < GSAM at the same radius", none, CONTROL),
        ordered("accuracy of the best cell: GSAM < Adaptive-GSAM", "“better generalisation”", *best),
    ]


STUDY = Study(
    name="adaptive_gsam_grid",
    title="Adaptive-GSAM: sensitivity to its hyper-parameters",
    source="Student report, Oxford C6.5, 2025, in its text",
    compute=compute,
    claims=claims,
    setups={"moons": MOONS, "digits": DIGITS},
    paper=None,
    arms={"cpu": ARMS},
    columns=COLUMNS,
    seeds=3,
)

if __name__ == "__main__":
    main(STUDY)
