"""Directional sharpness: the curvature along the step that is about to be taken, by layer and between layers."""

import math

import torch
from torch import Tensor

from landscape.curvature.eigenpairs import start_of
from landscape.curvature.parts import Partition, parts_by
from landscape.measures.reading import Reading, measure_named
from landscape.objective import Objective
from landscape.records.estimate import Cost


@measure_named(
    "directional-sharpness",
    unit="loss/θ²",
    cost=lambda objective, options: Cost(
        gradients=1, products=1 + len(parts_by(objective, options["by"])) * options["between"]
    ),
)
def directional_sharpness(
    objective: Objective, *, by: Partition = "tensor", between: bool = False, update: Tensor | None = None
) -> Reading:
    """ΔᵀHΔ / ‖Δ‖² with Δ the optimizer's next update, or the gradient where no optimizer is known.

    The curvature that the step meets, at most λ_max. From one Hessian product; the details hold what each layer i
    adds, Δᵢᵀ(HΔ)ᵢ/‖Δ‖², whose sum is the value. With ``between`` one product more for every layer, and the details
    hold the matrix Δᵢᵀ H Δⱼ/‖Δ‖², which tells curvature within layers from that between them.

    Args:
        objective: The point.
        by: What a layer is: a parameter ``"tensor"``, a ``"block"`` of the network or a ``"head"`` of attention.
        between: Whether to compute the matrix.
        update: Δ ``(n,)``, of any length.

    Reference:
        Pan and Li 2023, arXiv 2306.00204, eq. 1; by layers arXiv 2606.04662.
    """
    direction = start_of(objective) if update is None else update
    dot = objective.shards.dot
    squared = float(dot(direction, direction))
    details: dict[str, object] = {"direction": "gradient" if update is None else "update"}
    if not squared > 0 or not math.isfinite(squared):
        return Reading(
            math.nan, details={**details, "undefined": "the direction is zero or not finite: it is no step"}
        )
    # Along the unit vector: products of long vectors would overflow where their curvature does not.
    unit = direction / squared**0.5
    image = objective.hessian_product(unit)
    parts = parts_by(objective, by)
    padded = {part.name: part.padded(objective, part.of(objective, unit)) for part in parts}
    details["layers"] = {name: float(dot(vector, image)) for name, vector in padded.items()}
    if between:
        images = [objective.hessian_product(vector) for vector in padded.values()]
        rows = [[float(dot(vector, each)) for each in images] for vector in padded.values()]
        matrix = torch.tensor(rows, dtype=torch.float64, device="cpu")
        details["between"] = ((matrix + matrix.mT) / 2).tolist()
        details["within"] = float(matrix.diagonal().sum())
    return Reading(float(dot(unit, image)), details=details)
