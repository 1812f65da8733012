"""The plane in which sharpness-aware minimisation sees the loss: its ascent direction, and a random one."""

from landscape.errors import InputError
from landscape.objective import Objective
from landscape.registry.bounds import Seed
from landscape.surfaces.directions import Directions
from landscape.surfaces.normalisation import Normalisation
from landscape.surfaces.random_directions import label, random_direction


def sam_direction(
    objective: Objective, *, normalisation: Normalisation = "filter", seed: Seed = 0
) -> Directions:
    """∇L(θ)/‖∇L(θ)‖, along which a coordinate is SAM's radius ρ, and a random direction.

    The first moves all parameters, biases and gains too, as SAM does.

    Args:
        objective: Where.
        normalisation: Of the random direction: ``filter``, ``layer`` or ``none``.
        seed: Which random direction.

    Raises:
        InputError: The gradient is zero or not finite.

    Reference:
        Foret, Kleiner, Mobahi and Neyshabur, "Sharpness-aware minimization", 2021, arXiv:2010.01412, eq. 2.
    """
    gradient = objective.gradient
    length = float(gradient.double().norm())
    if not 0 < length < float("inf"):
        raise InputError(
            f"the gradient at the checkpoint has length {length}: it points nowhere; use --plane random"
        )
    return Directions(
        x=gradient / length,
        y=random_direction(objective, normalisation=normalisation, seed=seed, axis=2),
        labels=("ascent direction, ρ", label(normalisation)),
        details={"gradient_norm": length},
    )
