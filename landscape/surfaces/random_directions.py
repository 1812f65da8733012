"""Random directions, scaled like the weights they perturb, so that surfaces of two networks can be compared.

A ReLU network with batch norm computes the same function after its filters are rescaled, yet a perturbation of fixed
length then moves it by another amount. Scaling the direction filter by filter removes that freedom.
"""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape.errors import InputError
from landscape.objective import Objective
from landscape.parameters import Entry
from landscape.registry.bounds import Seed
from landscape.surfaces.directions import Directions, normal_numbers

_AT_ONCE = 1 << 18  # entries in float64

Normalisation = Literal["filter", "layer", "none"]


def random_directions(
    objective: Objective, *, normalisation: Normalisation = "filter", seed: Seed = 0
) -> Directions:
    """Two independent Gaussian directions, rescaled to the weights at the objective's point.

    All checkpoints of one network share the random draw; it is normalised for each of them. In high dimension the two
    are nearly orthogonal, but not exactly; their cosine is recorded.

    Reference:
        Li et al., "Visualizing the loss landscape of neural nets", 2018, arXiv:1712.09913, section 4.
    """
    x, y = (random_direction(objective, normalisation=normalisation, seed=seed, axis=axis) for axis in (1, 2))
    name = label(normalisation)
    return Directions(x=x, y=y, labels=(f"{name} 1", f"{name} 2"), ignored=_fixed(objective, normalisation))


def random_line(
    objective: Objective, *, normalisation: Normalisation = "filter", seed: Seed = 0
) -> Directions:
    """The first of the two directions of :func:`random_directions` alone: L(θ + a·x)."""
    x = random_direction(objective, normalisation=normalisation, seed=seed, axis=1)
    return Directions(x=x, y=None, labels=(label(normalisation),), ignored=_fixed(objective, normalisation))


def random_direction(objective: Objective, *, normalisation: Normalisation, seed: int, axis: int) -> Tensor:
    """One Gaussian direction ``(n,)``, rescaled to the weights at the objective's point."""
    shards, entries = objective.shards, objective.shards.whole.entries
    point = objective.point.detach().cpu()
    flat: NDArray[Any] = np.empty_like(point.numpy())
    for k, (entry, here) in enumerate(zip(entries, objective.layout.entries, strict=True)):
        block = slice(here.offset, here.offset + here.size)
        weights = shards.gathered(k, point[block]).numpy()  # all, for the length of every filter
        whole, source = np.empty(entry.size, flat.dtype), normal_numbers(entry, seed=seed, axis=axis)
        for part in _parts(entry, normalisation):
            drawn = source.standard_normal(part.stop - part.start)
            whole[part] = normalise(drawn, weights[part].astype(np.float64), entry, normalisation)
        flat[block] = whole[shards.held(k)]
    if not shards.group.any(bool(flat.any())):
        raise InputError(
            f"the {normalisation}-normalised direction is zero: {len(_fixed(objective, normalisation))} of "
            f"{len(entries)} parameters are biases or gains, and the weights of all others are 0; use "
            "random:normalisation=none"
        )
    return torch.from_numpy(flat).to(objective.point.device)


def normalise(
    direction: NDArray[np.float64], weights: NDArray[np.float64], entry: Entry, normalisation: Normalisation
) -> NDArray[np.float64]:
    """The block d of a direction that belongs to one parameter w, or whole filters of both, ``(size,)``, rescaled.

    ``filter``: ``dᵢ ‖wᵢ‖/‖dᵢ‖`` for each filter i (an output unit, an embedding row, a single tensor);
    ``layer``: ``d ‖w‖/‖d‖``. Both set biases and gains to zero. ``none``: d.

    Reference:
        Li et al. 2018, arXiv:1712.09913, section 4. Filters follow the kind of module that owns the parameter, not its
        number of axes, and the published code's 1e-10 in the denominator is omitted.
    """
    if normalisation == "none" or entry.size == 0:
        return direction
    if _is_fixed(entry, normalisation):
        return np.zeros_like(direction)
    width = entry.size // entry.filters if normalisation == "filter" else direction.size
    d, w = direction.reshape(-1, width), weights.reshape(-1, width)
    lengths = np.linalg.norm(w, axis=1, keepdims=True) / np.linalg.norm(d, axis=1, keepdims=True)
    return np.asarray(d * lengths, np.float64).reshape(-1)


def _parts(entry: Entry, normalisation: Normalisation) -> Iterator[slice]:
    """The places of some filters at a time, so that little is there in float64 at once; of a layer as a whole."""
    filters = entry.filters if normalisation == "filter" else 1
    width = entry.size // filters if filters else 0
    step = max(1, width, _AT_ONCE // max(1, width) * width)
    return (slice(start, min(start + step, entry.size)) for start in range(0, entry.size, step))


def label(normalisation: Normalisation) -> str:
    """The label of the axis."""
    return "Gaussian direction" if normalisation == "none" else f"{normalisation}-normalised direction"


def _is_fixed(entry: Entry, normalisation: Normalisation) -> bool:
    # Biases and gains have no filters whose scale could be matched; the paper leaves them where they are.
    return normalisation != "none" and entry.role in ("bias", "scale")


def _fixed(objective: Objective, normalisation: Normalisation) -> tuple[str, ...]:
    return tuple(entry.name for entry in objective.layout.entries if _is_fixed(entry, normalisation))
