"""More networks built to fool the proof or the sum of squares, each against the diagonal of its Hessian in float64."""

from collections.abc import Callable

import pytest
import torch
from proof_cases import Net, case, norms, objective_of, parametrized
from torch import Tensor, nn
from torch.nn import functional

from landscape.curvature.gauss_newton_trace import gauss_newton_traces, plan
from landscape.errors import InputError
from landscape.measures import hessian_trace

Between = Callable[[Net, Tensor], Tensor]


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


def tensor_hook(self: Net, x: Tensor) -> Tensor:
    y = self.a(x)
    if y.requires_grad:
        y.register_hook(lambda g: g * y)
    return y


def weight_by_function(self: Net, x: Tensor) -> Tensor:
    return torch.relu(functional.linear(x, self.a.weight, self.a.bias))


def discarded_call(self: Net, x: Tensor) -> Tensor:
    self.a(x)
    return torch.relu(functional.linear(-x, self.a.weight, self.a.bias)) + self.b(x)


def transposed_use(self: Net, x: Tensor) -> Tensor:
    return torch.relu(x @ self.a.weight + self.a.bias)


def stacked_weight(self: Net, x: Tensor) -> Tensor:
    return torch.cat([x, -x], dim=1) @ torch.cat([self.a.weight, self.a.weight])


def einsum_twice(self: Net, x: Tensor) -> Tensor:
    return torch.einsum("bi,ij,jk->bk", x, self.a.weight, self.a.weight)


def einsum_of_two(self: Net, x: Tensor) -> Tensor:
    return torch.einsum("bi,ij,jk->bk", x, self.a.weight, self.b.weight)


def where_on_parameters(self: Net, x: Tensor) -> Tensor:
    return x @ torch.where(self.a.weight > 0, self.a.weight, self.a.weight**2)


def kinked_weight(self: Net, x: Tensor) -> Tensor:
    return x @ torch.where(self.a.weight > 0, self.a.weight, 0.1 * self.a.weight).clamp(max=0.3)


def maximum_then_product(self: Net, x: Tensor) -> Tensor:
    return torch.maximum(self.a(x), self.b(x)) * torch.minimum(self.a(x), self.b(-x))


def modulus(self: Net, x: Tensor) -> Tensor:
    return (self.a(x) * 1j + self.b(x)).abs()


def complex_product(self: Net, x: Tensor) -> Tensor:
    return torch.view_as_real(torch.complex(self.a(x), x) ** 2)[..., 0]


def asks_for_gradients(self: Net, x: Tensor) -> Tensor:
    y = self.a(x)
    return y * y if self.a.weight.requires_grad else y


def asks_the_activation(self: Net, x: Tensor) -> Tensor:
    y = self.a(x)
    return y * y if y.requires_grad else y


def asks_for_a_graph(self: Net, x: Tensor) -> Tensor:
    y = self.a(x)
    return y if y.grad_fn is None else y * y


def in_place_square(self: Net, x: Tensor) -> Tensor:
    y = self.a(x)
    y.mul_(y.clone())
    return y


def in_place_slice(self: Net, x: Tensor) -> Tensor:
    y = self.a(x).clone()
    y[:, :3] = y[:, :3].clone() * y[:, :3].clone()
    return y


def addcmul(self: Net, x: Tensor) -> Tensor:
    y = self.a(x)
    return torch.addcmul(x, y, y)


def straight_through(self: Net, x: Tensor) -> Tensor:
    y = self.a(x)
    return y + (y.square() - y).detach()


def rounded(self: Net, x: Tensor) -> Tensor:
    return self.a(x) * torch.round(self.a(x))


def distances(self: Net, x: Tensor) -> Tensor:
    return torch.cdist(x, self.a.weight)


def data_loop(self: Net, x: Tensor) -> Tensor:
    y = self.a(x)
    for _ in range(1 + int(y.detach().sum() > -1e9)):
        y = torch.relu(self.a(y))
    return y


FOOLING: dict[str, Callable[[], nn.Module]] = {
    "alias in a list": Aliased,
    "buffer from a weight": Buffered,
    "softmax at the end": OwnLogLoss,
    "spectral norm": spectral,
    "cubed by a parametrization": lambda: parametrized(Cube()),
    "attention": attention,
    "group norm": lambda: norms(nn.GroupNorm(2, 8)),
    "instance norm": lambda: norms(nn.Unflatten(1, (2, 4)), nn.InstanceNorm1d(2, affine=True), nn.Flatten()),
    "batch norm without statistics": lambda: norms(nn.BatchNorm1d(8, track_running_stats=False)),
    "recurrent": lambda: nn.Sequential(nn.Unflatten(1, (2, 3)), Last(), nn.Linear(4, 3)),
} | {
    function.__name__.replace("_", " "): (lambda function=function: case(function))
    for function in (
        tensor_hook, einsum_twice, where_on_parameters, maximum_then_product, modulus, complex_product,
        asks_for_gradients, asks_the_activation, asks_for_a_graph, in_place_square, in_place_slice, addcmul,
        distances, data_loop,
    )
}  # fmt: skip
"""Tr H is not Tr G."""

ODD: dict[str, Callable[[], nn.Module]] = {
    "doubled by a parametrization": lambda: parametrized(Doubled()),
} | {
    function.__name__.replace("_", " "): (lambda function=function: case(function))
    for function in (
        weight_by_function, discarded_call, transposed_use, stacked_weight, einsum_of_two, kinked_weight,
        straight_through, rounded,
    )
}  # fmt: skip
"""Tr H is Tr G, which then must be right layer by layer, however the weights are read."""


NOT_A_GRADIENT = ("tensor hook", "straight through")
"""The gradient is not that of the loss, so that there is no Hessian."""


class Last(nn.Module):
    """The last state of a ReLU recurrence."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.RNN(3, 4, nonlinearity="relu", batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.cell(x)
        return states[:, -1]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [*FOOLING, *ODD])
def test_no_network_is_proved_with_a_wrong_trace(name: str) -> None:
    objective, diagonal = objective_of((FOOLING | ODD)[name])
    chosen = plan(objective)
    if chosen.obstacle:
        return
    identity = torch.eye(objective.dimension, dtype=torch.float64)
    inner = objective.gauss_newton_product(identity).diag()
    found = gauss_newton_traces(objective, chosen)
    truth = torch.stack([part.sum() for part in objective.layout.split(inner)])
    assert torch.allclose(found, truth, rtol=1e-10, atol=1e-12), "Tr G is wrong"
    if name in FOOLING:
        gap = float((inner.sum() - diagonal.sum()).abs())
        assert gap > 1e-6 * float(diagonal.abs().sum()), "the case shows nothing: Tr H is Tr G"
        assert not chosen.affine.proved, "proved, and wrong"
    elif chosen.affine.proved:
        parts = torch.stack([part.sum() for part in objective.layout.split(diagonal)])
        assert torch.allclose(found, parts, rtol=1e-10, atol=1e-12)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [*FOOLING, *ODD])
def test_the_trace_is_right_whatever_way_it_takes(name: str) -> None:
    objective, diagonal = objective_of((FOOLING | ODD)[name])
    if name in NOT_A_GRADIENT:
        with pytest.raises(InputError, match="the second derivative of Case is wrong"):
            hessian_trace(objective, tolerance=0.1, max_probes=300)
        return
    found = hessian_trace(objective, tolerance=0.1, max_probes=300)
    doubt = 5 * (found.standard_error or 0.0) + 1e-10 * float(diagonal.abs().sum())
    assert abs(found.value - float(diagonal.sum())) <= doubt, found.details
