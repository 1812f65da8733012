"""The Hessian eigenvalue of largest magnitude."""

import torch

from landscape.curvature import hessian
from landscape.linalg import power_iteration
from landscape.measures.checks import positive
from landscape.measures.reading import Reading, measure_named
from landscape.objective import Objective


@measure_named("dominant-eigenvalue", unit="loss/θ²")
def dominant_eigenvalue(
    objective: Objective, *, tolerance: float = 1e-3, max_iterations: int = 200, seed: int = 0
) -> Reading:
    """λ, the eigenvalue of ∇²L(θ) of largest magnitude, with its sign, by power iteration.

    Converged when the residual ‖∇²L v − λv‖ is at most ``tolerance``·|λ|. The residual (in the details)
    bounds the distance from λ to *an* eigenvalue; the error of λ itself is of the order of its square.

    Args:
        objective: Where.
        tolerance: Of the relative residual.
        max_iterations: Hessian products at the most.
        seed: Of the random start.

    Reference:
        Yao et al. 2020, arXiv 1912.07145, algorithm 2, with a stopping rule on the residual instead of on
        the change of λ.
    """
    positive(tolerance=tolerance, max_iterations=max_iterations)
    found = power_iteration(
        hessian(objective),
        tolerance=tolerance,
        max_iterations=max_iterations,
        generator=torch.Generator().manual_seed(seed),
        on_step=lambda step, value, residual: objective.ledger.tell(
            f"eigenvalue {value:.4g}, residual {residual:.2g}", step / max_iterations
        ),
    )
    return Reading(
        found.value,
        converged=found.converged,
        details={"residual": found.residual, "iterations": found.iterations},
    )
