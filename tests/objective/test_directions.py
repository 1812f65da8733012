"""Random directions among the weights: the same numbers however they are asked for."""

import pytest
import torch

from landscape.draws import Draws
from landscape.objective.directions import FEW, Directions

SHAPES = (3, 5), (7,), (15,), (FEW,), (FEW + 1,), (65, 64), (), (0,)


@pytest.fixture
def point() -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [(k + 1) * torch.randn(shape, dtype=torch.float64) for k, shape in enumerate(SHAPES)]


def test_tensors_that_are_drawn_together_are_those_drawn_one_by_one(point) -> None:
    directions, draws = Directions(point), Draws(0).fold(3)
    for k, tensor in enumerate(point):
        draw = draws.normals if tensor.numel() <= FEW else draws.signs
        alone = draw(range(k, k + 1), tensor.numel(), like=tensor).reshape(tensor.shape)
        assert torch.equal(directions.tensor(3, k), directions.sizes[k] * alone)


def test_some_entries_are_those_of_the_whole(point) -> None:
    directions = Directions(point)
    for k, tensor in enumerate(point):
        whole = directions.tensor(1, k).flatten()
        for first in (0, 1, tensor.numel() // 2):
            assert torch.equal(directions.entries(1, k, first, len(whole[first:])), whole[first:])


def test_what_a_caller_changes_does_not_change_the_direction(point) -> None:
    directions = Directions(point)
    before = directions.tensor(2, 0)
    directions.tensor(2, 0).zero_()
    assert torch.equal(directions.tensor(2, 0), before)


def test_a_size_is_that_of_the_entries_and_at_least_a_hundredth_of_all() -> None:
    point = [torch.full((4,), 3.0), torch.full((2, 3), -0.5), torch.zeros(10)]
    overall = ((4 * 9 + 6 * 0.25) / 20) ** 0.5
    assert Directions(point).sizes == pytest.approx([3, 0.5, 0.01 * overall])
