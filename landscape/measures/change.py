"""How much worse a point is than the objective's own, in loss or in accuracy, and why that cannot be said."""

from typing import Literal

from landscape.objective import Objective

Quantity = Literal["loss", "accuracy"]
"""A rise of the mean loss, or a fall of the share of correct examples."""


def worsening(objective: Objective, quantity: Quantity, there: tuple[float, float | None]) -> float:
    """The rise of the loss, or the fall of the accuracy, from the objective's point to one with these values."""
    loss, accuracy = there
    if quantity == "loss":
        return loss - objective.loss
    assert objective.accuracy is not None  # see unmeasurable
    assert accuracy is not None
    return objective.accuracy - accuracy


def unmeasurable(objective: Objective, quantity: Quantity, target: float) -> str:
    """Why this objective cannot become worse by ``target``; empty if nothing is known against it."""
    if quantity == "loss":
        return ""
    if objective.accuracy is None:
        return "the outputs are not class scores; use quantity=loss"
    if objective.accuracy < target:
        return f"the accuracy is {objective.accuracy:.3g}, and cannot fall by {target:g}"
    return ""


def size_of_weights(objective: Objective) -> float:
    """‖θ‖, or 1 where all weights are zero: where a search for a distance starts from."""
    return float(objective.shards.norm(objective.point)) or 1.0
