"""Nested results of two computations, compared number by number."""

import pytest


def differences(found, expected, tolerance, place=""):
    """Where two results differ: in a number by more than the tolerance, relative to it where it is above 0.1.

    Details that are differences of measured numbers have ten times their rounding.
    """
    if isinstance(expected, dict) and isinstance(found, dict) and found.keys() == expected.keys():
        return [
            d for key in expected for d in differences(found[key], expected[key], tolerance, f"{place}/{key}")
        ]
    if (
        isinstance(expected, (list, tuple))
        and isinstance(found, (list, tuple))
        and len(found) == len(expected)
    ):
        pairs = enumerate(zip(found, expected, strict=True))
        return [d for k, pair in pairs for d in differences(*pair, tolerance, f"{place}[{k}]")]
    if isinstance(expected, float) and isinstance(found, float):
        allowed = 10 * tolerance if "/details/" in place else tolerance
        same = found == pytest.approx(expected, rel=allowed, abs=allowed / 10, nan_ok=True)
    else:
        same = found == expected
    return [] if same else [f"{place}: {found} instead of {expected}"]
