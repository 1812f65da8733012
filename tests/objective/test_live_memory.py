"""How many vectors as long as θ are alive at once, counted by torch's allocator and not by what the process holds."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from landscape.measures import gradient_norm
from landscape.objective import Objective

WIDTH = 512
X, Y = torch.randn(8, WIDTH, generator=torch.Generator().manual_seed(0)), torch.arange(8)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [layer for _ in range(6) for layer in (nn.Linear(WIDTH, WIDTH), nn.Tanh())]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 8))


def objective(batch: int = 8, copy: bool = True) -> Objective:
    batches = list(zip(X.split(batch), Y.split(batch), strict=True))
    return Objective(network(), nn.CrossEntropyLoss(), batches, copy=copy)


def vectors(run: Callable[[], object]) -> tuple[float, float]:
    """How much is alive afterwards and at most beyond what was alive before, in multiples of the weights."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        result = run()
    alive = most = 0
    events = (event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]")
    for event in sorted(events, key=lambda event: event.start_ns()):
        alive += event.nbytes()
        most = max(most, alive)
    del result
    size = sum(parameter.nbytes for parameter in network().parameters())
    return alive / size, most / size


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks count as so large that nothing is computed in float64."""
    monkeypatch.setattr("landscape.objective.differences.LARGEST", 0)


def test_an_objective_holds_one_copy_of_the_weights() -> None:
    model = network()
    alive, most = vectors(lambda: Objective(model, nn.CrossEntropyLoss(), [(X, Y)]))
    assert 1.0 <= alive < 1.02
    assert most < 1.15  # blocks of 65 536 entries in float64 are what the check of finite weights takes


def test_an_objective_of_a_network_that_was_given_away_holds_no_copy() -> None:
    model = network()
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    mine = Objective(model, nn.CrossEntropyLoss(), [(X, Y)], copy=False)
    assert mine.network is model
    assert mine.point.untyped_storage().data_ptr() == model[0].weight.untyped_storage().data_ptr()
    assert all(map(torch.equal, model.parameters(), weights))
    assert torch.equal(mine.gradient, objective().gradient)


def test_a_gradient_norm_takes_no_more_than_a_training_step_and_one_vector() -> None:
    model, loss = network(), nn.CrossEntropyLoss()
    _, step = vectors(lambda: loss(model(X), Y).backward())
    whole, halves = objective(), objective(batch=4)
    _, once = vectors(lambda: gradient_norm(whole))
    _, twice = vectors(lambda: gradient_norm(halves))
    assert once < step + 1.5  # and three tensors of the network
    assert twice < step + 1.5


def test_a_product_takes_two_vectors_besides_its_graph(large: None) -> None:
    mine = objective()
    vector = torch.ones_like(mine.point)
    mine.hessian_product(vector)
    mine.engine.graphs.shrink()
    alive, most = vectors(lambda: mine.hessian_product(vector))
    assert alive < 1.3
    assert most < 2.7


def test_the_first_product_takes_no_more_with_its_check_in_float64() -> None:
    mine = objective()
    vector = torch.ones_like(mine.point)
    _, most = vectors(lambda: mine.hessian_product(vector))
    assert most < 3  # three tensors of the network less than in double precision alone


def test_another_point_is_there_once() -> None:
    mine = objective()
    loss = mine.loss
    moved = mine.point + 0.01
    alive, most = vectors(lambda: mine.at(moved).loss)
    assert most < 1.15
    assert alive < 1.02  # the network stands there
    before, there = mine.point.clone(), mine.at(mine.point)
    assert there.loss == loss
    assert torch.equal(mine.point, before)


def test_moving_there_and_back_changes_no_number() -> None:
    mine, fresh = objective(), objective()
    elsewhere = mine.at(mine.point + 0.01)
    product = elsewhere.hessian_product(elsewhere.gradient)
    mine.evaluate(mine.point * 2)
    assert torch.equal(mine.gradient, fresh.gradient)
    assert torch.equal(elsewhere.hessian_product(elsewhere.gradient), product)
    assert torch.equal(mine.hessian_product(mine.gradient), fresh.hessian_product(fresh.gradient))
    assert torch.equal(mine.point, fresh.point)
