"""What was kept for Hessian products goes with the objective that it was kept for."""

import gc
import weakref
from typing import ClassVar

import problems
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from landscape.measures import dominant_eigenvalue, hessian_trace
from landscape.objective import Objective

COUNT = 30


class Watched(nn.Module):
    """Notes every tensor that it returns, without keeping it."""

    alive: ClassVar[list["weakref.ref[Tensor]"]] = []

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(x)
        self.alive.append(weakref.ref(y))
        return y


class Wide(nn.Module):
    """Megabytes of activations for a handful of parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(x.unsqueeze(-1) * self.scale).expand(-1, -1, 4) * torch.ones(60_000, 1, 1)
        return y.exp().mean((0, 1)).unsqueeze(0)


def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


def used(objective: Objective) -> None:
    ones = torch.ones_like(objective.point)
    objective.hessian_product(ones)
    objective.gauss_newton_product(ones)
    dominant_eigenvalue(objective)
    hessian_trace(objective)


def test_no_tensor_of_a_graph_outlives_its_objective() -> None:
    Watched.alive.clear()
    x, y = problems.classification(40)
    for _ in range(3):
        model = problems.network(nn.Linear(8, 5), Watched(), nn.Linear(5, 4))
        used(Objective(model, nn.CrossEntropyLoss(), problems.batches(x, y, 20)))
    gc.collect()
    assert len(Watched.alive) > 30
    assert not [reference for reference in Watched.alive if reference() is not None]


def test_no_stand_in_outlives_the_proof_that_the_trace_needs() -> None:
    def stand_ins() -> int:
        gc.collect()
        return sum(type(one) is FakeTensor for one in gc.get_objects())

    x, y = problems.classification(40)
    before = stand_ins()
    for _ in range(2):
        model = problems.network(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 4))
        found = hessian_trace(Objective(model, nn.CrossEntropyLoss(), [(x, y)]))
        assert found.details["proof"] == "proved"
    assert stand_ins() == before


def test_resident_memory_stays_the_same_over_many_objectives() -> None:
    x, y = torch.zeros(1, 1), torch.zeros(1, 4)
    sizes = []
    gc.collect()
    gc.freeze()  # what is there already takes most of the time of a collection
    try:
        for _ in range(COUNT):
            objective = Objective(Wide(), nn.MSELoss(), [(x, y)])
            objective.hessian_product(torch.ones(4))
            assert objective.engine.graphs.largest is not None
            assert objective.engine.graphs.largest > 2e6
            del objective
            gc.collect()
            sizes.append(resident())
    finally:
        gc.unfreeze()
    # The least of each third: what is allocated for a moment comes and goes. Ten graphs that stay take some 25 MB; of
    # the process, whose size depends on the tests before this one, that could be less than 2 %.
    growth = min(sizes[-COUNT // 3 :]) - min(sizes[COUNT // 3 : -COUNT // 3])
    assert growth <= min(0.02 * sizes[0], 10e6)


def test_a_graph_that_was_measured_gives_the_products_of_one_that_was_not() -> None:
    """What is handed out while a graph is measured is what autograd saved."""
    x, y = problems.classification(40)
    model = problems.small_net()
    ones = torch.ones(568, dtype=torch.float64)
    measured = Objective(model, nn.CrossEntropyLoss(), [(x, y)])
    plain = Objective(model, nn.CrossEntropyLoss(), [(x, y)])
    key = ("HessianGraph", 40)
    plain.engine.graphs._sizes[key] = None
    assert torch.equal(measured.hessian_product(ones), plain.hessian_product(ones))
    assert (len(measured.engine.graphs), len(plain.engine.graphs)) == (1, 0)
    assert plain.engine.graphs._sizes[key] is None


class Overwritten(nn.Module):
    """Writes to what its derivative needs."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.sigmoid(x)
        return y.mul_(2)


def test_a_write_to_what_a_derivative_needs_is_noticed_while_a_graph_is_measured() -> None:
    x, y = problems.classification(40)
    model = problems.network(nn.Linear(8, 5), Overwritten(), nn.Linear(5, 4))
    objective = Objective(model, nn.CrossEntropyLoss(), [(x, y)])
    with pytest.raises(RuntimeError, match=r"modified by an in-?place operation"):
        objective.hessian_product(objective.point)
