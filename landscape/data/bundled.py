"""The data sets that need no download: the digits that scikit-learn carries, and the moons that it draws."""

import functools
import math
from typing import Any

import torch
from numpy.typing import NDArray

from landscape.data.examples import Data, InMemory, shape_note
from landscape.errors import UsageError
from landscape.registry.bounds import Seed

MOST = 5_000_000
"""The largest number of moons: a checkpoint of unknown origin may name any."""


def digits() -> Data:
    """8×8 hand-written digits in 10 classes: 1,437 for training, 360 for testing.

    The split is stratified and always the same. Pixels are standardised with one mean and one standard deviation, those
    of the training set.

    Reference:
        Alpaydin and Kaynak 1998, UCI Optical Recognition of Handwritten Digits (its test set).
    """
    pictures, labels = _pictures_and_labels()
    return _standardised("digits", pictures, labels, test_size=360, seed=0, axes=(0, 1, 2, 3))


# scikit-learn parses a text file, which takes longer than training an epoch. The split copies what it is given.
@functools.cache
def _pictures_and_labels() -> tuple[NDArray[Any], NDArray[Any]]:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return images.reshape(-1, 1, 8, 8), labels


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

    if samples < 10:
        raise UsageError(f"moons: samples={samples}, but two classes in two splits need at least 10")
    if samples > MOST:
        raise UsageError(f"moons: samples={samples} is more than {MOST:,}; take fewer")
    if not (math.isfinite(noise) and noise >= 0):
        raise UsageError(f"moons: noise={noise} must be a finite number ≥ 0")
    if not 0 <= seed < 2**32:  # what scikit-learn takes, which is less than torch does
        raise UsageError(f"moons: seed={seed} must be a whole number from 0 to 2³² − 1")
    points, labels = make_moons(samples, noise=noise, random_state=seed)
    return _standardised("moons", points, labels, test_size=0.3, seed=seed, axes=(0,))


def _standardised(
    name: str, inputs: object, labels: object, *, test_size: float, seed: int, axes: tuple[int, ...]
) -> Data:
    """Both splits, shifted and scaled by the mean and standard deviation of the training inputs over some axes."""
    from sklearn.model_selection import train_test_split

    split = train_test_split(inputs, labels, test_size=test_size, stratify=labels, random_state=seed)
    train, test, train_labels, test_labels = (torch.from_numpy(part) for part in split)
    mean, std = train.mean(axes), train.std(axes, correction=0)
    train_set, test_set = (
        InMemory(((part - mean) / std).float(), classes, name=name)
        for part, classes in ((train, train_labels), (test, test_labels))
    )
    classes, shape = int(train_labels.max()) + 1, tuple(train.shape[1:])
    note = f"{shape_note(shape, classes)}; standardised by mean and standard deviation of the training split"
    return Data(name, train_set, test_set, classes, shape, notes=(note,))
