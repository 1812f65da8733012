"""Preconditioned sharpness: the largest eigenvalue of the Hessian as an adaptive optimizer sees it."""

from torch import Tensor

from landscape.curvature.eigenpairs import preconditioned_eigenpair
from landscape.curvature.preconditioning import Preconditioner
from landscape.measures.expected import Expected, Short, basis_growth
from landscape.measures.reading import Reading, measure_named
from landscape.objective import Objective
from landscape.records.estimate import Cost
from landscape.registry.bounds import Positive, PositiveInt, Seed


@measure_named(
    "preconditioned-sharpness",
    unit="loss/step²",
    cost=lambda _, options: Expected(
        Cost(gradients=2, products=6), high={"products": 26}, budget={"products": options["max_products"]}
    ),
    short=lambda first, short, settings: Short(
        basis_growth(first, (short["max_products"], settings["max_products"]))
    ),
)
def preconditioned_sharpness(
    objective: Objective,
    *,
    tolerance: Positive = 1e-3,
    max_products: PositiveInt = 200,
    seed: Seed = 0,
    preconditioner: Preconditioner | None = None,
    start: Tensor | None = None,
) -> Reading:
    """λ_max(P⁻½HP⁻½), algebraic, with P the matrix by which the optimizer divides its step.

    With Adam P = (1 − β₁ᵗ)(√(v/(1 − β₂ᵗ)) + ε); with SGD, and where no optimizer is known, P = I. Training with steps
    of learning rate η is unstable above a threshold, which is in the details, with the value's share of it: 2/η for
    gradient descent, (2 + 2β)/η with momentum, (2 + 2β₁)/((1 − β₁)η) for Adam.

    Args:
        objective: The point.
        tolerance: Of the residual, relative to the eigenvalue.
        max_products: The most Hessian products to spend.
        seed: Of the random part of the start.
        preconditioner: P with its threshold.
        start: The first vector ``(n,)``, such as the eigenvector of a point nearby; by default P⁻½∇L(θ).

    Reference:
        Cohen et al. 2021, arXiv 2103.00065, eq. 1 and appendix B; Cohen et al. 2022, arXiv 2207.14484, section 3.
    """
    pairs = preconditioned_eigenpair(
        objective,
        preconditioner=preconditioner,
        tolerance=tolerance,
        max_products=max_products,
        seed=seed,
        start=start,
    )
    value = float(pairs.values[0])
    details: dict[str, object] = {"residual": float(pairs.residuals[0]), "iterations": pairs.products}
    if preconditioner is not None:
        details |= {
            "optimizer": preconditioner.optimizer,
            "threshold": preconditioner.threshold,
            "share_of_threshold": value / preconditioner.threshold,
        }
    return Reading(value, converged=pairs.converged, details=details)
