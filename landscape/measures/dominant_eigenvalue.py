"""The Hessian eigenvalue of largest magnitude."""

from collections.abc import Mapping
from typing import Any, Literal

import torch

from landscape.curvature import OPERATORS, OperatorName, eigenpairs
from landscape.curvature.eigenpairs import DOMINANT, suggested_start
from landscape.linalg import Decay, power_iteration
from landscape.measures.reading import Reading, Spending, measure_named
from landscape.objective import Objective
from landscape.records.estimate import Cost
from landscape.registry.bounds import Positive, PositiveInt, Seed


def _spends(objective: Objective, options: Mapping[str, Any]) -> Spending:
    return Spending(
        gradients=2,
        products=15 if options["method"] == "power" else 7,
        most=Cost(gradients=2, products=options["max_iterations"]),
    )


@measure_named("dominant-eigenvalue", unit="loss/θ²", spends=_spends)
def dominant_eigenvalue(
    objective: Objective,
    *,
    method: Literal["power", "lanczos"] = "power",
    operator: OperatorName = "hessian",
    tolerance: Positive = 1e-3,
    max_iterations: PositiveInt = 200,
    seed: Seed = 0,
) -> Reading:
    """λ, the eigenvalue of ∇²L(θ) of largest magnitude, with its sign.

    Converged when the residual ‖∇²L v − λv‖ is at most ``tolerance``·|λ|. The residual (in the details)
    bounds the distance from λ to *an* eigenvalue; the error of λ itself is of the order of its square. The vector:
    :func:`landscape.curvature.eigenpairs`.

    Args:
        objective: Where.
        method: ``"power"`` iteration, which the papers name, or ``"lanczos"`` from the gradient, which needs fewer
            products.
        operator: Of which matrix: the Hessian, the generalised Gauss–Newton or the empirical Fisher matrix.
        tolerance: Of the relative residual.
        max_iterations: Hessian products at the most.
        seed: Of the random start.

    Reference:
        Yao et al. 2020, arXiv 1912.07145, algorithm 2, with a stopping rule on the residual instead of on
        the change of λ.
    """
    generator = torch.Generator().manual_seed(seed)

    decay = Decay(tolerance, max_iterations)

    def report(step: int, value: float, residual: float) -> None:
        words = f"eigenvalue {value:.4g}, residual {residual:.1e}, wanted {tolerance:.1e}"
        objective.ledger.tell(words, decay.share(step, residual))

    start = suggested_start(objective)
    began = "random" if method == "power" else "gradient"
    details = {"start": began if start is None else "suggested"}
    if method == "lanczos":
        pairs = eigenpairs(
            objective,
            k=1,
            operator=operator,
            tolerance=tolerance,
            max_products=max_iterations,
            seed=seed,
            on_step=report,
        )
        if operator == "hessian":
            objective.remembered(DOMINANT, lambda: pairs.vectors[:, 0])
        return Reading(
            float(pairs.values[0]),
            converged=pairs.converged,
            details={"residual": float(pairs.residuals[0]), "iterations": pairs.products, **details},
        )
    found = power_iteration(
        OPERATORS[operator](objective),
        tolerance=tolerance,
        max_iterations=max_iterations,
        generator=generator,
        start=start,
        on_step=report,
    )
    if operator == "hessian":
        objective.remembered(DOMINANT, lambda: found.vector)
    return Reading(
        found.value,
        converged=found.converged,
        details={"residual": found.residual, "iterations": found.iterations, **details},
    )
