"""The trace of the Hessian, layer by layer."""

import torch

from landscape.curvature.trace import HessianTrace
from landscape.curvature.trace import hessian_trace as best_trace
from landscape.measures.hessian_trace import trace_spends
from landscape.measures.reading import Reading, measure_named
from landscape.objective import Objective
from landscape.registry.bounds import Positive, PositiveInt, Seed


@measure_named("layer-traces", unit="loss/θ²", spends=trace_spends)
def layer_traces(
    objective: Objective, *, tolerance: Positive = 0.02, max_probes: PositiveInt = 1000, seed: Seed = 0
) -> Reading:
    """The trace of every parameter tensor's diagonal block of ∇²L(θ); the value is their sum, Tr ∇²L(θ).

    The details hold ``layers`` by parameter name and their standard errors. The computation is that of
    :func:`~landscape.measures.hessian_trace`, with which it is shared.

    Args:
        objective: Where.
        tolerance: Standard error of the sum to reach, relative to it.
        max_probes: Probes at the most.
        seed: Of the probes.

    Reference:
        Yao et al. 2020, arXiv 1912.07145, section 4.
    """
    found: HessianTrace = objective.remembered(
        ("trace by layer", tolerance, max_probes, seed),
        lambda: best_trace(
            objective,
            tolerance=tolerance,
            max_passes=max_probes,
            generator=torch.Generator().manual_seed(seed),
        ),
    )
    names = objective.layout.names
    errors = found.layer_errors
    return Reading(
        found.value,
        found.standard_error,
        found.converged,
        found.passes,
        {
            "layers": dict(zip(names, found.layers.tolist(), strict=True)),
            "standard_errors": None if errors is None else dict(zip(names, errors.tolist(), strict=True)),
            "method": found.way,
            "proof": found.proof,
            "probes": found.passes,
            **({} if found.rounding is None else {"rounding": found.rounding}),
        },
    )
