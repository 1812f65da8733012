"""A small network, its weights, and data that it fits."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from landscape.data import load_data


@pytest.fixture(scope="session")
def moons():
    return load_data("moons:samples=60")


@pytest.fixture
def net():
    """A network with a buffer, 2 → 4 → 2, and its weights as a plain dictionary."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2))
        model(torch.randn(20, 2))
    return SimpleNamespace(model=model, state={k: v.clone() for k, v in model.state_dict().items()})
