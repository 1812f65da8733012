"""The Fisher–Rao norm: the length of the weights in the metric of the Fisher matrix."""

import math
from typing import Literal

from landscape.measures.reading import Reading, measure_named
from landscape.objective import Objective
from landscape.records.estimate import Cost


@measure_named("fisher-rao-norm", unit="loss", cost=Cost(gradients=1, products=1))
def fisher_rao_norm(objective: Objective, *, labels: Literal["data", "model"] = "data") -> Reading:
    """‖θ‖_fr = √(θᵀFθ) with F = E[∇ℓ ∇ℓᵀ], the mean over the examples; exact, for one product.

    It does not change if layers of a ReLU network are rescaled against each other. With L + 1 such layers without
    biases θᵀ∇f = (L + 1) f, so that its square is (L + 1)² E⟨∂ℓ/∂f, f⟩².

    Args:
        objective: The point.
        labels: Whose labels the gradients are of: those of the ``"data"`` (the empirical Fisher matrix), or drawn from
            the ``"model"``, whose likelihood is exp(−ℓ): then F is the generalised Gauss–Newton matrix of
            cross-entropy and squared errors.

    Raises:
        UsageError: The examples or the outputs of the loss are not known.

    Reference:
        Liang et al. 2019, arXiv 1711.01530, definition 2 and theorem 3.1.
    """
    product = objective.empirical_fisher_product if labels == "data" else objective.gauss_newton_product
    squared = float(objective.shards.dot(objective.point, product(objective.point)))
    return Reading(math.sqrt(abs(squared)), details={"squared": squared})
