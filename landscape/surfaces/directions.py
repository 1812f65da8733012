"""Directions in parameter space: what a kind of plane has to find, and the random ones.

Random numbers come from numpy's counter-based Philox generator, keyed by what the direction *is*: they do not
depend on the device, on torch, on the order in which parameters are visited, or on what else was drawn.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from landscape.parameters import Entry


@dataclass(frozen=True, eq=False, kw_only=True)
class Directions:
    """Two directions at a point, as a kind of plane returns them.

    Attributes:
        x: ``(n,)``, on the objective's device and in its dtype.
        y: ``(n,)``.
        labels: What the two axes are, with their unit, as on a figure.
        ignored: Names of the parameters that neither direction moves by rule.
    """

    x: Tensor
    y: Tensor
    labels: tuple[str, str]
    ignored: tuple[str, ...] = ()


def standard_normal(entry: Entry, *, seed: int, axis: int) -> NDArray[np.float64]:
    """The block of a random direction that belongs to one parameter, ``(size,)``, each entry from N(0, 1).

    A function of the seed, the number of the axis, and the parameter's name and shape only: two checkpoints
    of one network get the same direction, two seeds or two axes unrelated ones.
    """
    label = f"landscape direction\n{seed}\n{axis}\n{entry.name}\n{'x'.join(map(str, entry.shape))}"
    key = int.from_bytes(hashlib.sha256(label.encode()).digest()[:16], "little")
    return np.random.Generator(np.random.Philox(key=key)).standard_normal(entry.size)
