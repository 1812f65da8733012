"""Seconds a point of a loss surface: ours beside the packages loss-landscapes and Landscaper.

    python benchmarks/surface.py [--data DIR] [--examples 512] [--rounds 5] [--quick]

The network is ResNet-20 with its batch norms in evaluation mode, the data are CIFAR-10 images: real ones if DIR has
a folder ``cifar10-jpeg/train`` of classes, otherwise random pictures of the same shape, which cost the same.

- Ours: each way of forward passes that ``sample_surface`` knows, in batches of 128; and the same with batch-norm
  statistics recomputed at every point, as on planes through several checkpoints.
- loss-landscapes: ``random_plane`` with its own metric ``Loss``, which takes all examples in one batch.
- Landscaper: ``compute_loss_landscape`` on our two directions; the function that it is given evaluates all examples in
  one batch, or in batches of 128, which is faster.

All are called in turn, several times, on one thread; the clock is that of the process, which stands still while other
processes run. A line is the median over the rounds of a call's seconds divided by its points. The ratio is the median
over the rounds too, of the time of a tool over the time of ours in the same round. The time to compile, needed once a
surface, is printed beside. The bound is the bare convolutions of a point, in channels last, each on its own input.

Then each peer is called once more, and the loss that it computes at each point is compared with ours at its weights.
"""

import argparse
import contextlib
import copy
import io
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from loss_landscapes import random_plane
from loss_landscapes.metrics import Loss
from torch import Tensor, nn

from landscape.models import build_model
from landscape.objective import Objective
from landscape.surfaces.forward_passes import Evaluate, ForwardPass, StatisticsAt, compiled_pass
from landscape.surfaces.plane import Plane, build_plane

GOALS = {"loss-landscapes": 4.0, "Landscaper": 2.0}
"""The least ratio of a peer's time to ours, compiled."""

BARE = "its bare convolutions"
RECALIBRATED = ", recalibrated"
SPAN = 0.1

Images = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Line:
    """One tool: its name, and its seconds a point in each round."""

    name: str
    rounds: list[float]

    @property
    def seconds(self) -> float:
        """The median over rounds."""
        return statistics.median(self.rounds)

    def times(self, other: "Line") -> float:
        """The median over rounds of the ratio of its time to another's."""
        return statistics.median(a / b for a, b in zip(self.rounds, other.rounds, strict=True))


def images(folder: Path | None, count: int) -> tuple[Images, str]:
    """A fixed random subset of the pictures in ``folder/cifar10-jpeg/train``, or random ones, and their name."""
    generator = torch.Generator().manual_seed(0)
    place = None if folder is None else folder / "cifar10-jpeg" / "train"
    if place is None or not place.is_dir():
        noise = torch.randn(count, 3, 32, 32, generator=generator)
        return (noise, torch.randint(10, (count,), generator=generator)), "random pictures"
    from torchvision import datasets, transforms

    moments = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    prepare = transforms.Compose([transforms.ToTensor(), transforms.Normalize(*moments)])
    pictures = datasets.ImageFolder(str(place), prepare)
    subset = torch.randperm(len(pictures), generator=generator)[:count].tolist()
    pairs = [pictures[index] for index in subset]
    return (torch.stack([x for x, _ in pairs]), torch.tensor([y for _, y in pairs])), "CIFAR-10 images"


def network(data: Images) -> nn.Module:
    """ResNet-20 after one epoch of SGD on the data: loss-landscapes divides by the norms of biases, 0 before."""
    model = build_model("resnet20", classes=10, input_shape=(3, 32, 32), seed=0).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for inputs, targets in zip(data[0].split(128), data[1].split(128), strict=True):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    return model.eval()


def clocked(run: Callable[[], object], points: int) -> float:
    """Seconds a point."""
    start = time.process_time()
    run()
    return (time.process_time() - start) / points


def ours(
    objective: Objective, plane: Plane, steps: int, evaluate: Evaluate, recalibration: StatisticsAt | None
) -> None:
    """The points of a grid, as ``sample_surface`` computes them."""
    assert plane.y is not None
    for a in torch.linspace(-SPAN, SPAN, steps).tolist():
        for b in torch.linspace(-SPAN, SPAN, steps).tolist():
            point = torch.add(objective.point, plane.x, alpha=a).add_(plane.y, alpha=b)
            evaluate(point, statistics=None if recalibration is None else recalibration(point))


def loss_landscapes(model: nn.Module, data: Images, steps: int, metric: type[Loss] = Loss) -> object:
    """``steps × steps`` points around the network, left as it is."""
    loss = metric(nn.CrossEntropyLoss(), *data)
    random_plane(model, loss, distance=10, steps=steps, normalization="filter", deepcopy_model=True)
    return loss


def landscaper(
    model: nn.Module,
    data: Images,
    directions: list[list[Tensor]],
    steps: int,
    loss: Callable[[nn.Module, Images], float],
) -> None:
    """The same number of points along our directions."""
    from landscaper.compute import compute_loss_landscape

    settings = {"steps": steps, "distance": SPAN, "dim": 2, "device": "cpu"}
    # Landscaper prints its progress.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        compute_loss_landscape(copy.deepcopy(model), data, directions, loss, **settings)


