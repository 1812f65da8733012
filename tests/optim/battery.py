"""What the tests of every optimizer share: small networks, closures, and a step that is watched."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from landscape.optim import OPTIMIZERS, SharpnessAware

VARIANTS = [name for name in OPTIMIZERS if not OPTIMIZERS[name].is_base]
Closure = Callable[[], Tensor]


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
    built = OPTIMIZERS.build(spec, base or sgd(model), model=model, total_steps=20)
    assert isinstance(built, SharpnessAware)
    return built


def closure(optimizer: torch.optim.Optimizer, model: nn.Module, seed: int = 1, scale: float = 1.0) -> Closure:
    x, y = (t.to(next(model.parameters()).device) for t in batch(seed))

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        loss = scale * nn.functional.cross_entropy(model(x), y)
        loss.backward()
        return loss

    return evaluate


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1).clone() for p in model.parameters()])


def direction(model: nn.Module) -> Tensor:
    """What the last step handed to the base optimizer."""
    return torch.cat(
        [torch.zeros(p.numel()) if p.grad is None else p.grad.reshape(-1) for p in model.parameters()]
    )


@dataclass
class Watch:
    """The points at which a closure is called, and what is called before each pass."""

    evaluate: Closure
    model: nn.Module
    before: Callable[[int], None] = lambda number: None
    points: list[Tensor] = field(default_factory=list)

    def __call__(self) -> Tensor:
        self.points.append(weights(self.model))
        loss = self.evaluate()
        self.before(len(self.points))
        return loss

    @property
    def displacements(self) -> list[Tensor]:
        return [point - self.points[0] for point in self.points[1:]]
