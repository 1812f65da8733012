"""NumPy arrays and numbers out of a file: what fits together becomes numbers, anything else nothing."""

import numpy as np
import pytest

from landscape.checkpoints.inert import Array, DType, Unused, scalar

SIX = np.arange(6, dtype="<i4").tobytes()


def dtype(code, order="<"):
    kind = DType(code, False, True)
    kind.__setstate__((3, order, None, None, None, -1, -1, 0))
    return kind


@pytest.mark.parametrize(
    ("state", "shape"),
    [
        ((1, (2, 3), dtype("i4"), False, SIX), (2, 3)),
        ((1, (6,), dtype("i4"), False, SIX), (6,)),
        ((1, (0, 3), dtype("i4"), False, b""), (0, 3)),
        ((1, (), dtype("i4"), False, SIX[:4]), ()),
        ((1, (1, 6), dtype("i4"), None, SIX), (1, 6)),
        ((1, (5,), dtype("i4"), False, SIX), None),
        ((1, (-2, -3), dtype("i4"), False, SIX), None),
        ((1, (2, 3.0), dtype("i4"), False, SIX), None),
        ((1, [2, 3], dtype("i4"), False, SIX), None),
        ((1, (2, 3), dtype("i4"), False, SIX[:-1]), None),
        ((1, (2, 3), dtype("O8"), False, bytes(48)), None),
        ((1, (2, 3), "i4", False, SIX), None),
        ((1, (2, 3), dtype("i4"), False, "text of 24 characters ..."), None),
        ((1, (2, 3), dtype("i4"), False), None),
        ([1, (2, 3), dtype("i4"), False, SIX], None),
        ((1, (2, 3) + (1,) * 63, dtype("i4"), False, SIX), None),
        (None, None),
    ],
)
def test_an_array_is_a_tensor_where_its_parts_fit_together(state, shape):
    array = Array()
    array.__setstate__(state)
    tensor = array.tensor
    if shape is None:
        assert tensor is None
    else:
        assert tensor.shape == shape
        assert tensor.flatten().tolist() == list(range(tensor.numel()))


def test_columns_come_first_where_the_array_says_so():
    array = Array()
    array.__setstate__((1, (2, 3), dtype("i4"), True, SIX))
    assert array.tensor.tolist() == [[0, 2, 4], [1, 3, 5]]


@pytest.mark.parametrize(
    ("state", "order"),
    [((3, ">"), ">"), ((3, "|", None), "|"), ((3,), "<"), ((3, "?"), "<"), ([3, ">"], "<"), (None, "<")],
)
def test_the_byte_order_is_the_second_part_of_the_state(state, order):
    kind = DType("i4")
    kind.__setstate__(state)
    assert kind.order == order


def test_a_scalar_is_exactly_one_number():
    assert scalar(dtype("i4"), SIX[4:8]) == 1
    assert scalar(dtype("i4", ">"), SIX[4:8]) == 2**24
    assert isinstance(scalar(dtype("i4"), SIX[:8]), Unused)
    assert isinstance(scalar(dtype("i4"), b""), Unused)
    assert isinstance(scalar(dtype("O8"), SIX[:8]), Unused)
