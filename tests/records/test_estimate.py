"""One estimate, as it is shown where it is typed."""

import math

import pytest
from records_made import estimate


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"value": 428.71234, "error": 3.14, "converged": True}, "428.712 ± 3.1 loss/θ², converged"),
        ({"value": 1e-9, "error": 0.0, "converged": False}, "1e-09 ± 0 loss/θ², not converged"),
        ({"value": -2.0}, "-2 loss/θ²"),
        ({"value": math.nan, "details": {"undefined": "it is 0/0"}}, "nan loss/θ², undefined: it is 0/0"),
    ],
)
def test_an_estimate_is_shown_with_its_error_in_one_line(fields, text):
    assert repr(estimate(**fields)) == f"Estimate(hessian-trace = {text})"
