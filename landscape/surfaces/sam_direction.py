"""The plane spanned by SAM's ascent direction and a random direction."""

from landscape.errors import InputError
from landscape.objective import Objective
from landscape.registry.bounds import Seed
from landscape.surfaces.directions import Directions
from landscape.surfaces.random_directions import Normalisation, label, random_direction


def sam_direction(
    objective: Objective, *, normalisation: Normalisation = "filter", seed: Seed = 0
) -> Directions:
    """∇L(θ)/‖∇L(θ)‖, along which a coordinate is SAM's radius ρ, and a random direction.

    The first moves all parameters, biases and gains included, as SAM does. The options are those of the second.

    Reference:
        Foret, Kleiner, Mobahi and Neyshabur, "Sharpness-aware minimization", 2021, arXiv:2010.01412, eq. 2.
    """
    gradient = objective.gradient
    length = float(objective.shards.norm(gradient))
    if not 0 < length < float("inf"):
        raise InputError(
            f"the gradient at the checkpoint has length {length} and therefore no direction; use --plane random"
        )
    return Directions(
        x=gradient / length,
        # Axis 2, so that the second axis is that of plane 'random' with the same seed.
        y=random_direction(objective, normalisation=normalisation, seed=seed, axis=2),
        labels=("ascent direction, ρ", label(normalisation)),
        details={"gradient_norm": length},
    )
