"""Lengths, and differences that are only rounding."""

import pytest
import torch

from landscape.optim.vector import length, significant


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_difference_that_is_only_rounding_is_zero(dtype: torch.dtype) -> None:
    whole = torch.randn(100, dtype=dtype, generator=torch.Generator().manual_seed(0))
    rounding = torch.finfo(dtype).eps * whole / 2
    assert not significant(rounding.clone(), of=whole).any()
    assert torch.equal(significant(100 * rounding, of=whole), 100 * rounding)


def test_the_length_of_half_precision_does_not_overflow() -> None:
    assert length(torch.full((4,), 60000.0, dtype=torch.float16)).item() == 120000.0
    assert length(torch.tensor([3.0, 4.0], dtype=torch.float64)).item() == 5.0
