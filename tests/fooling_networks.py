"""Networks built to fool the proof that Tr H = Tr G, or the sum of squares: a table in which a new one is one row.

A row is a function ``between(self, x)`` of :class:`proof_cases.Net` under ``@row(FOOLING)`` or ``@row(ODD)``, or an
entry with whatever builds a network from 6 features to 3 classes.
"""

from collections.abc import Callable

import torch
from proof_cases import Net, case, norms, parametrized
from torch import Tensor, nn
from torch.nn import functional

Between = Callable[[Net, Tensor], Tensor]
Table = dict[str, Callable[[], nn.Module]]

FOOLING: Table = {}
"""Tr H is not Tr G."""

ODD: Table = {}
"""Tr H is Tr G, which then must be right layer by layer, however the weights are read."""

NO_HESSIAN: set[str] = set()
"""The gradient is not that of the loss, so that there is no Hessian."""


def row(table: Table, *, no_hessian: bool = False) -> Callable[[Between], Between]:
    """Adds the network of a function to a table, under the function's name."""

    def add(between: Between) -> Between:
        name = between.__name__.replace("_", " ")
        table[name] = lambda: case(between)
        if no_hessian:
            NO_HESSIAN.add(name)
        return between

    return add


class Aliased(Net):
    """Its first weight is also held in a plain list, where no replacement of parameters reaches it."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = [self.a.weight]

    def between(self, x: Tensor) -> Tensor:
        return functional.linear(torch.relu(self.a(x)), self.kept[0])


class Buffered(Net):
    """A buffer that each forward pass computes anew from a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(6))

    def between(self, x: Tensor) -> Tensor:
        self.scale = self.a.weight.sum(0)
        return self.a(x) * self.scale


class OwnLogLoss(Net):
    """Ends with a softmax, on which cross-entropy then works."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(super().forward(x), dim=1)


class Cube(nn.Module):
    def forward(self, w: Tensor) -> Tensor:
        return w**3


class Doubled(nn.Module):
    def forward(self, w: Tensor) -> Tensor:
        return 2 * w


def spectral() -> nn.Module:
    model = Net()
    nn.utils.parametrizations.spectral_norm(model.a)
    return model


def attention() -> nn.Module:
    layer = nn.TransformerEncoderLayer(6, 2, 2, dropout=0.0, batch_first=True)
    return nn.Sequential(nn.Unflatten(1, (1, 6)), layer, nn.Flatten(), nn.Linear(6, 3))


@row(FOOLING, no_hessian=True)
def tensor_hook(self: Net, x: Tensor) -> Tensor:
    y = self.a(x)
    if y.requires_grad:
        y.register_hook(lambda g: g * y)
    return y


@row(ODD)
def weight_by_function(self: Net, x: Tensor) -> Tensor:
    return torch.relu(functional.linear(x, self.a.weight, self.a.bias))


@row(ODD)
def discarded_call(self: Net, x: Tensor) -> Tensor:
    self.a(x)
    return torch.relu(functional.linear(-x, self.a.weight, self.a.bias)) + self.b(x)


@row(ODD)
def transposed_use(self: Net, x: Tensor) -> Tensor:
    return torch.relu(x @ self.a.weight + self.a.bias)


@row(ODD)
def stacked_weight(self: Net, x: Tensor) -> Tensor:
    return torch.cat([x, -x], dim=1) @ torch.cat([self.a.weight, self.a.weight])


@row(FOOLING)
def einsum_twice(self: Net, x: Tensor) -> Tensor:
    return torch.einsum("bi,ij,jk->bk", x, self.a.weight, self.a.weight)


@row(ODD)
def einsum_of_two(self: Net, x: Tensor) -> Tensor:
    return torch.einsum("bi,ij,jk->bk", x, self.a.weight, self.b.weight)


@row(FOOLING)
def where_on_parameters(self: Net, x: Tensor) -> Tensor:
    return x @ torch.where(self.a.weight > 0, self.a.weight, self.a.weight**2)


@row(ODD)
def kinked_weight(self: Net, x: Tensor) -> Tensor:
    return x @ torch.where(self.a.weight > 0, self.a.weight, 0.1 * self.a.weight).clamp(max=0.3)


@row(FOOLING)
def maximum_then_product(self: Net, x: Tensor) -> Tensor:
    return torch.maximum(self.a(x), self.b(x)) * torch.minimum(self.a(x), self.b(-x))


@row(FOOLING)
def modulus(self: Net, x: Tensor) -> Tensor:
    return (self.a(x) * 1j + self.b(x)).abs()


@row(FOOLING)
def complex_product(self: Net, x: Tensor) -> Tensor:
    return torch.view_as_real(torch.complex(self.a(x), x) ** 2)[..., 0]


@row(FOOLING)
def asks_for_gradients(self: Net, x: Tensor) -> Tensor:
    y = self.a(x)
    return y * y if self.a.weight.requires_grad else y


@row(FOOLING)
def asks_the_activation(self: Net, x: Tensor) -> Tensor:
    y = self.a(x)
    return y * y if y.requires_grad else y


@row(FOOLING)
def asks_for_a_graph(self: Net, x: Tensor) -> Tensor:
    y = self.a(x)
    return y if y.grad_fn is None else y * y


@row(FOOLING)
def in_place_square(self: Net, x: Tensor) -> Tensor:
    y = self.a(x)
    y.mul_(y.clone())
    return y


@row(FOOLING)
def in_place_slice(self: Net, x: Tensor) -> Tensor:
    y = self.a(x).clone()
    y[:, :3] = y[:, :3].clone() * y[:, :3].clone()
    return y


@row(FOOLING)
def addcmul(self: Net, x: Tensor) -> Tensor:
    y = self.a(x)
    return torch.addcmul(x, y, y)


@row(ODD, no_hessian=True)
def straight_through(self: Net, x: Tensor) -> Tensor:
    y = self.a(x)
    return y + (y.square() - y).detach()


@row(ODD)
def rounded(self: Net, x: Tensor) -> Tensor:
    return self.a(x) * torch.round(self.a(x))


@row(FOOLING)
def distances(self: Net, x: Tensor) -> Tensor:
    return torch.cdist(x, self.a.weight)


@row(FOOLING)
def data_loop(self: Net, x: Tensor) -> Tensor:
    y = self.a(x)
    for _ in range(1 + int(y.detach().sum() > -1e9)):
        y = torch.relu(self.a(y))
    return y


class Last(nn.Module):
    """The last state of a ReLU recurrence."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.RNN(2, 4, nonlinearity="relu", batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.cell(x)
        return states[:, -1]


FOOLING |= {
    "alias in a list": Aliased,
    "buffer from a weight": Buffered,
    "softmax at the end": OwnLogLoss,
    "spectral norm": spectral,
    "cubed by a parametrization": lambda: parametrized(Cube()),
    "attention": attention,
    "group norm": lambda: norms(nn.GroupNorm(2, 8)),
    "instance norm": lambda: norms(nn.Unflatten(1, (2, 4)), nn.InstanceNorm1d(2, affine=True), nn.Flatten()),
    "batch norm without statistics": lambda: norms(nn.BatchNorm1d(8, track_running_stats=False)),
    "recurrent": lambda: nn.Sequential(nn.Unflatten(1, (3, 2)), Last(), nn.Linear(4, 3)),
}
ODD |= {"doubled by a parametrization": lambda: parametrized(Doubled())}
