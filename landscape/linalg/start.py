"""The first vector of an iteration."""

import torch
from torch import Tensor

from landscape.linalg.operator import SymmetricOperator


def start_vector(operator: SymmetricOperator, given: Tensor | None, generator: torch.Generator) -> Tensor:
    """A random unit vector ``(n,)``, or the one given with a tenth of a random one added.

    The random part keeps every eigenvector within reach, also from a start that is an eigenvector itself.
    """
    noise = operator.normal(generator)
    noise /= noise.norm()
    if given is None or float(given.norm()) == 0:
        return noise
    mixed = given.to(noise) / given.norm() + 0.1 * noise
    return torch.nn.functional.normalize(mixed, dim=0)
