"""The Hessian eigenvalue of largest magnitude."""

from torch import Tensor

from landscape.curvature import OperatorName, dominant_eigenpair
from landscape.curvature.eigenpairs import Method
from landscape.measures.expected import Expected, Settings, Short, basis_growth
from landscape.measures.reading import Reading, measure_named
from landscape.objective import Objective
from landscape.records.estimate import Cost
from landscape.registry.bounds import Positive, PositiveInt, Seed


def _cost(objective: Objective, options: Settings) -> Expected:
    few, many = (15, 90) if options["method"] == "power" else (6, 26)
    budget = options["max_iterations"]
    return Expected(Cost(gradients=2, products=few), high={"products": many}, budget={"products": budget})


def _short(first: Objective, short: Settings, settings: Settings) -> Short:
    if settings["method"] == "power":
        return Short()
    return Short(basis_growth(first, (short["max_iterations"], settings["max_iterations"])))


@measure_named("dominant-eigenvalue", unit="loss/θ²", cost=_cost, short=_short)
def dominant_eigenvalue(
    objective: Objective,
    *,
    method: Method = "auto",
    operator: OperatorName = "hessian",
    tolerance: Positive = 1e-3,
    max_iterations: PositiveInt = 200,
    seed: Seed = 0,
    start: Tensor | None = None,
) -> Reading:
    """λ, the eigenvalue of ∇²L(θ) of largest magnitude, with its sign.

    Converged when the residual ‖∇²L v − λv‖ is at most ``tolerance``·|λ|. The residual (in the details)
    bounds the distance from λ to *an* eigenvalue; the error of λ itself is of the order of its square. The vector
    comes from :func:`landscape.curvature.dominant_eigenpair`.

    Args:
        objective: The point.
        method: ``"auto"`` is what needs the fewest products: ``"lanczos"``, started at the gradient; or ``"power"``
            iteration from a random start, which the papers name, and which does not converge where λ and −λ are close.
        operator: The matrix: the Hessian, the generalised Gauss–Newton or the empirical Fisher matrix.
        tolerance: Of the relative residual.
        max_iterations: The most Hessian products to spend.
        seed: Of the random start.
        start: The first vector ``(n,)``, such as the eigenvector of a point nearby: the same value within its
            residual, for fewer products.

    Reference:
        Yao et al. 2020, arXiv 1912.07145, algorithm 2, with a stopping rule on the residual instead of on
        the change of λ.
    """
    pair = dominant_eigenpair(
        objective,
        method=method,
        operator=operator,
        tolerance=tolerance,
        max_iterations=max_iterations,
        seed=seed,
        start=start,
    )
    default = "random" if method == "power" else "gradient"
    details = {
        "residual": pair.residual,
        "iterations": pair.iterations,
        "start": default if start is None else "suggested",
    }
    return Reading(pair.value, converged=pair.converged, details=details)
