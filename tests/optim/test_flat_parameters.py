"""The vector of the parameters and of their gradients."""

import pytest
import torch
from optim.battery import build, closure, mlp, weights
from torch import nn

from landscape.optim import flat_parameters
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


@pytest.mark.parametrize("name", ["sam", "gsam", "asam", "msam"])
def test_a_large_network_is_displaced_without_a_buffer(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = []
    for limit in (flat_parameters._SMALL, 0):
        monkeypatch.setattr(flat_parameters, "_SMALL", limit)
        model = mlp()
        optimizer = build(name, model)
        assert (optimizer.flat._moved is None) == (limit == 0)
        for number in range(4):
            optimizer.step(closure(optimizer, model, seed=number))
        ends.append(weights(model))
        optimizer.base.param_groups[0]["lr"] = optimizer.base.param_groups[0]["momentum"] = 0.0
        optimizer.step(closure(optimizer, model))
        assert torch.equal(weights(model), ends[-1])
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-12, atol=1e-14)


def test_assigned_weights_are_those_that_a_displacement_starts_from() -> None:
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))]
    flat = FlatParameters([{"params": parameters}])
    with torch.no_grad():  # as in a step
        assert not flat.values.any()
        flat.assign(torch.tensor([1.0, 2.0, 3.0]))
        flat.displace(torch.ones(3), times=2.0)
        assert torch.cat(parameters).tolist() == [3, 4, 5]
        flat.restore()
        assert torch.cat(parameters).tolist() == [1, 2, 3]
