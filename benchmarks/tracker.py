"""What tracking costs: products of a warm and of a cold search for λ₁, and the share of time kept under a budget.

A CNN on scikit-learn's digits with SGD and momentum, λ₁ every 10 steps on 256 examples: from the eigenvector of the
last measurement (warm, as the tracker does), from the gradient (as ``landscape measure`` does), and from a random
vector (cold), at a learning rate at which the network changes much in ten steps and at one at which it changes
little. Run ``python benchmarks/tracker.py``; numbers for benchmarks/README.md are copied from what it prints.
"""

import statistics

import torch
from torch import nn
from torch.nn import functional

import landscape
from landscape.curvature.operators import hessian
from landscape.data import load_data
from landscape.linalg import lanczos

STEPS, EVERY, BUDGETS = 400, 10, (0.02, 0.05, 0.10)
TOLERANCES = (1e-3, 1e-2, 5e-2)
RATES = (0.05, 0.002)


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """512 pictures ``(512, 1, 8, 8)`` and their classes."""
    train = load_data("digits").train
    pictures, classes = zip(*(train[k] for k in range(512)), strict=True)
    return torch.stack(pictures).float().view(-1, 1, 8, 8), torch.as_tensor(classes)


class Loop:
    """A network with its optimizer, a step at a time."""

    def __init__(self, rate: float = 0.05) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1, stride=2), nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10),
        )  # fmt: skip
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=rate, momentum=0.9)
        self.x, self.y = digits()
        self.draws = torch.Generator().manual_seed(0)

    def step(self) -> None:
        """One step with 64 random pictures."""
        chosen = torch.randint(512, (64,), generator=self.draws)
        self.optimizer.zero_grad()
        functional.cross_entropy(self.model(self.x[chosen]), self.y[chosen]).backward()
        self.optimizer.step()


def products(rate: float) -> None:
    """Prints the mean number of products a measurement, by start and tolerance."""
    loop = Loop(rate)
    objective = landscape.Objective(loop.model, "cross-entropy", (loop.x[:256], loop.y[:256]))
    starts = ("warm", "gradient", "cold")
    spent: dict[tuple[str, float], list[int]] = {}
    last: dict[float, torch.Tensor] = {}
    for step in range(1, STEPS + 1):
        loop.step()
        if step % EVERY:
            continue
        point = objective.of(loop.model)
        for tolerance in TOLERANCES:
            for start in starts:
                vector = {"warm": last.get(tolerance), "gradient": point.gradient, "cold": None}[start]
                draws = torch.Generator().manual_seed(step)
                pairs = lanczos(hessian(point), tolerance=tolerance, generator=draws, start=vector)
                if start != "warm" or tolerance in last:
                    spent.setdefault((start, tolerance), []).append(pairs.products)
                if start == "warm":
                    last[tolerance] = pairs.vectors[:, 0]
    for tolerance in TOLERANCES:
        means = [statistics.mean(spent[start, tolerance]) for start in starts]
        cells = " | ".join(f"{mean:.1f}" for mean in means)
        print(f"| {rate:g} | {tolerance:g} | {cells} | {means[2] / means[0]:.1f} |")


def shares() -> None:
    """Prints the share of the time that measurements took, under each budget."""
    print("\n| budget | measurements in 4,000 steps | share of the time |\n|---|---:|---:|")
    for budget in BUDGETS:
        loop = Loop()
        tracker = landscape.Tracker(
            loop.model,
            "cross-entropy",
            (loop.x[:256], loop.y[:256]),
            measures=["dominant-eigenvalue:tolerance=0.01"],
            every=EVERY,
            budget=budget,
        )
        for _ in range(10 * STEPS):
            loop.step()
            tracker.step(loop.optimizer)
        print(f"| {budget:.0%} | {len(tracker.history)} | {tracker.share:.1%} |")


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("| rate | residual | warm | from the gradient | cold | cold / warm |")
    print("|---|---|---:|---:|---:|---:|")
    for rate in RATES:
        products(rate)
    shares()
