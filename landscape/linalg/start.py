"""The first vector of an iteration."""

import torch
from torch import Tensor

from landscape.linalg.operator import SymmetricOperator


def start_vector(operator: SymmetricOperator, given: Tensor | None, generator: torch.Generator) -> Tensor:
    """A random unit vector ``(n,)``, or the one given with a tenth of a random one added.

    The random part keeps every eigenvector within reach, also from a start that is an eigenvector itself.
    """
    noise = operator.normal(generator)
    noise /= length(noise)
    if given is None or length(given) == 0:
        return noise
    mixed = given.to(noise) / length(given) + 0.1 * noise
    return mixed / length(mixed)


def length(vector: Tensor) -> float:
    """‖vector‖, summed in float64: in float32 the squares of entries above 2e19 overflow, those below 1e-23 vanish."""
    return float(torch.linalg.vector_norm(vector, dtype=torch.float64))
