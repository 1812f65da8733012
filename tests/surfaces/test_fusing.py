"""Networks built to fool the search for convolutions that can take in the sum and the ReLU behind them."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from landscape.models.cifar_resnet import CifarResNet
from landscape.objective import Objective
from landscape.surfaces import forward_passes, fusing
from landscape.surfaces.forward_passes import evaluation
from landscape.surfaces.fusing import FusedConvolution

needs_onednn = pytest.mark.skipif(not fusing.available(), reason="this torch has no fused convolutions")

Forward = Callable[["Net", Tensor], Tensor]


class Net(nn.Module):
    """A few convolutions of four channels, put together by a function."""

    def __init__(self, forward: Forward) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.a, self.b = (nn.Conv2d(4, 4, 3, padding=1, bias=bias) for bias in (True, False))
        self.c = nn.Conv2d(4, 4, 1)
        self.norm, self.last = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.groups = nn.Conv2d(4, 8, 3, groups=4, padding=1)
        self.dilated = nn.Conv2d(4, 4, 3, dilation=2, padding=2)
        self.strided = nn.Conv2d(4, 4, (3, 1), stride=(2, 1), padding=(1, 0))
        self.same = nn.Conv2d(4, 4, 3, padding="same")
        self.reflected = nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")
        self.relu, self.inplace = nn.ReLU(), nn.ReLU(inplace=True)
        self.pool, self.nothing = nn.MaxPool2d(2), nn.Identity()
        self.built = forward

    def forward(self, x: Tensor) -> Tensor:
        """Class scores."""
        return self.built(self, self.stem(x)).mean((2, 3))


def _viewed(net: Net, x: Tensor) -> Tensor:
    rows = x.view(x.shape)
    y = net.c(x).relu()
    return (net.a(y) + rows).relu() * x


def _overwritten_input(net: Net, x: Tensor) -> Tensor:
    y = net.a(x)
    x.mul_(2.0)
    return functional.relu(y + x)


def _relu_in_place_read_again(net: Net, x: Tensor) -> Tensor:
    y = net.a(x)
    z = net.inplace(y)
    return net.b(z) + y


def _two_names(net: Net, x: Tensor) -> Tensor:
    y = net.a(x)
    z = net.inplace(y)
    return (net.b(net.c(z)) + z) * y


def _added_to_other(net: Net, x: Tensor) -> Tensor:
    z = net.c(x)
    y = net.a(x)
    z += y
    return z


def _added_to_what_is_read_again(net: Net, x: Tensor) -> Tensor:
    z = before = net.c(x)
    z += net.a(x)
    return net.b(z) * before


def _added_to_convolution(net: Net, x: Tensor) -> Tensor:
    y = net.a(x)
    y += x
    return net.inplace(y) - net.b(x)


FORWARDS: dict[str, Forward] = {
    "relu module": lambda net, x: net.b(net.relu(net.a(x))),
    "relu in place": lambda net, x: net.b(net.inplace(net.a(x))),
    "relu as function": lambda net, x: net.b(functional.relu(net.a(x), inplace=True)),
    "relu as method": lambda net, x: net.b(net.a(x).relu_()),
    "relu module used twice": lambda net, x: net.b(net.relu(net.a(net.relu(x)))),
    "relu of a result used twice": lambda net, x: net.relu(net.a(x)) * net.b(x) + net.b(net.relu(x)),
    "relu in place, read again": _relu_in_place_read_again,
    "relu in place, with both its names": _two_names,
    "result used twice": lambda net, x: (lambda y: net.relu(y) + y)(net.a(x)),
    "shared convolution": lambda net, x: net.a(net.relu(net.a(x)) + x),
    "shared batch norm": lambda net, x: net.norm(net.b(net.relu(net.norm(net.a(x))))),
    "batch norm": lambda net, x: net.last(net.b(net.relu(net.norm(net.a(x))))),
    "batch norm first": lambda net, x: net.a(net.relu(net.norm(x))) + x,
    "residual": lambda net, x: net.relu(net.b(net.relu(net.a(x))) + x),
    "residual of itself": lambda net, x: net.a(x) + x,
    "residual, other way round": lambda net, x: net.relu(x + net.nothing(net.a(x))),
    "residual with identity": lambda net, x: net.relu(net.a(x) + net.nothing(x)),
    "projection": lambda net, x: net.relu(net.norm(net.b(net.relu(net.a(x)))) + net.last(net.c(x))),
    "sum of two residuals": lambda net, x: (lambda y: net.relu(net.a(y) + y) + net.relu(net.b(y) + x))(net.c(x)),
    "other operand is a view": _viewed,
    "other operand is written to": _overwritten_input,
    "other operand is read later": lambda net, x: net.relu(net.a(net.c(x)) + x) * x,
    "sum in place of the convolution": _added_to_convolution,
    "sum in place of the other": _added_to_other,
    "sum in place of what is read again": _added_to_what_is_read_again,
    "sum with itself": lambda net, x: (lambda y: net.relu(y + y))(net.a(x)),
    "sum with a number": lambda net, x: net.relu(net.a(x) + 1.0),
    "sum with alpha": lambda net, x: torch.add(x, net.a(x), alpha=2),
    "sum that is broadcast": lambda net, x: net.relu(net.a(x) + net.c(x).mean((2, 3), keepdim=True)),
    "sum that broadcasts the convolution": lambda net, x: net.relu(x + net.a(x[:, :, :1, :1])),
    "sum with a parameter": lambda net, x: net.relu(net.a(x) + net.norm.weight.view(1, -1, 1, 1)),
    "chain of sums": lambda net, x: net.relu(net.a(x) + net.b(x) + net.c(x) + x),
    "groups": lambda net, x: net.relu(net.groups(x)),
    "groups and a sum": lambda net, x: net.relu(net.groups(x) + torch.cat([x, x], 1)),
    "dilation": lambda net, x: net.relu(net.dilated(x) + x),
    "stride": lambda net, x: net.relu(net.strided(x)),
    "padding by name": lambda net, x: net.relu(net.same(x) + x),
    "padding by reflection": lambda net, x: net.relu(net.reflected(x) + x),
    "pooling": lambda net, x: net.a(net.pool(net.relu(net.c(x)))),
    "concatenation": lambda net, x: torch.cat([net.relu(net.a(x)), net.b(x), x], 1),
    "gate": lambda net, x: net.a(x) * net.c(x).mean((2, 3), keepdim=True).sigmoid() + x,
    "no batch": lambda net, x: torch.stack([net.relu(net.a(picture)) for picture in x.unbind()]),
}  # fmt: skip


def _objective(model: nn.Module, count: int = 7) -> Objective:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, 8, 8, generator=generator)
    labels = torch.randint(4, (count,), generator=generator)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            module.weight.data.uniform_(-2, 2, generator=generator)
            module.bias.data.uniform_(-1, 1, generator=generator)
    batches = [(images[:5], labels[:5]), (images[5:], labels[5:])]
    return Objective(model.eval(), nn.CrossEntropyLoss(), batches)


def _net(name: str) -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net(FORWARDS[name])


def _fused(objective: Objective) -> forward_passes._Network:
    batches = forward_passes._placed(objective._risk, channels_last=True)
    assert batches is not None
    network = forward_passes._network(objective._risk.replica, "fused", batches)
    assert network is not None
    return network


def _outputs(objective: Objective, network: forward_passes._Network, point: Tensor) -> Tensor:
    with torch.inference_mode():
        objective._risk.replica.move(point, constant=False)
        for each in network.renewed:
            each.refresh()
        pictures = [
            batch[0].clone().contiguous(memory_format=torch.channels_last)
            for _, batch in objective._risk.batches
        ]
        return torch.cat([network(part) for part in pictures])  # fmt: skip


@needs_onednn
@pytest.mark.parametrize("name", [name for name in FORWARDS if name != "no batch"])
def test_outputs_are_those_of_the_plain_network_at_every_point(name):
    model = _net(name)
    objective = _objective(model)
    network = _fused(objective)
    generator = torch.Generator().manual_seed(1)
    plain = copy.deepcopy(model).double()
    for scale in (0.0, 0.3, -1.0):
        point = objective.point + scale * torch.randn(objective.dimension, generator=generator)
        parameters = {k: v.double() for k, v in objective.layout.named(point).items()}
        pictures = torch.cat([batch[0] for _, batch in objective._risk.batches]).double()
        expected = torch.func.functional_call(plain, parameters, (pictures,))
        for _ in range(2):
            found = _outputs(objective, network, point)
            assert network.proof.held()
            assert torch.allclose(found.double(), expected, rtol=0, atol=3e-6 * float(expected.abs().max()))


FUSED = {
    "relu module": (3, 0, 1),
    "relu in place": (3, 0, 1),
    "relu as function": (3, 0, 1),
    "relu as method": (3, 0, 1),
    "relu of a result used twice": (2, 0, 1),
    "result used twice": (2, 0, 0),
    "shared convolution": (1, 0, 0),
    "residual": (3, 1, 2),
    "residual with identity": (2, 1, 1),
    "projection": (4, 1, 2),
    "other operand is written to": (2, 0, 0),
    "sum in place of the other": (3, 1, 0),
    "sum with itself": (2, 0, 0),
    "sum that is broadcast": (3, 0, 0),
    "padding by reflection": (1, 0, 0),
    "groups and a sum": (2, 0, 0),
}
"""Convolutions fused, and how many of them with a sum and with a ReLU."""


@needs_onednn
@pytest.mark.parametrize("name", FUSED)
def test_what_can_be_taken_in_is_and_nothing_else(name):
    network = _fused(_objective(_net(name)))
    fused = [m for m in network.module.modules() if isinstance(m, FusedConvolution)]
    called = [
        n for n in network.module.graph.nodes if str(n.target).startswith("fused_") and len(n.args) == 2
    ]
    assert (len(fused), len(called), sum(m.relu for m in fused)) == FUSED[name]


@needs_onednn
def test_a_residual_network_is_left_with_convolutions_pooling_and_the_classifier():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        objective = _objective(CifarResNet(3, 4, widths=(4, 6), blocks=2))
    nodes = [n for n in _fused(objective).module.graph.nodes if n.op not in ("placeholder", "output")]
    rest = [str(n.target) for n in nodes if not str(n.target).startswith("fused_")]
    assert rest == ["mean", "classifier"]
    evaluate = evaluation(objective, "fused")
    for scale in (0.0, 0.1, -0.5, 2.0):
        point = objective.point * (1 + scale) + scale * torch.sin(torch.arange(objective.dimension))
        loss, accuracy = objective.evaluate(point)
        assert evaluate(point) == (pytest.approx(loss, rel=1e-5), accuracy)


@needs_onednn
def test_batches_are_cut_where_they_are_large_without_another_value(monkeypatch):
    objective = _objective(_net("residual"))
    whole = evaluation(objective, "fused")(objective.point + 0.1)
    monkeypatch.setattr(forward_passes, "_AT_ONCE", 2)
    assert evaluation(objective, "fused")(objective.point + 0.1) == (
        pytest.approx(whole[0], rel=1e-6),
        whole[1],
    )


@needs_onednn
def test_batches_are_left_whole_where_examples_depend_on_each_other(monkeypatch):
    monkeypatch.setattr(forward_passes, "_AT_ONCE", 2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        objective = _objective(Net(lambda net, x: net.relu(net.a(x)) - x.mean(0)))
    point = objective.point + 0.1
    assert evaluation(objective, "fused")(point)[0] == pytest.approx(objective.evaluate(point)[0], rel=1e-6)


@needs_onednn
def test_model_and_data_are_bit_identical_afterwards():
    model = _net("projection")
    objective = _objective(model)
    before = copy.deepcopy(model.state_dict())
    images = [batch[0].clone() for _, batch in objective._risk.batches]
    for _ in range(2):
        evaluation(objective, "fused")(objective.point + 0.2)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(
        torch.equal(batch[0], kept) for (_, batch), kept in zip(objective._risk.batches, images, strict=True)
    )
