"""Unit vectors, lengths and orthogonal parts, also where there is no direction or only rounding."""

import pytest
import torch

from landscape.optim.vector import length, orthogonal, significant, unit


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_unit_of_zero_is_zero_in_every_precision(dtype: torch.dtype) -> None:
    assert torch.equal(unit(torch.zeros(3, dtype=dtype)), torch.zeros(3, dtype=dtype))


def test_unit_of_half_precision_does_not_overflow() -> None:
    x = torch.full((4,), 3e4, dtype=torch.float16)
    assert torch.equal(unit(x), torch.full((4,), 0.5, dtype=torch.float16))
    assert unit(x, times=2.0, out=x) is x


def test_unit_is_zero_where_there_is_no_direction() -> None:
    assert torch.equal(unit(torch.zeros(3)), torch.zeros(3))
    assert torch.equal(unit(torch.full((3,), 1e30)), torch.zeros(3))
    torch.testing.assert_close(unit(torch.tensor([3.0, 4.0]), times=5.0), torch.tensor([3.0, 4.0]))


def test_the_orthogonal_part_is_defined_for_a_zero_vector() -> None:
    x = torch.tensor([1.0, 2.0])
    assert torch.equal(orthogonal(x, to=torch.zeros(2)), x)
    assert torch.equal(orthogonal(x, to=torch.tensor([0.0, 4.0])), torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_difference_that_is_only_rounding_is_zero(dtype: torch.dtype) -> None:
    whole = torch.randn(100, dtype=dtype, generator=torch.Generator().manual_seed(0))
    rounding = torch.finfo(dtype).eps * whole / 2
    assert not significant(rounding.clone(), of=whole).any()
    assert torch.equal(significant(100 * rounding, of=whole), 100 * rounding)


def test_the_length_of_half_precision_does_not_overflow() -> None:
    assert length(torch.full((4,), 60000.0, dtype=torch.float16)).item() == 120000.0
    assert length(torch.tensor([3.0, 4.0], dtype=torch.float64)).item() == 5.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype, device: torch.device) -> None:
    """The factor of the first, 1e5, and the squares of the second are beyond the range of float16."""
    x, y = (torch.tensor(values, dtype=dtype, device=device) for values in ([6e-4, 8e-4], [1e-4, 0]))
    for times in (100.0, torch.full_like(x, 100.0)):
        torch.testing.assert_close(unit(x, times=times).cpu(), torch.tensor([60, 80], dtype=dtype))
    expected = torch.tensor([0, 8e-4], dtype=dtype)
    torch.testing.assert_close(orthogonal(x, to=y).cpu(), expected, rtol=0, atol=1e-9)
    assert orthogonal(x, to=y, out=x) is x
    torch.testing.assert_close(x.cpu(), expected, rtol=0, atol=1e-9)
