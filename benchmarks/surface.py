"""Seconds a point of a loss surface: ours beside the packages loss-landscapes and Landscaper.

    python benchmarks/surface.py [--data DIR] [--examples 512] [--rounds 5] [--quick]

The network is ResNet-20 with its batch norms in evaluation mode, the data are CIFAR-10 images: real ones where DIR has
a folder ``cifar10-jpeg/train`` of classes, otherwise random pictures of the same shape, which cost the same.

- Ours: ``sample_surface`` as it comes; the way of its forward passes is the one it chose here.
- loss-landscapes: ``random_plane`` with its own metric ``Loss``, which takes all examples in one batch.
- Landscaper: ``compute_loss_landscape`` on our two directions; the function that it is given evaluates all examples in
  one batch, or in batches of 128, which is quicker.

All three are called in turn, several times, on one thread; the clock is that of the process, which stands still while
other processes run. A line is the median over the rounds of a call's seconds divided by its points, so that what each
does once a call (ours: choosing its way) is printed beside, not in it. The ratio is the median over the rounds too, of
what a tool took to what ours took in the same round. Beside them, as a bound: the bare convolutions of a point, by the
same kernels in batches of 128, each on its own input.

Then each peer is called once more, and the loss it found at each point is compared with ours at the very same weights.
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
from importlib.metadata import version
from pathlib import Path

import torch
from landscape.surfaces.fusing import FusedConvolution
from landscaper.compute import compute_loss_landscape
from loss_landscapes import random_plane
from loss_landscapes.metrics import Loss
from torch import Tensor, nn

from landscape.models import build_model
from landscape.objective import Objective
from landscape.surfaces.forward_passes import evaluation, quickest
from landscape.surfaces.plane import Plane, build_plane
from landscape.surfaces.sampling import sample_surface

GOALS = {"loss-landscapes": 4.0, "Landscaper": 2.0}
"""How many times quicker a point has to be."""

BARE = "its bare convolutions"

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


def images(folder: Path | None, count: int) -> tuple[Images, str]:
    """A fixed random subset of the pictures in ``folder/cifar10-jpeg/train``, or random ones, and what they are."""
    generator = torch.Generator().manual_seed(0)
    place = None if folder is None else folder / "cifar10-jpeg" / "train"
    if place is None or not place.is_dir():
        drawn = torch.randn(count, 3, 32, 32, generator=generator)
        return (drawn, torch.randint(10, (count,), generator=generator)), "random pictures"
    from torchvision import datasets, transforms

    prepare = transforms.Compose(
        [
            transforms.ToTensor(),
            transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        ]
    )
    found = datasets.ImageFolder(str(place), prepare)
    chosen = torch.randperm(len(found), generator=generator)[:count].tolist()
    pairs = [found[index] for index in chosen]
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


def loss_landscapes(model: nn.Module, data: Images, steps: int, metric: type[Loss] = Loss) -> object:
    """``steps × steps`` points around the network, left as it is."""
    loss = metric(nn.CrossEntropyLoss(), *data)
    random_plane(model, loss, distance=10, steps=steps, normalization="filter", deepcopy_model=True)
    return loss


def landscaper(
    model: nn.Module,
    plane: Plane,
    objective: Objective,
    steps: int,
    loss: Callable[[nn.Module, Images], float],
) -> None:
    """The same number of points along our directions."""
    assert plane.y is not None
    directions = [list(objective.layout.named(vector).values()) for vector in (plane.x, plane.y)]
    with quiet():
        compute_loss_landscape(
            copy.deepcopy(model),
            data_of(objective),
            directions,
            loss,
            steps=steps,
            distance=0.1,
            dim=2,
            device="cpu",
        )


def bare_convolutions(model: nn.Module, inputs: Tensor) -> Callable[[], None]:
    """A function that computes every convolution of one point and nothing else."""
    seen: list[tuple[FusedConvolution, Tensor]] = []

    def keep(module: nn.Module, given: tuple[Tensor, ...], _: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        seen.append((FusedConvolution(module), given[0].contiguous(memory_format=torch.channels_last)))

    watched = copy.deepcopy(model)
    for module in watched.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(keep)
    with torch.inference_mode():
        for part in torch.split(inputs, 128):
            watched(part)
        for convolution, _ in seen:
            convolution.refresh()

    def run() -> None:
        with torch.inference_mode():
            for convolution, given in seen:
                convolution(given)

    return run


def data_of(objective: Objective) -> Images:
    """All examples in one batch."""
    batches = [batch for _, batch in objective._risk.batches]
    return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])


def in_batches(size: int) -> Callable[[nn.Module, Images], float]:
    """The mean loss, in batches of so many examples."""
    mean = nn.CrossEntropyLoss()

    def loss(model: nn.Module, data: Images) -> float:
        parts = zip(data[0].split(size), data[1].split(size), strict=True)
        return sum(float(mean(model(x), y)) * len(y) for x, y in parts) / len(data[1])

    return loss


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what Landscaper prints."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def timed(
    model: nn.Module, data: Images, objective: Objective, way: str, *, steps: int, rounds: int
) -> list[Line]:
    """The bare convolutions, then every tool in turn, ours first."""
    plane = build_plane("random", objective)
    count = steps * steps
    tools: dict[str, Callable[[], object]] = {
        BARE: bare_convolutions(model, data[0]),
        f"ours ({way})": lambda: sample_surface(objective, plane, points=steps, span=0.1, forward=way),  # type: ignore[arg-type]
        "loss-landscapes": lambda: loss_landscapes(model, data, steps),
        "Landscaper, one batch": lambda: landscaper(model, plane, objective, steps, in_batches(len(data[1]))),
        "Landscaper, batches of 128": lambda: landscaper(model, plane, objective, steps, in_batches(128)),
    }
    taken: dict[str, list[float]] = {name: [] for name in tools}
    for _ in range(rounds):
        for name, run in tools.items():
            taken[name].append(clocked(run, 1 if name == BARE else count))
    return [Line(name, found) for name, found in taken.items()]


def disagreement(
    model: nn.Module, data: Images, objective: Objective, way: str, *, steps: int
) -> dict[str, float]:
    """How far each peer's losses are from ours at the weights where it took them: largest relative difference."""
    met: list[tuple[Tensor, float]] = []

    def weights(network: nn.Module) -> Tensor:
        return torch.cat([p.detach().reshape(-1) for p in network.parameters()]).clone()

    class Watched(Loss):
        def __call__(self, wrapper: object) -> float:
            loss: float = super().__call__(wrapper)
            met.append((weights(wrapper.modules[0]), loss))  # type: ignore[attr-defined]
            return loss

    def watched(network: nn.Module, batch: Images) -> float:
        loss = in_batches(128)(network, batch)
        met.append((weights(network), loss))
        return loss

    evaluate = evaluation(objective, way)  # type: ignore[arg-type]
    assert evaluate is not None
    found = {}
    for name in GOALS:
        met.clear()
        if name == "Landscaper":
            landscaper(model, build_plane("random", objective), objective, steps, watched)
        else:
            loss_landscapes(model, data, steps, Watched)
        found[name] = max(abs(evaluate(point)[0] - loss) / abs(loss) for point, loss in met)
    return found


