"""Random directions, scaled like the weights they perturb."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape.errors import InputError
from landscape.objective import Objective
from landscape.registry.bounds import Seed
from landscape.surfaces.directions import Directions, standard_normal
from landscape.surfaces.normalisation import Normalisation, ignored, normalise

_LABELS = {"filter": "filter-normalised direction", "layer": "layer-normalised direction"}


def random_directions(
    objective: Objective, *, normalisation: Normalisation = "filter", seed: Seed = 0
) -> Directions:
    """Two independent Gaussian directions, rescaled to the weights at the objective's point.

    They are drawn alike for all checkpoints of one network and normalised for each. In high dimension they
    are nearly orthogonal, and are not made so; the cosine is recorded.

    Args:
        objective: Where.
        normalisation: ``filter``, ``layer`` or ``none``; :mod:`landscape.surfaces.normalisation` says how.
        seed: Which pair.

    Raises:
        InputError: All weights that could be moved are zero, or all parameters are biases and gains.

    Reference:
        Li et al., "Visualizing the loss landscape of neural nets", 2018, arXiv:1712.09913, section 4.
    """
    x, y = (random_direction(objective, normalisation=normalisation, seed=seed, axis=axis) for axis in (1, 2))
    name = label(normalisation)
    kept = held_back(objective, normalisation)
    return Directions(x=x, y=y, labels=(f"{name} 1", f"{name} 2"), ignored=kept)


def random_line(
    objective: Objective, *, normalisation: Normalisation = "filter", seed: Seed = 0
) -> Directions:
    """The first of the two directions of :func:`random_directions` alone: L(θ + a·x).

    Args:
        objective: Where.
        normalisation: ``filter``, ``layer`` or ``none``.
        seed: Which direction.
    """
    x = random_direction(objective, normalisation=normalisation, seed=seed, axis=1)
    return Directions(
        x=x, y=None, labels=(label(normalisation),), ignored=held_back(objective, normalisation)
    )


def random_direction(objective: Objective, *, normalisation: Normalisation, seed: int, axis: int) -> Tensor:
    """One Gaussian direction ``(n,)``, rescaled to the weights at the objective's point.

    Raises:
        InputError: It is zero.
    """
    entries = objective.layout.entries
    point = objective.point.detach().cpu().numpy()
    flat: NDArray[Any] = np.empty_like(point)
    for entry in entries:
        block = slice(entry.offset, entry.offset + entry.size)
        drawn = standard_normal(entry, seed=seed, axis=axis)
        flat[block] = normalise(drawn, point[block].astype(np.float64), entry, normalisation)
    if not flat.any():
        kept = held_back(objective, normalisation)
        raise InputError(
            f"the {normalisation}-normalised direction is zero: {len(kept)} of {len(entries)} "
            "parameters are biases or gains, and the weights of all others are 0; "
            "use random:normalisation=none"
        )
    return torch.from_numpy(flat).to(objective.point.device)


def held_back(objective: Objective, normalisation: Normalisation) -> tuple[str, ...]:
    """Names of the parameters that a random direction does not move."""
    return tuple(entry.name for entry in objective.layout.entries if ignored(entry, normalisation))


def label(normalisation: Normalisation) -> str:
    """What such a direction is called on an axis."""
    return _LABELS.get(normalisation, "Gaussian direction")
