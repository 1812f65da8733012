"""Graphs are kept while there is room, dropped when the network moves, and never change a number."""

import gc
import weakref

import problems
import pytest
import torch
from torch import nn

from landscape.objective import Objective, engine
from landscape.objective.memory import available_bytes, saved_for_backward

CPU = torch.device("cpu")
KINDS = ["hessian_product", "gauss_newton_product", "empirical_fisher_product"]


def vectors(objective: Objective, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, objective.dimension, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kept_graph_gives_the_same_products_for_one_gradient(kind: str) -> None:
    kept, rebuilt = problems.small_objective(batch=30), problems.small_objective(batch=30)
    rebuilt.engine.graphs.share = 0.0
    for v in vectors(kept, 4):
        assert torch.equal(getattr(kept, kind)(v), getattr(rebuilt, kind)(v))
    assert kept.ledger.passes() == {"gradients": 1, "products": 4, "evaluations": 0}
    assert rebuilt.ledger.passes() == {"gradients": 4, "products": 4, "evaluations": 0}
    assert (len(kept.engine.graphs), len(rebuilt.engine.graphs)) == (4, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_products_of_another_point_are_its_own(kind: str) -> None:
    objective = problems.small_objective(batch=30)
    there = objective.at(objective.point * 1.5)
    v = vectors(objective, 1)[0]
    before, elsewhere = getattr(objective, kind)(v), getattr(there, kind)(v)
    assert torch.equal(getattr(objective, kind)(v), before)
    objective.evaluate(objective.point * 3)
    assert torch.equal(getattr(there, kind)(v), elsewhere)
    alone = problems.small_objective(batch=30)
    assert torch.equal(getattr(alone.at(alone.point * 1.5), kind)(v), elsewhere)
    assert not torch.equal(before, elsewhere)


def test_batches_apart_do_not_take_each_others_graphs() -> None:
    objective = problems.small_objective(batch=30)
    v = vectors(objective, 1)[0]
    whole = objective.hessian_product(v)
    parts = [part.num_examples * part.hessian_product(v) for part in objective.per_batch()]
    assert torch.allclose(sum(parts) / 100, whole, rtol=1e-12)
    again = [part.num_examples * part.hessian_product(v) for part in objective.per_batch()]
    assert all(torch.equal(a, b) for a, b in zip(parts, again, strict=True))


def test_only_what_fits_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = problems.small_objective(batch=30)
    v = vectors(objective, 1)[0]
    objective.hessian_product(v)
    sizes = dict(objective.engine.graphs._sizes)
    kind = "HessianGraph"
    assert set(sizes) == {(kind, 30), (kind, 10)}
    large, small = sizes[kind, 30], sizes[kind, 10]
    assert large > small > 0
    monkeypatch.setattr(engine, "available_bytes", lambda device: large)
    tight = problems.small_objective(batch=30)
    assert torch.equal(tight.hessian_product(v), objective.hessian_product(v))
    assert len(tight.engine.graphs) == 1, "half of what is left holds the ragged last batch only"


def test_what_is_kept_is_given_back_at_once() -> None:
    objective = problems.small_objective(batch=30)
    objective.hessian_product(vectors(objective, 1)[0])
    graph = weakref.ref(next(iter(objective.engine.graphs._kept.values())))
    gc.disable()
    try:
        objective.evaluate(objective.point * 2)
        assert graph() is None, "a reference cycle holds the graph"
    finally:
        gc.enable()


def test_the_bytes_of_a_graph_are_those_of_what_it_saves() -> None:
    w = torch.ones(50, 20, dtype=torch.float64, requires_grad=True)
    x = torch.ones(7, 20, dtype=torch.float64)
    with saved_for_backward(besides=w) as held:
        y = torch.tanh(x @ w.T)
    assert held.bytes == 7 * 20 * 8 + 7 * 50 * 8, "the inputs and the outputs of tanh, not the weights"
    assert y.requires_grad


def test_there_is_memory_and_not_more_than_a_petabyte() -> None:
    assert 1 << 20 < available_bytes(CPU) < 1 << 50


class Inner(nn.Module):
    """A network that uses torch.func inside, which refuses the hooks that count bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 4).double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(torch.func.vmap(torch.func.grad(lambda row: row.pow(3).sum()))(x))


def test_a_network_whose_bytes_cannot_be_counted_is_measured_all_the_same() -> None:
    x, y = problems.classification()
    objective = Objective(Inner(), nn.CrossEntropyLoss(), problems.batches(x, y, 30))
    plain = Objective(nn.Linear(8, 4).double(), nn.CrossEntropyLoss(), problems.batches(3 * x**2, y, 30))
    v = vectors(objective, 1)[0]
    assert torch.allclose(objective.hessian_product(v), plain.at(objective.point).hessian_product(v))
