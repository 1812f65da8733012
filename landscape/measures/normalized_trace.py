"""The normalized Hessian trace: curvature that does not shrink merely because the gradient does."""

import math

from landscape.limits import Positive, PositiveInt, Seed
from landscape.measures.gradient_norm import gradient_norm
from landscape.measures.hessian_trace import hessian_trace, trace_spends
from landscape.measures.reading import Reading, measure_named
from landscape.objective import Objective


@measure_named("normalized-trace", unit="1/θ", spends=trace_spends)
def normalized_trace(
    objective: Objective, *, tolerance: Positive = 0.02, max_probes: PositiveInt = 1000, seed: Seed = 0
) -> Reading:
    """C(θ) = Tr ∇²L(θ) / ‖∇L(θ)‖.

    Undefined (NaN) where the gradient is zero. The standard error is that of the trace over ‖∇L‖; the trace
    is shared with :func:`~landscape.measures.hessian_trace` when its options are the same.

    Args:
        objective: Where.
        tolerance: Relative standard error of the trace to reach.
        max_probes: Probes at the most.
        seed: Of the probes.

    Reference:
        Wu, Luo and Wunsch 2024, arXiv 2312.13555, eq. 4.
    """
    trace = hessian_trace(objective, tolerance=tolerance, max_probes=max_probes, seed=seed)
    norm = gradient_norm(objective).value
    details: dict[str, object] = {"trace": trace.value, "gradient_norm": norm, **trace.details}
    if norm == 0:
        return Reading(math.nan, details={**details, "undefined": "the gradient is zero"})
    error = None if trace.standard_error is None else trace.standard_error / norm
    if "rounding" in details:
        details["rounding"] = float(str(details["rounding"])) / norm
    return Reading(trace.value / norm, error, trace.converged, int(str(trace.details["probes"])), details)
