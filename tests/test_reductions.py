"""Sums over long vectors by blocks are those over the whole vector, and numbers are read in one transfer."""

import pytest
import torch
from waits import Waits

from landscape import reductions
from landscape.reductions import distance, dot, norm, numbers


@pytest.fixture(params=[1 << 16, 7], ids=["at once", "by blocks"])
def vectors(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    monkeypatch.setattr(reductions, "_BLOCK", request.param)
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(60, generator=generator) for _ in range(2)]


def test_sums_are_those_in_float64(vectors: list[torch.Tensor]) -> None:
    a, b = vectors
    x, y = a.double(), b.double()
    truth = [float(x.norm()), float(x @ y), float((x - 3 * y).norm())]
    scale = torch.tensor(3.0, dtype=torch.float64)
    assert numbers(norm(a), dot(a, b), distance(a, b, scale)) == pytest.approx(truth, rel=1e-14)
    columns = dot(a.reshape(20, 3), b.reshape(20, 3))
    assert torch.allclose(columns, (x * y).reshape(20, 3).sum(0), rtol=1e-14)


def test_squares_beyond_the_range_of_float32_are_summed(vectors: list[torch.Tensor]) -> None:
    for size in (1e30, 1e-30):
        vector = torch.full((60,), size)
        assert float(norm(vector)) == pytest.approx(size * 60**0.5, rel=1e-6)
        assert float(dot(vector, vector)) == pytest.approx(60 * size**2, rel=1e-6)


def test_no_elements_have_the_norm_zero() -> None:
    nothing = torch.zeros(0)
    assert numbers(norm(nothing), dot(nothing, nothing)) == [0, 0]
    assert numbers() == []


def test_numbers_of_any_shape_are_read_once() -> None:
    with Waits() as waits:
        values = numbers(torch.tensor(1.5, requires_grad=True), torch.tensor([2.0, 3.0]), torch.tensor(4))
    assert values == [1.5, 2, 3, 4]
    assert waits.total == 1
