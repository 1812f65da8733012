"""Bounds of numbers in annotations."""

import dataclasses
from typing import Annotated, Literal

import pytest

from landscape.errors import UsageError
from landscape.registry.bounds import Integer, Positive, PositiveInt, Real, Seed, bounds, limit_of


@pytest.mark.parametrize(
    ("limit", "allowed", "refused"),
    [
        (Real(0), [0, 0.0, 1e-200, 3], [-1e-9, float("nan"), float("inf"), "0.1", None]),
        (Real(0, 1, open_low=True), [1e-99, 1], [0, 1e-101, 1.1]),
        (Real(0, 1, open_high=True), [0, 0.999], [1, -0.1]),
        (Integer(1), [1, 2**31 - 1], [0, 2**31, 1.0, True, "1", None]),
    ],
)
def test_values_inside_are_returned_and_others_are_refused(limit, allowed, refused):
    for value in allowed:
        assert limit.check("x", value) == value
    for value in refused:
        with pytest.raises(UsageError, match=r"owner: x=.* is not allowed: x must be"):
            limit.check("x", value, "owner")
    assert dataclasses.replace(limit, optional=True).check("x", None) is None


def test_the_bounds_of_a_function_are_in_its_annotations_also_of_optional_parameters():
    def function(
        objective: object,
        *,
        rho: Positive = 0.1,
        seed: Seed | None = None,
        kind: Literal["a", "b"] = "a",
        plain: int = 1,
    ) -> Annotated[float, Real(0)]:
        return rho

    assert set(bounds(function)) == {"rho", "seed", "kind"}
    with pytest.raises(UsageError, match="kind='c' is not allowed: kind must be one of a, b"):
        bounds(function)["kind"].check("kind", "c")
    assert limit_of(PositiveInt) == Integer(1)
    assert limit_of(int) is None
