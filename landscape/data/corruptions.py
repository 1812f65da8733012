"""Corrupted test pictures, as a split of the data: ``corrupted``, ``corrupted-3``, ``corrupted-gaussian-blur-3``."""

import contextlib
import re
import zlib
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from landscape.data.examples import Data, LabelledDataset
from landscape.data.pixels import Pixels
from landscape.errors import InputError, UsageError
from landscape.isolation.randomness import RANDOMNESS, preserved_randomness
from landscape.registry.extras import install
from landscape.registry.names import CORRUPTED
from landscape.registry.nearest import did_you_mean

SMALLEST = 32
"""Pixels of a side: the library takes no smaller pictures."""
SEVERITIES = (1, 2, 3, 4, 5)
OWN_GENERATOR = ("impulse_noise", "glass_blur")
"""Kinds that draw from a generator which the library seeds with their argument, and not from numpy's."""


def examples_of(data: Data, split: str) -> Dataset[Any]:
    """The examples of ``train``, ``test``, or of ``test`` with corruptions.

    Args:
        data: Any data.
        split: ``corrupted``, and after hyphens a kind (by default all 15 of ImageNet-C) and a severity from 1 to 5
            (by default all five). Every test picture is there once for every kind and severity. The severities are
            those of ImageNet-C, made for pictures of 224 pixels: for small ones they are harder than CIFAR-10-C's.

    Raises:
        UsageError: No such split or kind, or the library of corruptions is not installed.
        InputError: The data have no such examples, or are not colour pictures of 32 pixels or more.

    Reference:
        Hendrycks and Dietterich 2019, arXiv 1903.12261; Michaelis et al. 2019, arXiv 1907.07484, for the library.
    """
    if split.partition("-")[0] != CORRUPTED:
        return data.split(split)
    kinds, severities = _parsed(split)
    pictures, shape = data.split("test"), data.input_shape or ()
    pixels = pictures.pixels if isinstance(pictures, LabelledDataset) else None
    if pixels is None or len(shape) != 3 or shape[0] != 3 or min(shape[1:]) < SMALLEST:
        kind = "" if pixels else " and is not made of pixels"
        raise InputError(
            f"{data.name}: corruptions need colour pictures of 8 bits and of {SMALLEST}×{SMALLEST} pixels or more, "
            f"but an input has the shape {shape}{kind}; use cifar10 or imagefolder:DIR"
        )
    return Corrupted(cast(LabelledDataset, pictures), pixels, kinds, severities)


class Corrupted(LabelledDataset):
    """Pictures with every one of some kinds of corruption at every one of some severities, made on each access.

    What is random in a corruption depends on the picture's number, the kind and the severity alone, so that a part of
    the kinds and severities are the same pictures.
    """

    pixels: Pixels

    def __init__(
        self, pictures: LabelledDataset, pixels: Pixels, kinds: tuple[str, ...], severities: tuple[int, ...]
    ) -> None:
        self.pictures, self.pixels = pictures, pixels
        self.kinds, self.severities = kinds, severities
        self.targets = pictures.targets.repeat(len(kinds) * len(severities))

    def inputs_at(self, rows: Tensor) -> Tensor:
        """The inputs of the examples with these numbers."""
        corrupt, count = _library().corrupt, len(self.pictures)
        images = self.pixels.restored(self.pictures.inputs_at(rows % count)).permute(0, 2, 3, 1).contiguous()
        for row, number in enumerate(rows.tolist()):
            combination, picture = divmod(number, count)
            kind, severity = divmod(combination, len(self.severities))
            name, strength = self.kinds[kind], self.severities[severity]
            seed = zlib.crc32(f"{name} {strength} {picture}".encode())
            options = {"seed": seed} if name in OWN_GENERATOR else {}
            with _seeded(seed):
                image = corrupt(images[row].numpy(), strength, name, **options)
            images[row] = torch.from_numpy(np.array(image))
        return self.pixels.normalised(images.permute(0, 3, 1, 2))


def _parsed(split: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The kinds, as the library names them, and the severities of a split's name."""
    match = re.fullmatch(rf"{CORRUPTED}(?:-([a-z][a-z-]*?))?(?:-([0-9]+))?", split)
    kind, severity = match.groups() if match else (split.partition("-")[2], None)
    known = {name.replace("_", "-"): name for name in _library().get_corruption_names("all")}
    if kind is not None and kind not in known:
        raise UsageError(
            f"split={split}: no corruption '{kind}'{did_you_mean(kind, known)}; there are {', '.join(known)}"
        )
    if severity is not None and int(severity) not in SEVERITIES:
        raise UsageError(f"split={split}: the severity {severity} is not from 1 to 5")
    kinds = _library().get_corruption_names("common") if kind is None else [known[kind]]
    return tuple(kinds), SEVERITIES if severity is None else (int(severity),)


def _library() -> Any:
    try:
        import imagecorruptions
    except ImportError as failure:
        raise UsageError(
            f"corrupted pictures need imagecorruptions-imaug: {install('corruptions')} ({failure})"
        ) from failure
    return imagecorruptions


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Inside, numpy's global generator, from which the library draws, is seeded."""
    with RANDOMNESS, preserved_randomness():
        np.random.seed(seed)  # noqa: NPY002
        yield
