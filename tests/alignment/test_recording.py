"""Every permutation that a forward pass is said to allow changes no output; what is read by place is held."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from landscape.alignment.recording import symmetries
from landscape.isolation.attention import PlainAttention
from landscape.models import build_model


class Net(nn.Module):
    """Layers by name, and what is done with them."""

    def __init__(self, forward, **layers):
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self.how = forward

    def forward(self, x):
        return self.how(x, self.layers)


def _shortcut(x, m):
    h = torch.relu(m["a"](x))
    padded = functional.pad(h[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
    return m["c"](torch.relu(m["b"](h) + padded).mean((2, 3)))


def _joined(x, m):
    h = torch.relu(m["a"](x))
    return m["c"](torch.cat([h, torch.relu(m["b"](h))], 1).amax((2, 3)))


def _glued(x, m):
    first, second = m["a"](x).chunk(2, dim=1)
    return m["c"](functional.glu(m["b"](first * torch.sigmoid(second)), 1).flatten(1))


def _written(x, m):
    h = torch.relu(m["a"](x))
    h[:, :2] = h[:, :2] * torch.tensor([1.0, 2.0], dtype=h.dtype)[:, None, None]
    return m["c"](torch.relu(m["b"](h)).mean((2, 3)))


def _scaled(x, m):
    h = m["a"](x) * torch.linspace(1, 2, 8, dtype=x.dtype)[:, None, None] + torch.ones(8, 1, 1, dtype=x.dtype)
    return m["c"](torch.relu(m["b"](h)).mean((2, 3)))


def _gated(x, m):
    h = torch.relu(m["a"](x))
    return m["c"]((h * torch.sigmoid(m["b"](h.mean((2, 3), keepdim=True)))).mean((2, 3)))


def _maximum_of(x, m):
    h, places = torch.relu(m["a"](x)).flatten(2).max(2)
    return m["c"](h + places)


def conv(i, o, **options):
    return nn.Conv2d(i, o, 3, padding=1, **options)


CASES = {
    "groups": (
        lambda: nn.Sequential(
            conv(3, 8), nn.ReLU(), conv(8, 12, groups=4), nn.ReLU(), nn.Flatten(), nn.Linear(768, 5)
        ),
        [4, 2, 3],
    ),
    "depthwise": (
        lambda: nn.Sequential(
            conv(3, 8), nn.ReLU(), conv(8, 8, groups=8), nn.ReLU6(), conv(8, 4), nn.Flatten(2)
        ),
        [8],
    ),
    "group norm": (
        lambda: nn.Sequential(conv(3, 8), nn.GroupNorm(2, 8), nn.ReLU(), nn.AvgPool2d(2), conv(8, 4)),
        [2, 4],
    ),
    "transposed": (
        lambda: nn.Sequential(
            conv(3, 6), nn.ReLU(), nn.ConvTranspose2d(6, 8, 2, groups=2), nn.PReLU(8), conv(8, 2)
        ),
        [2, 3, 4],
    ),
    "weight norm and dropout": (
        lambda: nn.Sequential(
            nn.Flatten(),
            nn.utils.parametrizations.weight_norm(nn.Linear(192, 7)),
            nn.Dropout(),
            nn.Linear(7, 2),
        ),
        [7],
    ),
    "zeros around a shortcut": (
        lambda: Net(_shortcut, a=conv(3, 4), b=conv(4, 8, stride=2), c=nn.Linear(8, 3)),
        [2, 4, 2],
    ),
    "concatenation": (lambda: Net(_joined, a=conv(3, 4), b=conv(4, 6), c=nn.Linear(10, 3)), [4, 6]),
    "halves": (lambda: Net(_glued, a=conv(3, 8), b=conv(4, 6), c=nn.Linear(192, 3)), [4, 3]),
    "part of a tensor written": (lambda: Net(_written, a=conv(3, 8), b=conv(8, 8), c=nn.Linear(8, 3)), [8]),
    "constants": (lambda: Net(_scaled, a=conv(3, 8), b=conv(8, 6), c=nn.Linear(6, 3)), [6]),
    "squeeze and excitation": (
        lambda: Net(_gated, a=conv(3, 8), b=nn.Conv2d(8, 8, 1), c=nn.Linear(8, 3)),
        [8],
    ),
    "places of maxima": (lambda: Net(_maximum_of, a=conv(3, 8), c=nn.Linear(8, 3)), [8]),
    "batch norm": (
        lambda: build_model("mlp:norm=batch,width=6", classes=3, input_shape=(3, 8, 8), seed=0),
        [6, 6],
    ),
    "layer norm": (
        lambda: build_model("mlp:norm=layer,width=6", classes=3, input_shape=(3, 8, 8), seed=0),
        [6, 6],
    ),
}


def allowed(network, x, seed=0):
    """The permutations that are found, and a copy with random ones of all of them."""
    found = symmetries(network, lambda: network(x), x)
    draws = np.random.default_rng(seed)
    orders = {
        leaf: np.roll(np.arange(leaf.size), 1) if leaf.size < 3 else draws.permutation(leaf.size)
        for leaf in found.free
    }
    twin = copy.deepcopy(network)
    tensors = dict(twin.named_parameters()) | dict(twin.named_buffers())
    for name, axes in found.axes.items():
        for dimension, axis in enumerate(axes):
            order = torch.as_tensor(axis.order(orders))
            tensors[name].data = tensors[name].data.index_select(dimension, order)
    return found, twin


def prepared(make):
    torch.manual_seed(0)
    network = make().double().eval()
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            if tensor.is_floating_point():
                tensor.add_(0.2 * torch.rand_like(tensor))
    return network


@pytest.mark.parametrize("case", CASES)
def test_random_permutations_of_all_free_units_change_no_output(case):
    make, sizes = CASES[case]
    network, x = prepared(make), torch.randn(4, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        found, twin = allowed(network, x)
        assert sorted(leaf.size for leaf in found.free) == sorted(sizes)
        assert torch.allclose(network(x), twin(x), rtol=1e-10, atol=1e-12)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(12, 3, 20, batch_first=True)
        self.embedding, self.encoder = (
            nn.Embedding(11, 12),
            nn.TransformerEncoder(layer, 1, enable_nested_tensor=False),
        )
        self.head = nn.Linear(12, 5)

    def forward(self, tokens):
        return self.head(self.encoder(self.embedding(tokens)).mean(1))


@pytest.mark.parametrize(
    ("make", "sizes"),
    [
        (
            lambda: build_model("decoder:width=12,depth=1,heads=3,length=6,vocabulary=11", seed=0),
            [12, 3, 4, 48],
        ),
        (Encoder, [12, 3, 4, 20]),
    ],
)
def test_heads_the_places_inside_a_head_and_the_stream_of_a_transformer_are_free(make, sizes):
    network, tokens = prepared(make), torch.randint(0, 11, (3, 6))
    with torch.no_grad(), PlainAttention():
        found, twin = allowed(network, tokens)
        assert sorted(leaf.size for leaf in found.free) == sorted(sizes)
        assert torch.allclose(network(tokens), twin(tokens), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("part of a tensor written", "applies copy to them"),
        ("constants", "layer 'Net' combines them with a constant that differs between them"),
    ],
)
def test_the_reason_why_units_are_held_names_the_layer(case, says):
    network = prepared(CASES[case][0])
    found = symmetries(network, lambda: network(torch.ones(2, 3, 8, 8, dtype=torch.float64)), [])
    assert any(says in reason for reason in found.held)


def test_an_unknown_operation_holds_its_units_and_names_its_layer():
    network = nn.Sequential(nn.Conv2d(1, 8, 1), nn.PixelShuffle(2), nn.Conv2d(2, 2, 1)).double()
    x = torch.randn(1, 1, 4, 4, dtype=torch.float64)
    found = symmetries(network, lambda: network(x), x)
    assert not [leaf for leaf in found.free if leaf.size == 8]
    assert found.held == ("layer '1' applies pixel_shuffle to them",)