def bare_convolutions(model: nn.Module, inputs: Tensor) -> Callable[[], None]:
    """A function that computes every convolution of one point and nothing else."""
    calls: list[Callable[[], Tensor]] = []

    def keep(module: nn.Module, arguments: tuple[Tensor, ...], _: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        calls.append(partial(module.forward, arguments[0].contiguous(memory_format=torch.channels_last)))

    watched = copy.deepcopy(model).to(memory_format=torch.channels_last)
    for module in watched.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(keep)
    with torch.inference_mode():
        for part in torch.split(inputs, 128):
            watched(part)

    def run() -> None:
        with torch.inference_mode():
            for call in calls:
                call()

    return run


def in_batches(size: int) -> Callable[[nn.Module, Images], float]:
    """The mean loss, in batches of so many examples."""
    mean = nn.CrossEntropyLoss()

    def loss(model: nn.Module, data: Images) -> float:
        parts = zip(data[0].split(size), data[1].split(size), strict=True)
        return sum(float(mean(model(x), y)) * len(y) for x, y in parts) / len(data[1])

    return loss


def timed(tools: dict[str, Callable[[], object]], points: dict[str, int], rounds: int) -> list[Line]:
    """Every tool in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in tools}
    for _ in range(rounds):
        for name, run in tools.items():
            seconds[name].append(clocked(run, points.get(name, 1)))
    return [Line(name, rounds_of_it) for name, rounds_of_it in seconds.items()]


def disagreements(
    model: nn.Module, data: Images, directions: list[list[Tensor]], evaluate: Evaluate, steps: int
) -> Iterator[tuple[str, float]]:
    """The largest relative difference of each peer's losses from ours at the weights where it computed them."""
    losses: list[tuple[Tensor, float]] = []

    def weights(network: nn.Module) -> Tensor:
        return torch.cat([p.detach().reshape(-1) for p in network.parameters()]).clone()

    class Watched(Loss):
        def __call__(self, wrapper: object) -> float:
            loss: float = super().__call__(wrapper)
            losses.append((weights(wrapper.modules[0]), loss))  # type: ignore[attr-defined]
            return loss

    def watched(network: nn.Module, batch: Images) -> float:
        loss = in_batches(128)(network, batch)
        losses.append((weights(network), loss))
        return loss

    for name in GOALS:
        losses.clear()
        if name == "Landscaper":
            landscaper(model, data, directions, steps, watched)
        else:
            loss_landscapes(model, data, steps, Watched)
        yield name, max(abs(evaluate(point)[0] - loss) / abs(loss) for point, loss in losses)


def main() -> None:
    """Prints the table, the ratios and the agreement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a folder with cifar10-jpeg/train/CLASS/*")
    parser.add_argument("--examples", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--quick", action="store_true", help="64 examples, 2 rounds: only to see that it runs"
    )
    flags = parser.parse_args()
    examples, rounds, steps = (64, 2, 2) if flags.quick else (flags.examples, flags.rounds, 3)
    torch.set_num_threads(1)
    data, what = images(flags.data, examples)
    model = network(data)
    parts = zip(data[0].split(128), data[1].split(128), strict=True)
    objective = Objective(model, nn.CrossEntropyLoss(), list(parts))
    plane = build_plane("random", objective)
    assert plane.y is not None
    directions = [list(objective.layout.named(vector).values()) for vector in (plane.x, plane.y)]
    start = time.perf_counter()
    compiled = compiled_pass([objective], objective.point + SPAN * (plane.x + plane.y))
    compiling = time.perf_counter() - start
    recalibrating = objective.recalibrating()
    ways = {
        f"{way.way}{kind}": way.functions(each)
        for kind, each in (("", objective), (RECALIBRATED, recalibrating))
        for way in (compiled, ForwardPass("channels-last"), ForwardPass("plain"))
    }
    tools: dict[str, Callable[[], object]] = {
        BARE: bare_convolutions(model, data[0]),
        **{
            f"ours, {way}": partial(ours, objective, plane, steps, *functions)
            for way, functions in ways.items()
        },
        "loss-landscapes": lambda: loss_landscapes(model, data, steps),
        "Landscaper, one batch": lambda: landscaper(model, data, directions, steps, in_batches(len(data[1]))),
        "Landscaper, batches of 128": lambda: landscaper(model, data, directions, steps, in_batches(128)),
    }
    peers = ", ".join(f"{name} {version(name)}" for name in ("loss-landscapes", "landscaper"))
    print(
        f"{platform.machine()}, 1 thread, load {os.getloadavg()[0]:.1f}; torch {torch.__version__}, {peers}"
    )
    print(f"ResNet-20, {examples} {what}; {rounds} rounds of {steps} × {steps} points")
    lines = timed(tools, {name: steps * steps for name in tools if name != BARE}, rounds)
    print(f"{'':34} {'ms a point':>11} {'(least–most)':>17} {'× compiled':>10} {'× eager':>8}  goal")
    for line in lines:
        spread = f"({1e3 * min(line.rounds):.0f}–{1e3 * max(line.rounds):.0f})"
        goal = next((f"≥ {value:g}" for name, value in GOALS.items() if line.name.startswith(name)), "")
        ratios = f"{line.times(lines[1]):10.2f} {line.times(lines[2]):8.2f}"
        print(f"{line.name:34} {1e3 * line.seconds:11.1f} {spread:>17} {ratios}  {goal}")
    print(f"once a surface, to compile and compare: {compiling:.0f} s")
    tool = {line.name: line for line in lines}
    for name in (name for name in tool if name.endswith(RECALIBRATED)):
        ratio = tool[name].times(tool[name.removesuffix(RECALIBRATED)])
        print(f"{name}, from {recalibrating.recalibrated_on} examples: {ratio:.2f} × without; goal ≤ 2")
    for name, difference in disagreements(model, data, directions, ways["compiled"][0], steps):
        print(
            f"largest relative difference of a loss of {name} from ours at the same weights: {difference:.1e}"
        )


if __name__ == "__main__":
    main()
