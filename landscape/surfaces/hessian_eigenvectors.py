"""The plane spanned by two Hessian eigenvectors."""

from typing import Literal

from landscape.curvature import eigenpairs
from landscape.errors import UsageError
from landscape.objective import Objective
from landscape.registry.bounds import Positive, PositiveInt, Seed
from landscape.surfaces.directions import Directions


def hessian_eigenvectors(
    objective: Objective,
    *,
    end: Literal["magnitude", "largest", "smallest"] = "magnitude",
    tolerance: Positive = 1e-3,
    max_products: PositiveInt = 200,
    seed: Seed = 0,
) -> Directions:
    """Two eigenvectors of ∇²L(θ) of length 1: near θ, L is ``L(θ) + gᵀd + ½(λ₁a² + λ₂b²)``.

    The eigenvalues are those of largest magnitude, or the upper or lower end of the spectrum. The file records them,
    their residuals, and whether every residual is within ``tolerance``, relative to its eigenvalue.

    Reference:
        Yao et al., "PyHessian: neural networks through the lens of the Hessian", 2020, arXiv:1912.07145, section 4.
    """
    if objective.dimension < 2:
        raise UsageError("one parameter has no two eigenvectors; use --plane line:normalisation=none")
    pairs = eigenpairs(objective, k=2, end=end, tolerance=tolerance, max_products=max_products, seed=seed)
    vectors = []
    for vector in pairs.vectors.T:
        unit = vector / objective.shards.norm(vector).to(vector)
        # An eigenvector has no sign of its own: this one keeps figures of different runs from being mirrored.
        vectors.append(unit * objective.shards.largest(unit).sign())
    return Directions(
        x=vectors[0].contiguous(),
        y=vectors[1].contiguous(),
        labels=tuple(f"eigenvector {k + 1}, λ = {float(value):.3g}" for k, value in enumerate(pairs.values)),
        details={
            "eigenvalues": pairs.values.tolist(),
            "residuals": pairs.residuals.tolist(),
            "converged": pairs.converged,
            "products": pairs.products,
        },
    )
