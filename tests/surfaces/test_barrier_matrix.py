"""A matrix of barriers holds what single lines give, and zero between aligned copies of one network."""

import copy

import pytest
import torch
from torch import nn

from landscape.alignment import align
from landscape.errors import InputError, UsageError
from landscape.objective import Objective
from landscape.surfaces.barrier_matrix import barrier_grid, barrier_rows, barriers_between
from landscape.surfaces.directions import Waypoint
from landscape.surfaces.sampling import sample_surface

X = torch.randn(40, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = (X[:, 0] * X[:, 1] > 0).long()


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 2)).double()


def objective(model, rows=slice(0, 30)):
    return Objective(model, "cross-entropy", (X[rows], Y[rows]))


@pytest.fixture
def three():
    models = {name: network(seed) for seed, name in enumerate("abc")}
    objectives = {name: objective(model) for name, model in models.items()}
    return objectives, {name: objective(model, slice(30, 40)) for name, model in models.items()}


def test_each_pair_is_the_line_between_two_networks(three):
    objectives, tests = three
    steps = []
    pairs = barriers_between(
        objectives, tests=tests, points=7, align=True, progress=lambda *at: steps.append(at)
    )
    assert [(pair.first, pair.second) for pair in pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert steps == [(1, 3), (2, 3), (3, 3)]
    first, other = objectives["b"], objectives["c"]
    for end, barriers, distance in (
        (other, pairs[2].barriers, pairs[2].distance),
        (align(first, other).objective, pairs[2].aligned, pairs[2].aligned_distance),
    ):
        through = [Waypoint.of("b", first), Waypoint.of("end", end)]
        line = sample_surface(first, "interpolation", points=7, through=through)
        assert barriers["loss"]["height"] == pytest.approx(line.meta["barrier"]["loss"]["height"], rel=1e-9)
        assert barriers.keys() == {"loss", "test_loss"}
        assert distance == pytest.approx(float((end.point - first.point).norm()), rel=1e-12)


def test_aligned_copies_have_no_barrier_and_no_distance():
    model, order = network(0), torch.randperm(9, generator=torch.Generator().manual_seed(1))
    twin = copy.deepcopy(model)
    twin[0].weight.data, twin[0].bias.data = model[0].weight.data[order], model[0].bias.data[order]
    twin[2].weight.data = model[2].weight.data[:, order]
    (pair,) = barriers_between({"a": objective(model), "b": objective(twin)}, align=True)
    assert pair.barriers["loss"]["height"] > 0
    assert (pair.aligned["loss"]["height"], pair.aligned_distance) == (0.0, 0.0)


def test_the_table_has_pairs_as_they_are_below_the_diagonal_and_aligned_above(three):
    pairs = barriers_between(three[0], points=5, align=True)
    grid = barrier_grid(pairs, "loss")
    assert grid.head == ["barrier of loss", "a", "b", "c"]
    for pair in pairs:
        one, other = "abc".index(pair.first), "abc".index(pair.second)
        assert grid.rows[one][1 + other] == f"{pair.aligned['loss']['height']:.4g}"
        assert grid.rows[other][1 + one] == f"{pair.barriers['loss']['height']:.4g}"
    assert "aligned to that of the row" in grid.notes[0]
    plain = barrier_grid(barriers_between(three[0], points=5), "loss")
    assert plain.rows[0][2] == plain.rows[1][1]
    assert len(plain.notes) == 1
    lines = barrier_rows(pairs).csv().splitlines()
    assert lines[0].startswith("first,second,loss,barrier,at,distance,aligned_barrier")
    assert float(lines[1].split(",")[3]) == pairs[0].barriers["loss"]["height"]


def test_too_few_networks_or_points_and_one_network_twice_are_refused(three):
    objectives, _ = three
    with pytest.raises(UsageError, match="1 networks and 11 points"):
        barriers_between({"a": objectives["a"]})
    with pytest.raises(UsageError, match="2 points a line"):
        barriers_between(objectives, points=2)
    with pytest.raises(InputError, match="a and b are the same point"):
        barriers_between({"a": objectives["a"], "b": objectives["a"]})
