"""The normalized Hessian trace: curvature that does not shrink merely because the gradient does."""

import math

from landscape.measures.gradient_norm import gradient_norm
from landscape.measures.hessian_trace import hessian_trace, trace_cost
from landscape.measures.reading import Reading, measure_named
from landscape.objective import Objective
from landscape.registry.bounds import Positive, PositiveInt, Seed

# A gradient norm of less than three rounding errors may be rounding alone.
SIGNIFICANT = 3


@measure_named("normalized-trace", unit="1/θ", cost=trace_cost)
def normalized_trace(
    objective: Objective, *, tolerance: Positive = 0.02, max_probes: PositiveInt = 1000, seed: Seed = 0
) -> Reading:
    """C(θ) = Tr ∇²L(θ) / ‖∇L(θ)‖.

    Undefined (NaN) where the gradient is zero, or no larger than three times its rounding error. The standard error is
    that of the trace over ‖∇L‖; the trace is shared with :func:`~landscape.measures.hessian_trace` when its options are
    the same.

    Args:
        objective: The point.
        tolerance: Relative standard error of the trace to reach.
        max_probes: The most probes.
        seed: Of the probes.

    Reference:
        Wu, Luo and Wunsch 2024, arXiv 2312.13555, eq. 4.
    """
    trace = hessian_trace(objective, tolerance=tolerance, max_probes=max_probes, seed=seed)
    rounding, norm = objective.gradient_rounding, gradient_norm(objective).value
    details: dict[str, object] = {"trace": trace.value, "gradient_norm": norm, **trace.details}
    if norm == 0:
        return Reading(math.nan, details={**details, "undefined": "the gradient is zero"})
    if rounding is not None and norm <= SIGNIFICANT * rounding:
        reason = (
            f"the gradient is zero within rounding: its norm is {norm:.2g}, its rounding error {rounding:.1g}"
        )
        hint = "" if objective.provenance.dtype == "float64" else "; dtype=float64 resolves more"
        return Reading(math.nan, details={**details, "undefined": reason + hint})
    error = None if trace.standard_error is None else trace.standard_error / norm
    of_trace = float(str(details.get("rounding", 0.0))) / norm
    details["rounding"] = math.hypot(of_trace, trace.value / norm * (rounding or 0.0) / norm)
    return Reading(trace.value / norm, error, trace.converged, int(str(trace.details["probes"])), details)