def main() -> None:
    """Prints the table, the ratios and the agreement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a folder with cifar10-jpeg/train/CLASS/*")
    parser.add_argument("--examples", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--quick", action="store_true", help="64 examples, 2 rounds: only to see that it runs"
    )
    asked = parser.parse_args()
    examples, rounds, steps = (64, 2, 2) if asked.quick else (asked.examples, asked.rounds, 3)
    torch.set_num_threads(1)
    data, what = images(asked.data, examples)
    model = network(data)
    parts = zip(data[0].split(128), data[1].split(128), strict=True)
    objective = Objective(model, nn.CrossEntropyLoss(), list(parts))
    start = time.process_time()
    way = quickest(objective, objective.point)
    choosing = time.process_time() - start
    peers = ", ".join(f"{name} {version(name)}" for name in ("loss-landscapes", "landscaper"))
    print(
        f"{platform.machine()}, 1 thread, load {os.getloadavg()[0]:.1f}; torch {torch.__version__}, {peers}"
    )
    print(f"ResNet-20, {examples} {what}; {rounds} rounds of {steps} × {steps} points")
    lines = timed(model, data, objective, way, steps=steps, rounds=rounds)
    ours = lines[1]
    print(f"{'':28} {'ms a point':>11} {'(least–most)':>17} {'× ours':>7}  goal")
    for line in lines:
        spread = f"({1e3 * min(line.rounds):.0f}–{1e3 * max(line.rounds):.0f})"
        ratio = statistics.median(a / b for a, b in zip(line.rounds, ours.rounds, strict=True))
        goal = next((f"≥ {value:g}" for name, value in GOALS.items() if line.name.startswith(name)), "")
        print(f"{line.name:28} {1e3 * line.seconds:11.1f} {spread:>17} {ratio:7.2f}  {goal}")
    print(f"once a surface, ours chooses its way: {choosing:.2f} s")
    for name, far in disagreement(model, data, objective, way, steps=steps).items():
        print(f"largest relative difference of a loss of {name} from ours at the same weights: {far:.1e}")


if __name__ == "__main__":
    main()
