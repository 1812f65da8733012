"""Two random directions, scaled like the weights they perturb."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from landscape.errors import InputError
from landscape.objective import Objective
from landscape.surfaces.directions import Directions, standard_normal
from landscape.surfaces.normalisation import Normalisation, ignored, normalise

_LABELS = {"filter": "filter-normalised direction", "layer": "layer-normalised direction"}


def random_directions(
    objective: Objective, *, normalisation: Normalisation = "filter", seed: int = 0
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
    layout = objective.layout
    kept = tuple(entry.name for entry in layout.entries if ignored(entry, normalisation))
    point = objective.point.detach().cpu().numpy()

    def direction(axis: int) -> torch.Tensor:
        flat: NDArray[Any] = np.empty_like(point)
        for entry in layout.entries:
            block = slice(entry.offset, entry.offset + entry.size)
            drawn = standard_normal(entry, seed=seed, axis=axis)
            flat[block] = normalise(drawn, point[block].astype(np.float64), entry, normalisation)
        if not flat.any():
            raise InputError(
                f"the {normalisation}-normalised direction is zero: {len(kept)} of {len(layout.entries)} "
                "parameters are biases or gains, and the weights of all others are 0; "
                "use random:normalisation=none"
            )
        return torch.from_numpy(flat).to(objective.point.device)

    name = _LABELS.get(normalisation, "Gaussian direction")
    return Directions(x=direction(1), y=direction(2), labels=(f"{name} 1", f"{name} 2"), ignored=kept)
