"""The vector of the parameters and of their gradients."""

import pytest
import torch
from torch import nn

from landscape.optim.flat_parameters import FlatParameters


@pytest.mark.parametrize("count", [1, 2])
def test_the_vector_of_gradients_shares_no_memory_with_them(count: int) -> None:
    parameters = [nn.Parameter(torch.zeros(3)) for _ in range(count)]
    for parameter in parameters:
        parameter.grad = torch.ones(3)
    vector = FlatParameters([{"params": parameters}]).gradients()
    assert vector is not None
    vector.zero_()
    assert all(torch.equal(p.grad, torch.ones(3)) for p in parameters if p.grad is not None)
