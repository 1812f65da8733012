"""The trace of the Hessian, layer by layer."""

from landscape.measures.hessian_trace import described, trace_by_layer, trace_cost
from landscape.measures.reading import Reading, measure_named
from landscape.objective import Objective
from landscape.registry.bounds import Positive, PositiveInt, Seed


@measure_named("layer-traces", unit="loss/θ²", cost=trace_cost)
def layer_traces(
    objective: Objective, *, tolerance: Positive = 0.02, max_probes: PositiveInt = 1000, seed: Seed = 0
) -> Reading:
    """The trace of every parameter tensor's diagonal block of ∇²L(θ); the value is their sum, Tr ∇²L(θ).

    The details hold ``layers`` by parameter name and their standard errors. The computation is shared with
    :func:`~landscape.measures.hessian_trace`.

    Args:
        objective: The point.
        tolerance: Standard error of the sum to reach, relative to it.
        max_probes: The most probes.
        seed: Of the probes.

    Reference:
        Yao et al. 2020, arXiv 1912.07145, section 4.
    """
    trace = objective.cached(trace_by_layer, tolerance=tolerance, max_probes=max_probes, seed=seed)
    names, errors = objective.layout.names, trace.layer_errors
    how = described(trace)
    del how["gauss_newton_trace"]  # a number of the whole network
    details = {
        "layers": dict(zip(names, trace.layers.tolist(), strict=True)),
        "standard_errors": None if errors is None else dict(zip(names, errors.tolist(), strict=True)),
        **how,
    }
    return Reading(trace.value, trace.standard_error, trace.converged, trace.passes, details)
