"""Two interleaved half circles: a problem small enough for a dense Hessian and easy to draw."""

import math

import torch

from landscape.data.examples import Data, InMemory
from landscape.errors import UsageError
from landscape.registry.bounds import Seed

MOST = 5_000_000
"""Points: a recipe in a stranger's checkpoint may name any number."""


def moons(*, samples: int = 2000, noise: float = 0.3, seed: Seed = 0) -> Data:
    """Two noisy half circles in the plane, 2 classes; 30 % of the points are held out.

    Args:
        samples: How many points, both splits together.
        noise: Standard deviation of the Gaussian noise on each coordinate, before standardisation.
        seed: Seeds the noise and the split.

    Raises:
        UsageError: Fewer than 10 samples, more than :data:`MOST`, or a noise or seed that is negative or not finite.
    """
    from sklearn.datasets import make_moons
    from sklearn.model_selection import train_test_split

    if samples < 10:
        raise UsageError(
            f"moons: samples={samples}, but at least 10 are needed for two classes in two splits"
        )
    if samples > MOST:
        raise UsageError(f"moons: samples={samples} is more than {MOST:,}; take fewer")
    if not (math.isfinite(noise) and noise >= 0):
        raise UsageError(f"moons: noise={noise} must be a finite number ≥ 0")
    if not 0 <= seed < 2**32:
        raise UsageError(f"moons: seed={seed} must be a whole number from 0 to 2³² − 1")
    points, labels = make_moons(samples, noise=noise, random_state=seed)
    split = train_test_split(points, labels, test_size=0.3, stratify=labels, random_state=seed)
    train, test, train_labels, test_labels = (torch.from_numpy(part) for part in split)
    mean, std = train.mean(0), train.std(0, correction=0)
    train, test = (((part - mean) / std).float() for part in (train, test))
    return Data(
        "moons",
        InMemory(train, train_labels, name="moons"),
        InMemory(test, test_labels, name="moons"),
        classes=2,
        input_shape=(2,),
    )
