"""Image sets that torchvision reads from a folder; it downloads them only if ``download=true`` asks for that."""

import contextlib
import os
import pickle
import sys
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from landscape.data.examples import Data, InMemory, shape_note
from landscape.data.pixels import moments, moments_note
from landscape.errors import InputError
from landscape.isolation.switches import Shared
from landscape.registry.bounds import limit_of
from landscape.registry.names import Option, Options, Row, options_of

Grey = Literal["own", "half", "none"] | str  # or MEAN/STD
Colour = Literal["own", "cifar10-per-image", "imagenet", "half", "none"] | str

# torchvision reports a download on stdout, which belongs to the caller's data and to the whole process.
_QUIET = Shared(lambda: contextlib.redirect_stdout(sys.stderr))
# What torchvision raises for files that are missing, cut short or of another kind.
_UNREADABLE = (
    OSError, RuntimeError, ValueError, TypeError, AssertionError, EOFError, KeyError, pickle.UnpicklingError,
)  # fmt: skip


@dataclass(frozen=True)
class Archive:
    """An image set of torchvision; the moments of its pixels have its name.

    ``reader`` is the class in ``torchvision.datasets``, ``files`` the folder inside ``root`` that it reads.
    """

    name: str
    reader: str
    files: str
    classes: int
    summary: str
    reference: str
    is_grey: bool = False

    def row(self) -> Row[Data]:
        """The row of the data table; the option ``normalize`` of grey images has fewer choices."""
        options = dict(options_of(self.load).by_name)
        if self.is_grey:
            options["normalize"] = Option("normalize", "own", Grey, limit_of(Grey))
        return Row(self.name, self.load, self.summary, self.reference, stated=Options(options))

    def load(self, *, root: str = "data", normalize: Colour = "own", download: bool = False) -> Data:
        """Both splits, in memory as ``uint8``.

        Args:
            root: The folder that contains :attr:`files`.
            normalize: The mean and standard deviation of the pixels: the set's own, or of another name.
            download: Fetch missing files.

        Raises:
            InputError: Files are missing or damaged, or the classes are not those of the set.
        """
        train, test = (self._split(root, download, is_train) for is_train in (True, False))
        where = os.path.join(root, self.files)
        for images, targets in (train, test):
            if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < self.classes:
                seen = f"classes {int(targets.min())} to {int(targets.max())}"
                raise InputError(f"{self.name}: {seen} in {where}, but there are {self.classes}")
            if images.shape[1:] != train[0].shape[1:]:
                raise InputError(f"{self.name}: train and test images in {where} differ in size")
        shape, moments_of = tuple(train[0].shape[1:]), self.name if normalize == "own" else normalize
        mean, std = moments(moments_of, channels=shape[0], owner=self.name)
        sets = [InMemory(*part, mean=mean, std=std, name=self.name) for part in (train, test)]
        notes = (shape_note(shape, self.classes), moments_note(moments_of, mean, std))
        return Data(self.name, sets[0], sets[1], self.classes, shape, notes=notes)

    def _split(self, root: str, download: bool, is_train: bool) -> tuple[Tensor, Tensor]:
        """The images ``(N, channels, height, width)`` and the classes ``(N,)`` of one split."""
        import torchvision.datasets

        where = os.path.join(root, self.files)
        try:
            with _QUIET:
                data = getattr(torchvision.datasets, self.reader)(root, train=is_train, download=download)
        except _UNREADABLE as failure:
            if download:
                raise InputError(f"{self.name}: no download to {where}: {failure}") from failure
            if not os.path.isdir(where):
                raise InputError(
                    f"{self.name}: no folder {where}; {self.name}:root={root},download=true fetches it, "
                    f"or pass root=DIR where DIR contains {self.files}"
                ) from None
            raise InputError(
                f"{self.name}: files in {where} are missing or damaged ({failure}); replace them, "
                "or add download=true"
            ) from failure
        images = torch.as_tensor(np.asarray(data.data), device="cpu")
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
        return images, torch.as_tensor(data.targets, device="cpu")


ARCHIVES = (
    Archive(
        "mnist", "MNIST", "MNIST/raw/", 10,
        "28×28 hand-written digits, 10 classes, 60000 + 10000", "LeCun et al. 1998", is_grey=True,
    ),
    Archive(
        "fashion-mnist", "FashionMNIST", "FashionMNIST/raw/", 10,
        "28×28 clothes, 10 classes, 60000 + 10000", "arXiv 1708.07747", is_grey=True,
    ),
    Archive(
        "cifar10", "CIFAR10", "cifar-10-batches-py/", 10,
        "32×32 colour photographs, 10 classes, 50000 + 10000", "Krizhevsky 2009",
    ),
    Archive(
        "cifar100", "CIFAR100", "cifar-100-python/", 100,
        "32×32 colour photographs, 100 classes, 50000 + 10000", "Krizhevsky 2009",
    ),
)  # fmt: skip
