"""The vectors that an operator draws, and its shape."""

import math

import pytest
import torch

from landscape.linalg import dense

MATRIX = torch.tensor([[2.0, 1.0, 0.0], [1.0, -3.0, 0.5], [0.0, 0.5, 1.0]]).double()


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_a_matrix_multiplies_vectors_and_columns() -> None:
    a = dense(MATRIX)
    assert (a.shape, a.dimension, a.dtype) == ((3, 3), 3, torch.float64)
    assert torch.equal(a @ MATRIX, MATRIX @ MATRIX)
    assert torch.equal(a @ MATRIX[0], MATRIX @ MATRIX[0])


def test_signs_are_as_often_positive_as_negative_and_drawn_column_by_column() -> None:
    a = dense(torch.eye(2000).double())
    signs = a.rademacher(3, generator())
    assert signs.shape == (2000, 3)
    assert signs.unique().tolist() == [-1, 1]
    assert float(signs.mean(dim=0).abs().max()) <= 4 / math.sqrt(2000)
    drawn = generator()
    assert torch.equal(signs, torch.cat([a.rademacher(1, drawn) for _ in range(3)], dim=1))


@pytest.mark.parametrize("size", [1e-3, 1.0, 70.0])
def test_a_start_is_a_unit_vector_near_the_suggested_one(size: float) -> None:
    a = dense(MATRIX)
    noise = a.normal(generator())
    noise = noise / noise.norm()
    suggestion = size * torch.tensor([1.0, 0.0, 0.0]).double()
    mixed = torch.tensor([1.0, 0.0, 0.0]).double() + 0.1 * noise
    found = a.start(suggestion, generator())
    assert torch.allclose(found, mixed / mixed.norm(), rtol=1e-12)
    for nothing in (None, torch.zeros(3)):
        assert torch.allclose(a.start(nothing, generator()), noise, rtol=1e-12)
