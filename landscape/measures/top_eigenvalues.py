"""Several eigenvalues at one end of the Hessian's spectrum."""

from torch import Tensor

from landscape.curvature import OperatorName, eigenpairs
from landscape.linalg.lanczos import End
from landscape.measures.expected import Expected, Short, basis_growth
from landscape.measures.reading import Reading, measure_named
from landscape.objective import Objective
from landscape.records.estimate import Cost
from landscape.registry.bounds import Positive, PositiveInt, Seed


@measure_named(
    "top-eigenvalues",
    unit="loss/θ²",
    cost=lambda _, options: Expected(
        Cost(gradients=2, products=5 + 2 * options["k"]),
        high={"products": 25 + 8 * options["k"]},
        budget={"products": options["max_products"]},
    ),
    short=lambda first, short, settings: Short(
        basis_growth(first, (short["max_products"], settings["max_products"]), count=settings["k"])
    ),
)
def top_eigenvalues(
    objective: Objective,
    *,
    k: PositiveInt = 5,
    end: End = "magnitude",
    operator: OperatorName = "hessian",
    tolerance: Positive = 1e-3,
    max_products: PositiveInt = 200,
    seed: Seed = 0,
    start: Tensor | None = None,
) -> Reading:
    """The k eigenvalues of ∇²L(θ) of largest magnitude, or at the upper or lower end; the value is the first.

    By Lanczos with full reorthogonalisation from the gradient. All of them, with their residuals, are in the
    details; their vectors come from :func:`landscape.curvature.eigenpairs`. A residual bounds the distance to *an*
    eigenvalue; it does not prove that none was missed, and one Krylov space holds an eigenvalue once however often it
    occurs. For k > 1 the search therefore continues from random vectors orthogonal to the whole search space, until
    one confirms the values: ``multiplicity_confirmed`` in the details, without which they are not converged. Not
    excluded are an eigenvalue that exceeds the last one by less than 2 %, and, with a probability of at most 1 %,
    one that exceeds it by more.

    Args:
        objective: The point.
        k: The number of eigenvalues.
        end: The end of the spectrum: largest magnitude, largest or smallest.
        operator: The matrix: the Hessian, the generalised Gauss–Newton or the empirical Fisher matrix.
        tolerance: Of each residual, relative to its eigenvalue.
        max_products: The most Hessian products to spend.
        seed: Of the random part of the start.
        start: The first vector ``(n,)``, such as an eigenvector of a point nearby; by default the gradient.

    Reference:
        Golub and Van Loan, "Matrix Computations", 4th ed., section 10.1; Wu and Simon 2000.
    """
    pairs = eigenpairs(
        objective,
        k=k,
        end=end,
        operator=operator,
        tolerance=tolerance,
        max_products=max_products,
        seed=seed,
        start=start,
    )
    return Reading(
        float(pairs.values[0]),
        converged=pairs.converged,
        details={
            "eigenvalues": pairs.values.tolist(),
            "residuals": pairs.residuals.tolist(),
            "residual": float(pairs.residuals.max()),
            "iterations": pairs.products,
            "multiplicity_confirmed": pairs.confirmed,
        },
    )
