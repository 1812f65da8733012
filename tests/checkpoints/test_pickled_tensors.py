"""The bounds of what a pickle may make of its memory, which torch's own function would enlarge."""

import pytest
import torch

from landscape.checkpoints.inert import MOST_DIMENSIONS
from landscape.checkpoints.pickled_tensors import ADMITTED, Memory


def made(name, *arguments):
    return ADMITTED[name].make(*arguments)


def view(offset, size, stride, *rest):
    memory = Memory(torch.arange(4.0).untyped_storage(), torch.float32)
    tensor = made("torch._utils._rebuild_tensor_v2", memory, offset, size, stride, *rest)
    assert memory.storage.nbytes() == 16
    return tensor


ONES = (1,) * MOST_DIMENSIONS


@pytest.mark.parametrize(
    ("offset", "size", "stride", "expected"),
    [
        (0, (4,), (1,), [0, 1, 2, 3]),
        (1, (3,), (1,), [1, 2, 3]),
        (0, (2,), (3,), [0, 3]),
        (1, (2, 2), (1, 1), [[1, 2], [2, 3]]),
        (3, (), (), 3),
        (4, (0,), (1,), []),
        (0, (0, 9), (9, 1), []),
    ],
)
def test_a_view_within_its_memory_is_made(offset, size, stride, expected):
    assert view(offset, size, stride).tolist() == expected
    assert view(0, ONES, ONES).shape == ONES


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (5,), (1,)),
        (1, (4,), (1,)),
        (0, (2,), (4,)),
        (0, (2, 2), (3, 1)),
        (4, (), ()),
        (5, (0,), (1,)),
        (-1, (2,), (1,)),
        (0, (-1,), (1,)),
        (0, (1.0,), (1,)),
        (0.0, (4,), (1,)),
        (0, [4], (1,)),
        (0, (4,), [1]),
        (0, (2, 2), (1,)),
        (0, (*ONES, 1), (*ONES, 1)),
    ],
)
def test_a_view_beyond_its_memory_is_refused(offset, size, stride):
    with pytest.raises(ValueError):  # noqa: PT011
        view(offset, size, stride)


def test_numbers_of_another_type_are_counted_by_their_bytes():
    assert view(0, (2,), (1,), False, {}, torch.float64).dtype == torch.float64
    with pytest.raises(ValueError):  # noqa: PT011
        view(0, (3,), (1,), False, {}, torch.float64)
    with pytest.raises(ValueError):  # noqa: PT011
        made("torch._utils._rebuild_tensor_v2", torch.zeros(4), 0, (4,), (1,))


def test_other_calls_take_what_they_are_for():
    of_type, tensor = "torch._tensor._rebuild_from_type_v2", ADMITTED["torch._utils._rebuild_tensor_v2"]
    memory = Memory(torch.arange(4.0).untyped_storage(), torch.float32)
    assert made(of_type, tensor, torch.Tensor, (memory, 0, (2,), (1,)), None).tolist() == [0, 1]
    counter = ADMITTED["collections.OrderedDict"]
    for arguments in [(tensor, None, [memory, 0, (2,), (1,)]), (counter, None, ()), (torch.add, None, ())]:
        with pytest.raises(ValueError):  # noqa: PT011
            made(of_type, *arguments)
    assert made("collections.OrderedDict", [("a", 1)]) == {"a": 1}
    for arguments in [("ab",), ([], [])]:
        with pytest.raises(ValueError):  # noqa: PT011
            made("collections.OrderedDict", *arguments)
    assert made("_codecs.encode", "é", "latin1") == b"\xe9"
    for arguments in [(b"e", "latin1"), ("e", "utf-8")]:
        with pytest.raises(ValueError):  # noqa: PT011
            made("_codecs.encode", *arguments)
