"""Objectives with a known loss: quadratics, and small networks on fixed data."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from landscape.objective import BatchLoss, Objective
from landscape.surfaces.directions import Waypoint
from landscape.surfaces.plane import plane_row


class Quadratic(nn.Module):
    """½ vᵀ A v + bᵀ v over all parameters v, laid out like a small network's."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.hidden = nn.Linear(4, 5, dtype=dtype)
        self.output = nn.Linear(5, 2, dtype=dtype)
        size = sum(p.numel() for p in self.parameters())
        with torch.no_grad():
            for parameter in self.parameters():
                drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.copy_(drawn)
        root = torch.randn(size, size, generator=generator, dtype=torch.float64)
        self.register_buffer("A", (root @ root.T / size + torch.eye(size)).to(dtype))
        self.register_buffer("b", torch.randn(size, generator=generator, dtype=torch.float64).to(dtype))

    def forward(self) -> torch.Tensor:
        v = torch.cat([p.reshape(-1) for p in self.parameters()])
        return 0.5 * v @ self.A @ v + self.b @ v


@pytest.fixture
def quadratic_model() -> Callable[[torch.dtype], nn.Module]:
    """A function ``dtype → model``, the same model each time."""
    return Quadratic


@pytest.fixture
def quadratic() -> Callable[..., Objective]:
    """A function ``dtype → Objective`` of that model, a quadratic in 37 parameters."""

    def make(dtype: torch.dtype = torch.float64) -> Objective:
        return Objective(Quadratic(dtype), BatchLoss(lambda model, batch: model()), [torch.zeros(1)])

    return make


@pytest.fixture
def network() -> SimpleNamespace:
    """A convolution network with batch norm, and 30 images in ragged batches."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(16, 3),
        )
    model.train()
    images = torch.randn(30, 1, 6, 6, generator=generator)
    labels = torch.randint(3, (30,), generator=generator)
    batches = [(images[i : i + 8], labels[i : i + 8]) for i in range(0, 30, 8)]
    objective = Objective(model, nn.CrossEntropyLoss(), batches).described(data="noise", split="train")
    return SimpleNamespace(model=model, batches=batches, objective=objective)


@pytest.fixture
def companions() -> Callable[..., list[Waypoint]]:
    """A function ``(objective, plane) → the checkpoints it goes through``, none for a plane at one point."""

    def make(objective: Objective, plane: str) -> list[Waypoint]:
        end = plane_row(plane).origin
        if end is None:
            return []
        generator = torch.Generator().manual_seed(11)
        count = {"trajectory": 4}.get(plane.partition(":")[0], 2)
        others = [
            objective.point
            + 0.3 * (k + 1) * torch.randn(objective.dimension, generator=generator).to(objective.point)
            for k in range(count - 1)
        ]
        points = [objective.point, *others] if end == "first" else [*others, objective.point]
        return [Waypoint(f"c{k}", point) for k, point in enumerate(points)]

    return make
