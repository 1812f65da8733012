"""The trace of the Hessian."""

from typing import Literal

import torch

from landscape.curvature import hessian
from landscape.linalg import hutchinson
from landscape.measures.checks import positive
from landscape.measures.reading import Reading, measure_named
from landscape.objective import Objective


@measure_named("hessian-trace", unit="loss/θ²")
def hessian_trace(
    objective: Objective,
    *,
    method: Literal["auto", "hutchinson"] = "auto",
    tolerance: float = 0.02,
    max_probes: int = 1000,
    seed: int = 0,
) -> Reading:
    """Tr ∇²L(θ), the sum of all Hessian eigenvalues.

    Stops when the standard error is at most ``tolerance``·|estimate|; never on the change of the mean.

    Args:
        objective: Where.
        method: ``"hutchinson"`` draws Rademacher probes, the same over all the data; ``"auto"`` takes the
            cheapest method that applies, which today is that one.
        tolerance: Relative standard error to reach.
        max_probes: Probes at the most; beyond them the estimate is returned as not converged.
        seed: Of the probes.

    Reference:
        Hutchinson 1989; Wu, Luo and Wunsch 2024, arXiv 2312.13555, eq. 5.
    """
    positive(tolerance=tolerance, max_probes=max_probes)

    def report(probes: int, value: float, error: float) -> None:
        needed = probes * (error / (tolerance * abs(value))) ** 2 if value else max_probes
        objective.ledger.tell(
            f"trace {value:.4g} ± {error:.2g}", probes / max(probes, min(needed, max_probes))
        )

    found = hutchinson(
        hessian(objective),
        tolerance=tolerance,
        max_probes=max_probes,
        generator=torch.Generator().manual_seed(seed),
        on_step=report,
    )
    return Reading(
        found.value,
        found.standard_error,
        found.converged,
        details={"method": "hutchinson", "probes": len(found.samples)},
    )
