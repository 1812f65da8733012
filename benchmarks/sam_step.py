"""The cost of a sharpness-aware step beyond its gradients: ours beside pytorch_optimizer's.

    python benchmarks/sam_step.py [--seconds 90]

Every line is one optimizer on one network. The yardstick computes the same number of gradients at the weights, and
one step of the same base (SGD with momentum): one gradient for ERM, two for SAM and GSAM; for LookSAM, over k = 5
steps, 5 + 1. A ratio of 1.05 says that everything the optimizer adds (displacing, restoring, norms, checks) takes
5 % of that. The goal is 1.03 where the yardstick takes 10 ms and more, 1.12 where it takes less.

Everything takes turns in one process, five steps at a time, in an order that rotates; a ratio is computed within
a turn, against the yardstick of that turn, so that a busy machine slows both. Printed are the median and the
quartiles of the turns. On the CPU the clock is that of the process on one thread, which does not run while other
processes do (their traffic on the memory bus is still felt); on CUDA it is the wall clock, synchronised.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from landscape.models.cifar_resnet import resnet20
from landscape.models.cnn import CNN
from landscape.models.mlp import MLP
from landscape.optim import ERM, GSAM, SAM, LookSAM

STEPS = 5  # in a turn; also LookSAM's k
LEAST_ROUNDS, MOST_ROUNDS = 4, 400
RHO, LR, MOMENTUM = 0.05, 0.01, 0.9

Turn = Callable[[], object]


@dataclass(frozen=True)
class Setting:
    """A network and its batch."""

    name: str
    network: Callable[[], nn.Module]
    shape: tuple[int, ...]
    batch: int


SETTINGS = {
    "cpu": [
        Setting("MLP 64-64-10, batch 128", lambda: MLP(depth=1, input_shape=(64,)), (64,), 128),
        Setting("MLP 784-128-128-10, batch 128", lambda: MLP(width=128, input_shape=(784,)), (784,), 128),
        Setting("CNN 16-32-64, batch 32", CNN, (3, 32, 32), 32),
        Setting("ResNet-20, batch 32", resnet20, (3, 32, 32), 32),
    ],
    "cuda": [
        Setting("MLP 784-128-128-10, batch 128", lambda: MLP(width=128, input_shape=(784,)), (784,), 128),
        Setting("CNN 16-32-64, batch 128", CNN, (3, 32, 32), 128),
        Setting("ResNet-20, batch 128", resnet20, (3, 32, 32), 128),
        Setting("ResNet-20, batch 1024", resnet20, (3, 32, 32), 1024),
    ],
}


class Problem:
    """One copy of a setting with its own base optimizer."""

    def __init__(self, setting: Setting, device: str) -> None:
        torch.manual_seed(0)
        self.model = setting.network().to(device)
        self.inputs = torch.randn(setting.batch, *setting.shape, device=device)
        self.targets = torch.randint(0, 10, (setting.batch,), device=device)
        self.base = torch.optim.SGD(self.model.parameters(), lr=LR, momentum=MOMENTUM)

    def closure(self) -> Callable[[], Tensor]:
        """The closure of a training loop; the model clears, because optimizers' own ways differ in time."""

        def closure() -> Tensor:
            self.model.zero_grad()
            loss = nn.functional.cross_entropy(self.model(self.inputs), self.targets)
            loss.backward()
            return loss

        return closure


def yardstick(problem: Problem, gradients: list[int]) -> Turn:
    """Bare gradients, a number for each step, and base steps."""
    closure = problem.closure()

    def turn() -> None:
        for count in gradients:
            for _ in range(count):
                closure()
            problem.base.step()

    return turn


def ours(problem: Problem, variant: type, **options: float) -> Turn:
    """Steps of an optimizer of this project."""
    optimizer = variant(problem.base, model=problem.model, **options)
    closure = problem.closure()

    def turn() -> None:
        for _ in range(STEPS):
            optimizer.step(closure)

    return turn


def their_sam(problem: Problem) -> Turn:
    """Steps of pytorch_optimizer's SAM; its caller evaluates the first gradient."""
    import pytorch_optimizer

    optimizer = pytorch_optimizer.SAM(
        problem.model.parameters(), torch.optim.SGD, rho=RHO, lr=LR, momentum=MOMENTUM
    )
    closure = problem.closure()

    def turn() -> None:
        for _ in range(STEPS):
            closure()
            optimizer.step(closure)

    return turn


