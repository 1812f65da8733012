"""Networks whose hidden units are permuted by tables written by hand, one for each architecture."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from landscape.models import build_model


class Normalised(nn.Module):
    """Two convolutions with batch norm, flattened into a linear layer."""

    def __init__(self):
        super().__init__()
        self.a, self.na = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.b, self.nb = nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8)
        self.c, self.d = nn.Linear(8 * 4 * 4, 12), nn.Linear(12, 5)

    def forward(self, x):
        x = torch.relu(self.na(self.a(x)))
        x = torch.relu(self.nb(self.b(x))).flatten(1)
        return self.d(torch.tanh(self.c(x)))


def _norm(name):
    return [f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]


def _rows(*names):
    return [(name, 0, 1) for name in names]


def mlp_table():
    """For each set of units: the tensors that have it, the dimension, and how many entries a unit has there."""
    return {
        k: [(f"layers.{k}.weight", 0, 1), (f"layers.{k}.bias", 0, 1), (f"layers.{k + 2}.weight", 1, 1)]
        for k in (1, 3, 5)
    }


def normalised_table():
    return {
        "a": [*_rows("a.weight", *_norm("na")), ("b.weight", 1, 1)],
        "b": [*_rows("b.weight", "b.bias", *_norm("nb")), ("c.weight", 1, 16)],
        "c": [*_rows("c.weight", "c.bias"), ("d.weight", 1, 1)],
    }


def resnet20_table():
    table = {"0": _rows("stem.0.weight", *_norm("stem.1")), "1": [], "2": []}
    for stage in range(3):
        for block in range(3):
            name = f"stages.{stage}.{block}"
            inner = _rows(f"{name}.residual.0.weight", *_norm(f"{name}.residual.1"))
            table[name] = [*inner, (f"{name}.residual.3.weight", 1, 1)]
            table[str(stage)] += _rows(f"{name}.residual.3.weight", *_norm(f"{name}.residual.4"))
            first = block == 0 and stage > 0
            into = str(stage - 1 if first else stage)
            table[into].append((f"{name}.residual.0.weight", 1, 1))
            if first:
                table[into].append((f"{name}.shortcut.0.weight", 1, 1))
                table[str(stage)] += _rows(f"{name}.shortcut.0.weight", *_norm(f"{name}.shortcut.1"))
    table["2"].append(("classifier.weight", 1, 1))
    return table


NETWORKS = {
    "mlp": (lambda: build_model("mlp:width=24,depth=3", classes=5, input_shape=(3, 8, 8), seed=0), mlp_table),
    "normalised": (Normalised, normalised_table),
    "resnet20": (lambda: build_model("resnet20", classes=5, input_shape=(3, 8, 8), seed=0), resnet20_table),
}


def permuted_by_hand(network, table, seed=0):
    """A copy with random orders of the units of a table, and the orders."""
    twin, draws = copy.deepcopy(network), np.random.default_rng(seed)
    tensors, orders = twin.state_dict(keep_vars=True), {}
    for units, places in table.items():
        name, dimension, each = places[0]
        orders[units] = order = draws.permutation(tensors[name].shape[dimension] // each)
        for name, dimension, each in places:
            index = (order[:, None] * each + np.arange(each)).reshape(-1)
            tensors[name].data = tensors[name].data.index_select(dimension, torch.as_tensor(index))
    return twin, orders


@pytest.fixture(params=NETWORKS)
def copies(request):
    """A network in float64 with statistics of its own, one with its units permuted, the orders, and data."""
    make, table = NETWORKS[request.param]
    torch.manual_seed(0)
    network = make().double().train()
    x, y = torch.randn(12, 3, 8, 8, dtype=torch.float64), torch.randint(0, 5, (12,))
    with torch.no_grad():
        for parameter in network.parameters():  # gains and biases of a new layer are all equal
            parameter.add_(0.1 * torch.randn_like(parameter))
        network(x)  # the running statistics
    network.eval()
    twin, orders = permuted_by_hand(network, table())
    return network, twin, orders, (x, y)
