"""Image sets that torchvision reads from a folder; downloads happen only where ``download=true`` asks."""

import contextlib
import os
import pickle
import sys
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from landscape.data.examples import Data, InMemory
from landscape.data.normalisation import moments
from landscape.errors import InputError
from landscape.isolation import Shared

Grey = Literal["own", "half", "none"]
Colour = Literal["own", "cifar10-per-image", "imagenet", "half", "none"]


def mnist(*, root: str = "data", normalize: Grey = "own", download: bool = False) -> Data:
    """28×28 hand-written digits in 10 classes, 60,000 + 10,000.

    Args:
        root: The folder that holds ``MNIST/raw/``.
        normalize: The mean and standard deviation of the pixels: the set's own, or of another name.
        download: Fetch missing files.

    Reference:
        LeCun, Bottou, Bengio and Haffner 1998, Gradient-based learning applied to document recognition.
    """
    return _MNIST.load(root, download, normalize)


def fashion_mnist(*, root: str = "data", normalize: Grey = "own", download: bool = False) -> Data:
    """28×28 pictures of clothes in 10 classes, 60,000 + 10,000.

    Args:
        root: The folder that holds ``FashionMNIST/raw/``.
        normalize: The mean and standard deviation of the pixels: the set's own, or of another name.
        download: Fetch missing files.

    Reference:
        Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747.
    """
    return _FASHION_MNIST.load(root, download, normalize)


def cifar10(*, root: str = "data", normalize: Colour = "own", download: bool = False) -> Data:
    """32×32 colour photographs in 10 classes, 50,000 + 10,000.

    Args:
        root: The folder that holds ``cifar-10-batches-py/``.
        normalize: The mean and standard deviation of the pixels: the set's own, or of another name.
        download: Fetch missing files.

    Reference:
        Krizhevsky 2009, Learning multiple layers of features from tiny images.
    """
    return _CIFAR10.load(root, download, normalize)


def cifar100(*, root: str = "data", normalize: Colour = "own", download: bool = False) -> Data:
    """32×32 colour photographs in 100 classes, 50,000 + 10,000.

    Args:
        root: The folder that holds ``cifar-100-python/``.
        normalize: The mean and standard deviation of the pixels: the set's own, or of another name.
        download: Fetch missing files.

    Reference:
        Krizhevsky 2009, Learning multiple layers of features from tiny images.
    """
    return _CIFAR100.load(root, download, normalize)


@dataclass(frozen=True)
class _Archive:
    """One image set that torchvision reads: its files and its classes; the moments of its pixels have its name."""

    name: str
    reader: str
    files: str
    classes: int

    def load(self, root: str, download: bool, normalize: str) -> Data:
        """Both splits, held in memory as ``uint8``."""
        train, test = (self._split(root, download, is_train) for is_train in (True, False))
        for images, targets in (train, test):
            if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < self.classes:
                seen = f"{int(targets.min())} to {int(targets.max())}"
                raise InputError(
                    f"{self.name}: classes {seen} in {root}/{self.files}, but there are {self.classes}"
                )
            if images.shape[1:] != train[0].shape[1:]:
                raise InputError(f"{self.name}: train and test images in {root}/{self.files} differ in size")
        named = self.name if normalize == "own" else normalize
        mean, std = moments(named, channels=train[0].shape[1], owner=self.name)
        sets = [InMemory(*part, mean=mean, std=std, name=self.name) for part in (train, test)]
        return Data(self.name, sets[0], sets[1], self.classes, tuple(train[0].shape[1:]))

    def _split(self, root: str, download: bool, is_train: bool) -> tuple[Tensor, Tensor]:
        """The images ``(N, channels, height, width)`` and the classes ``(N,)`` of one split."""
        import torchvision.datasets

        where = os.path.join(root, self.files)
        try:
            # torchvision reports a download on stdout, which belongs to the caller's data.
            with _QUIET:
                found = getattr(torchvision.datasets, self.reader)(root, train=is_train, download=download)
        except _UNREADABLE as failure:
            if download:
                raise InputError(f"{self.name}: no download to {where}: {failure}") from failure
            if not os.path.isdir(where):
                raise InputError(
                    f"{self.name}: no folder {where}; {self.name}:root={root},download=true fetches it, "
                    f"or give root=DIR where DIR holds {self.files}"
                ) from None
            raise InputError(
                f"{self.name}: files in {where} are missing or damaged ({failure}); replace them, "
                "or add download=true"
            ) from failure
        images = torch.as_tensor(np.asarray(found.data))
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
        return images, torch.as_tensor(found.targets)


# The standard output belongs to the process.
_QUIET = Shared(lambda: contextlib.redirect_stdout(sys.stderr))

_UNREADABLE = (
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    AssertionError,
    EOFError,
    KeyError,
    pickle.UnpicklingError,
)
_MNIST = _Archive("mnist", "MNIST", "MNIST/raw/", 10)
_FASHION_MNIST = _Archive("fashion-mnist", "FashionMNIST", "FashionMNIST/raw/", 10)
_CIFAR10 = _Archive("cifar10", "CIFAR10", "cifar-10-batches-py/", 10)
_CIFAR100 = _Archive("cifar100", "CIFAR100", "cifar-100-python/", 100)