def their_gsam(problem: Problem) -> Turn:
    """Steps of pytorch_optimizer's GSAM, at a constant radius."""
    import pytorch_optimizer

    optimizer = pytorch_optimizer.GSAM(
        problem.model.parameters(),
        problem.base,
        problem.model,
        rho_scheduler=SimpleNamespace(step=lambda: RHO),
        alpha=0.1,
    )

    def turn() -> None:
        for _ in range(STEPS):
            optimizer.set_closure(nn.functional.cross_entropy, problem.inputs, problem.targets)
            optimizer.step()

    return turn


def their_looksam(problem: Problem) -> Turn:
    """Steps of pytorch_optimizer's LookSAM."""
    import pytorch_optimizer

    optimizer = pytorch_optimizer.LookSAM(
        problem.model.parameters(), torch.optim.SGD, rho=RHO, k=STEPS, lr=LR, momentum=MOMENTUM
    )
    closure = problem.closure()

    def turn() -> None:
        for _ in range(STEPS):
            closure()
            optimizer.step(closure)

    return turn


def turns(setting: Setting, device: str) -> dict[str, Turn]:
    """Everything that takes turns, each on a copy of its own."""
    return {
        "1": yardstick(Problem(setting, device), [1] * STEPS),
        "2": yardstick(Problem(setting, device), [2] * STEPS),
        "1 + 1/k": yardstick(Problem(setting, device), [2] + [1] * (STEPS - 1)),
        "ERM ours": ours(Problem(setting, device), ERM),
        "SAM ours": ours(Problem(setting, device), SAM, rho=RHO),
        "SAM theirs": their_sam(Problem(setting, device)),
        "GSAM ours": ours(Problem(setting, device), GSAM, rho=RHO, alpha=0.1),
        "GSAM theirs": their_gsam(Problem(setting, device)),
        "LookSAM ours": ours(Problem(setting, device), LookSAM, rho=RHO, k=STEPS),
        "LookSAM theirs": their_looksam(Problem(setting, device)),
    }


YARDSTICKS = {"ERM": "1", "SAM": "2", "GSAM": "2", "LookSAM": "1 + 1/k"}


def seconds(turn: Turn, device: str) -> float:
    """The time of one turn."""
    if device == "cpu":
        start = time.process_time()
        turn()
        return time.process_time() - start
    wait = torch.get_device_module(device).synchronize
    wait()
    start = time.perf_counter()
    turn()
    wait()
    return time.perf_counter() - start


def measure(setting: Setting, device: str, budget: float) -> dict[str, list[float]]:
    """The seconds of each turn, by name; all take turns until the budget, in seconds, is spent."""
    by_name = turns(setting, device)
    names = list(by_name)
    times_of: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        by_name[name]()
    end = time.perf_counter() + budget
    rounds = 0
    while rounds < LEAST_ROUNDS or (rounds < MOST_ROUNDS and time.perf_counter() < end):
        first = rounds % len(names)
        rounds += 1
        for name in names[first:] + names[:first]:
            times_of[name].append(seconds(by_name[name], device))
    return times_of


def report(setting: Setting, times_of: dict[str, list[float]]) -> None:
    """Print the ratios of one setting."""
    print(f"\n{setting.name}; {len(times_of['1'])} turns")
    print(f"  {'optimizer':<9}{'gradients':>10}{'yardstick':>14}{'ours':>21}{'pytorch_optimizer':>25}   goal")
    for name, gradients in YARDSTICKS.items():
        unit = times_of[gradients]
        milliseconds = 1e3 * statistics.median(unit) / STEPS
        cells = []
        for whose in ("ours", "theirs"):
            times = times_of.get(f"{name} {whose}")
            if times is None:
                cells.append("–")
                continue
            low, middle, high = statistics.quantiles([t / u for t, u in zip(times, unit, strict=True)])
            cells.append(f"{middle:.3f} ({low:.3f}–{high:.3f})")
        goal = 1.03 if milliseconds >= 10 else 1.12
        print(f"  {name:<9}{gradients:>10}{milliseconds:>11.2f} ms{cells[0]:>21}{cells[1]:>25}   {goal}")


def conditions(device: str) -> str:
    """The hardware and the versions of this measurement."""
    where = torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()}, 1 thread"
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    return (
        f"{device}: {where}; {load}; torch {torch.__version__}, pytorch_optimizer "
        f"{version('pytorch-optimizer')}, Python {platform.python_version()}; turns of {STEPS} steps"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=90.0, help="time for each network (default: 90)")
    budget = parser.parse_args().seconds
    torch.set_num_threads(1)
    for device in ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]:
        print(conditions(device))
        for setting in SETTINGS[device]:
            report(setting, measure(setting, device, budget))
        print()


if __name__ == "__main__":
    main()
