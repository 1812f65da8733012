"""What random numbers cost: against torch's generator, and as a share of what they are drawn for.

    python benchmarks/draws.py [--device cuda]

Medians of turns in which all take part: process time on one thread, or on a GPU the time on the wall.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from torch import nn

from landscape.draws import Draws
from landscape.models import build_model
from landscape.objective import Objective

COUNT = 10**7


def seconds(device: torch.device, turns: int, *actions: Callable[[], object]) -> list[float]:
    """The median time of each action, after one turn that is not counted."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    settle = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    times: list[list[float]] = [[] for _ in actions]
    for _ in range(turns + 1):
        for action, own in zip(actions, times, strict=True):
            settle()
            start = clock()
            action()
            settle()
            own.append(clock() - start)
    return [median(own[1:]) for own in times]


def main(device: torch.device) -> None:
    """Prints a line for each comparison."""
    torch.set_num_threads(1)
    draws, like = Draws(0), torch.empty(0, device=device)
    for kind, theirs in (
        (draws.signs, partial(torch.randint, 0, 2, (COUNT,), device=device)),
        (draws.normals, partial(torch.randn, COUNT, device=device)),
        (draws.uniforms, partial(torch.rand, COUNT, device=device)),
    ):
        ours, other = seconds(device, 9, partial(kind, 1, COUNT, like=like), theirs)
        print(
            f"10^7 {kind.__name__}: {1e3 * ours:.1f} ms, torch {1e3 * other:.1f} ms, {other / ours:.1f} times"
        )
    wide = nn.Sequential(
        nn.Linear(784, 2600), nn.Tanh(), nn.Linear(2600, 2800), nn.Tanh(), nn.Linear(2800, 10)
    )
    for name, model, size in (("MLP", wide, (784,)), ("ResNet-20", build_model("resnet20"), (3, 32, 32))):
        data = [(torch.randn(128, *size), torch.randint(0, 10, (128,))) for _ in range(4)]
        objective = Objective(model.eval(), nn.CrossEntropyLoss(), data, device=device)
        signs = partial(draws.signs, 1, objective.dimension, like=objective.point)
        probe, product = seconds(device, 3, signs, partial(objective.hessian_product, signs()[0]))
        print(
            f"{name}, {objective.dimension:,} weights: {probe / product:.2%} of a Hessian product, 512 examples"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    main(torch.device(parser.parse_args().device))
