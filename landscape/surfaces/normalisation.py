"""How long a direction is: scaled by the weights it perturbs, so that surfaces of two networks compare.

A ReLU network with batch norm computes the same function after its filters are rescaled, yet a perturbation
of fixed length then moves it by another amount. Scaling the direction filter by filter removes that freedom.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from landscape.parameters import Entry

Normalisation = Literal["filter", "layer", "none"]


def ignored(entry: Entry, normalisation: Normalisation) -> bool:
    """Whether a parameter stays where it is: biases and gains, unless directions are not normalised."""
    return normalisation != "none" and entry.role in ("bias", "scale")


def normalise(
    direction: NDArray[np.float64],
    weights: NDArray[np.float64],
    entry: Entry,
    normalisation: Normalisation,
) -> NDArray[np.float64]:
    """The block d of a direction that belongs to one parameter w, rescaled.

    ``filter``: ``dᵢ ‖wᵢ‖/‖dᵢ‖`` for each filter i (an output unit, an embedding row, a one-off tensor);
    ``layer``: ``d ‖w‖/‖d‖``; biases and gains of normalisations are zero in both. ``none``: d.

    Args:
        direction: ``(size,)``.
        weights: ``(size,)``. Where they are zero, so is the result.
        entry: The parameter.
        normalisation: Which rule.

    Returns:
        ``(size,)``.

    Reference:
        Li, Xu, Taylor, Studer, Goldstein, "Visualizing the loss landscape of neural nets", 2018,
        arXiv:1712.09913, section 4. Filters follow the kind of module that owns the parameter, not its number
        of axes, and the published code's 1e-10 in the denominator is left out.
    """
    if normalisation == "none" or entry.size == 0:
        return direction
    if ignored(entry, normalisation):
        return np.zeros_like(direction)
    filters = entry.filters if normalisation == "filter" else 1
    d, w = direction.reshape(filters, -1), weights.reshape(filters, -1)
    lengths = np.linalg.norm(w, axis=1, keepdims=True) / np.linalg.norm(d, axis=1, keepdims=True)
    return np.asarray(d * lengths, np.float64).reshape(-1)
