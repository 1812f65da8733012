"""What the tests of every optimizer share: small networks, closures, and a step that is watched."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn

from landscape.optim import OPTIMIZERS, BatchClosure, SharpnessAware

VARIANTS = [name for name in OPTIMIZERS if not OPTIMIZERS[name].is_base]
Closure = Callable[[], Tensor]
Optimizer = TypeVar("Optimizer", bound=SharpnessAware)
# Options with which a row can act on networks that have no normalisation layers.
ON_PLAIN_NETWORKS = {"sam-on": "layers=others"}
CONTEXT = {"total_steps": 20, "steps_per_epoch": 1, "num_examples": 16, "class_counts": (5, 4, 7)}


def mlp(*extra: nn.Module, seed: int = 0) -> nn.Sequential:
    """A network of 4 inputs and 3 outputs in float64, with more layers in the middle if asked."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), *extra, nn.Tanh(), nn.Linear(5, 3)).double()


def batch(seed: int = 1, size: int = 16) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(size, 4, generator=generator, dtype=torch.float64)
    return x, torch.randint(0, 3, (size,), generator=generator)


def sgd(model: nn.Module, lr: float = 0.1) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)


def build(spec: str, model: nn.Module, base: torch.optim.Optimizer | None = None) -> SharpnessAware:
    name, _, options = spec.partition(":")
    given = ",".join(filter(None, (options, ON_PLAIN_NETWORKS.get(name))))
    built = OPTIMIZERS.build(f"{name}:{given}" if given else name, base or sgd(model), model=model, **CONTEXT)
    assert isinstance(built, SharpnessAware)
    return built


def closure(optimizer: torch.optim.Optimizer, model: nn.Module, seed: int = 1, scale: float = 1.0) -> Closure:
    """A plain function where it is enough, and a batch of 16 examples where the optimizer looks at them."""
    x, y = (t.to(next(model.parameters()).device) for t in batch(seed))
    if getattr(optimizer, "needs_batch", False):
        loss = lambda outputs, targets: (
            scale * nn.functional.cross_entropy(outputs, targets, reduction="none")
        )
        return BatchClosure(model, loss, inputs=x, targets=y, indices=torch.arange(16))

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        loss = scale * nn.functional.cross_entropy(model(x), y)
        loss.backward()
        return loss

    return evaluate


def in_step(number: int, optimizer: Optimizer) -> Optimizer:
    """The optimizer, as if in its step of that number, from 0."""
    optimizer.steps = number
    return optimizer


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1).clone() for p in model.parameters()])


def direction(model: nn.Module) -> Tensor:
    """What the last step handed to the base optimizer."""
    return torch.cat(
        [torch.zeros(p.numel()) if p.grad is None else p.grad.reshape(-1) for p in model.parameters()]
    )


def Watch(evaluate: Closure, model: nn.Module, before: Callable[[int], None] = lambda number: None):
    """The closure, with the points at which it is called; ``before`` is called after each pass with its number."""
    kind = WatchedBatch if isinstance(evaluate, BatchClosure) else WatchedFunction
    return kind(evaluate, model, before)


@dataclass
class WatchedFunction:
    evaluate: Closure
    model: nn.Module
    before: Callable[[int], None]
    points: list[Tensor] = field(default_factory=list)

    def __call__(self) -> Tensor:
        self.points.append(weights(self.model))
        loss = self.evaluate()
        self.before(len(self.points))
        return loss

    @property
    def displacements(self) -> list[Tensor]:
        return [point - self.points[0] for point in self.points[1:]]


class WatchedBatch(BatchClosure):
    def __init__(self, evaluate: BatchClosure, model: nn.Module, before: Callable[[int], None]) -> None:
        def backward(loss: Tensor) -> None:
            self.points.append(weights(model))
            evaluate.backward(loss)
            before(len(self.points))

        data = {"inputs": evaluate.inputs, "targets": evaluate.targets, "indices": evaluate.indices}
        super().__init__(evaluate.model, evaluate._loss, **data, backward=backward)
        self.points: list[Tensor] = []

    displacements = WatchedFunction.displacements


every_variant = pytest.mark.parametrize("name", VARIANTS)
# A direction that is no gradient, whose steps are neither those of the base nor in proportion to the loss.
OWN_DIRECTION = {"ada-sam", "bsam", "entropy-sgd"}
of_gradients = pytest.mark.parametrize("name", [n for n in VARIANTS if n not in OWN_DIRECTION])
# Weights that are sampled, or a gradient of chosen examples or ahead, also where the radius is zero.
NO_BASE = {"ada-sam", "bsam", "esam", "sampa", "weighted-gap", "lookbehind-sam", "tilted-sam"}
# How long the direction is where the gradient is the same everywhere, if it is not the gradient itself.
MULTIPLES = {"weighted-gap": 0.9, "lookbehind-sam": 0.5 * 5}
# A displacement that weighs gradients against something of another unit.
IN_UNITS_OF_THE_LOSS = {"fisher-sam", "r-sam", "unified-sam", "le-sam", "tilted-sam"}
with_radius = pytest.mark.parametrize("name", [n for n in VARIANTS if "rho" in OPTIMIZERS[n].options])
with_radius_only = pytest.mark.parametrize(
    "name", [n for n in VARIANTS if "rho" in OPTIMIZERS[n].options and n not in NO_BASE]
)
of_fixed_cost = pytest.mark.parametrize(
    ("name", "passes"), [(n, OPTIMIZERS[n].cost) for n in VARIANTS if isinstance(OPTIMIZERS[n].cost, int)]
)
