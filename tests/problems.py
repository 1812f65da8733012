"""Problems with known answers: quadratics with a chosen spectrum, regressions with a closed form, small nets."""

import torch
from torch import Tensor, nn

from landscape.objective import BatchLoss, Objective


class Point(nn.Module):
    """A network that is its parameter vector."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(start.clone())


MEAN, SCALE = 1.5, 0.5


class Standardised(nn.Module):
    """Centres and scales its input, in place or on a copy."""

    def __init__(self, *, writes: bool) -> None:
        super().__init__()
        self.writes = writes

    def forward(self, x: Tensor) -> Tensor:
        return x.sub_(MEAN).div_(SCALE) if self.writes else (x - MEAN) / SCALE


def orthogonal(n: int, seed: int = 0) -> Tensor:
    q, _ = torch.linalg.qr(
        torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    )
    return q


def quadratic(
    spectrum: list[float], start: Tensor | None = None, *, seed: int = 0
) -> tuple[Objective, Tensor]:
    """``L(w) = ½ wᵀHw`` with the given eigenvalues; returns the objective and H."""
    n = len(spectrum)
    q = orthogonal(n, seed)
    matrix = q @ torch.diag(torch.tensor(spectrum, dtype=torch.float64)) @ q.T
    matrix = (matrix + matrix.T) / 2
    w = torch.ones(n, dtype=torch.float64) if start is None else start.double()
    loss = BatchLoss(lambda model, batch: 0.5 * model.w @ matrix @ model.w + 0 * batch.sum())
    return Objective(Point(w), loss, [torch.zeros(1, dtype=torch.float64)]), matrix


def classification(
    examples: int = 100,
    features: int = 8,
    classes: int = 4,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(examples, features, generator=generator, dtype=torch.float64)
    y = torch.randint(0, classes, (examples,), generator=generator)
    return x.to(dtype), y


def network(*layers: nn.Module, seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """The layers in a row, initialised from a seed, in evaluation mode."""
    model = nn.Sequential(*layers)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        values = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data = (values / max(1, parameter[0].numel() if parameter.ndim > 1 else 4) ** 0.5).to(dtype)
    return model.to(dtype).eval()


def small_net(activation: type[nn.Module] = nn.Tanh, *, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """8 → 24 → 12 → 4, 568 parameters."""
    return network(
        nn.Linear(8, 24), activation(), nn.Linear(24, 12), activation(), nn.Linear(12, 4), dtype=dtype
    )


def batches(x: Tensor, y: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    return list(zip(x.split(size), y.split(size), strict=True))


def small_objective(
    activation: type[nn.Module] = nn.Tanh, *, dtype: torch.dtype = torch.float64, batch: int = 60
) -> Objective:
    """The small net on 100 examples in ragged batches."""
    x, y = classification(dtype=dtype)
    return Objective(small_net(activation, dtype=dtype), nn.CrossEntropyLoss(), batches(x, y, batch))


def tiny_case(activation: type[nn.Module] = nn.Tanh, *, hidden: bool = False) -> tuple[Objective, Tensor]:
    """8 → 5 → 4 on 40 examples in two batches, 69 parameters, and the dense Hessian; outputs may be hidden."""
    x, y = classification(40)
    model = network(nn.Linear(8, 5), activation(), nn.Linear(5, 4))
    plain = nn.CrossEntropyLoss()
    loss = BatchLoss(lambda network, batch: plain(network(batch[0]), batch[1])) if hidden else plain
    objective = Objective(model, loss, batches(x, y, 25))
    return objective, dense(objective, model, x, y, plain)[1]


def dense(
    objective: Objective, model: nn.Module, x: Tensor, y: Tensor, loss: object
) -> tuple[Tensor, Tensor]:
    """Gradient and Hessian in float64 by ``torch.func`` on the user's own model, for the free parameters."""
    names = objective.layout.names
    fixed = {k: v.detach().double() for k, v in [*model.named_parameters(), *model.named_buffers()]}
    model = model.double()

    def value(theta: Tensor) -> Tensor:
        parts = dict(zip(names, objective.layout.split(theta), strict=True))
        return loss(torch.func.functional_call(model, {**fixed, **parts}, (x.double(),)), y)  # type: ignore[operator]

    theta = objective.point.double()
    return torch.func.grad(value)(theta), torch.func.hessian(value)(theta)
