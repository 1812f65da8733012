"""Sketches of tensors, and the pieces in which tensors are read."""

import pytest
import torch

from landscape.objective.sketches import _AT_ONCE, BUCKETS, pieces, sketch

WIDE = torch.randn(300, 700, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
TENSORS = {
    "contiguous": WIDE,
    "transposed": WIDE.T,
    "permuted": WIDE.view(300, 7, 100).permute(2, 0, 1),
    "number": torch.tensor(2.0).double(),
    "empty": torch.zeros(0, 3).double(),
}


@pytest.mark.parametrize("name", TENSORS)
def test_the_pieces_of_a_tensor_are_its_entries_in_order(name: str) -> None:
    tensor = TENSORS[name]
    firsts, parts = zip(*pieces(tensor), strict=True)
    assert torch.equal(torch.cat(parts), tensor.flatten())
    assert list(firsts) == [sum(map(len, parts[:k])) for k in range(len(parts))]
    assert max(map(len, parts)) <= _AT_ONCE


@pytest.mark.parametrize("name", ["transposed", "permuted"])
def test_a_sketch_does_not_depend_on_the_order_in_memory(name: str) -> None:
    tensor = TENSORS[name]
    assert torch.allclose(sketch(tensor, 1), sketch(tensor.contiguous(), 1), atol=1e-12)


def test_a_sketch_is_linear_and_has_about_the_norm_of_the_tensor() -> None:
    other = WIDE.flip(0)
    assert torch.allclose(sketch(WIDE + 2 * other, 1), sketch(WIDE, 1) + 2 * sketch(other, 1), atol=1e-10)
    # The standard deviation of the squared norm is √(2/BUCKETS) of it.
    assert float(sketch(WIDE, 1).norm() / WIDE.norm()) == pytest.approx(1, abs=4 * (0.5 / BUCKETS) ** 0.5)
