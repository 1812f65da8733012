"""The vectors that an operator draws, and its shape."""

import math

import pytest
import torch

from landscape.draws import Draws
from landscape.linalg import dense

MATRIX = torch.tensor([[2.0, 1.0, 0.0], [1.0, -3.0, 0.5], [0.0, 0.5, 1.0]]).double()


DRAWS = Draws(0)


def test_a_matrix_multiplies_vectors_and_columns() -> None:
    a = dense(MATRIX)
    assert (a.shape, a.dimension, a.dtype) == ((3, 3), 3, torch.float64)
    assert torch.equal(a @ MATRIX, MATRIX @ MATRIX)
    assert torch.equal(a @ MATRIX[0], MATRIX @ MATRIX[0])


def test_signs_are_as_often_positive_as_negative_and_those_of_their_numbers() -> None:
    a = dense(torch.eye(2000).double())
    signs = a.rademacher(DRAWS, range(3))
    assert signs.shape == (2000, 3)
    assert signs.unique().tolist() == [-1, 1]
    assert float(signs.mean(dim=0).abs().max()) <= 4 / math.sqrt(2000)
    assert torch.equal(signs[:, 1:], a.rademacher(DRAWS, range(1, 3)))
    assert not torch.equal(signs[:, 0], signs[:, 1])


@pytest.mark.parametrize("size", [1e-3, 1.0, 70.0])
def test_a_start_is_a_unit_vector_near_the_suggested_one(size: float) -> None:
    a = dense(MATRIX)
    noise = a.normal(DRAWS)
    noise = noise / noise.norm()
    suggestion = size * torch.tensor([1.0, 0.0, 0.0]).double()
    mixed = torch.tensor([1.0, 0.0, 0.0]).double() + 0.1 * noise
    found = a.start(suggestion, DRAWS)
    assert torch.allclose(found, mixed / mixed.norm(), rtol=1e-12)
    for nothing in (None, torch.zeros(3)):
        assert torch.allclose(a.start(nothing, DRAWS), noise, rtol=1e-12)
