"""What is trained on what: sizes for a few minutes on one core, and those of the papers for a GPU."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from landscape.data import load_data
from landscape.records import whole
from landscape.registry import Value


@dataclass(frozen=True)
class Setup:
    """A size of a study.

    Attributes:
        name: ``digits``, ``mnist``, ``cifar10``, … or ``paper``.
        words: What RESULTS.md says of it.
        data: What ``--data`` has to name.
        fields: Of the recipe.
        train: Training pictures that are taken, as many of each class; ``None`` for all.
        test: The same of the test set.
        normalize: Of the pictures, where a part of them is taken.
        limit: Examples of each split that are measured.
        draws: Random batches, where a study draws some.
        more: What a study has beside a recipe.
    """

    name: str
    words: str
    data: str
    fields: Mapping[str, Value]
    train: int | None = None
    test: int | None = None
    normalize: str = "none"
    limit: int = 2000
    draws: int = 2000
    more: Mapping[str, Value] = field(default_factory=dict)

    def but(self, words: str, /, **fields: Value) -> "Setup":
        """The same setup with other fields of the recipe.

        Args:
            words: What is said of it.
            **fields: Of the recipe.
        """
        return dataclasses.replace(self, words=words, fields={**self.fields, **fields})


DIGITS = Setup(
    "digits",
    "scikit-learn's digits (1,437 + 360), mlp 64-64-10, 40 epochs, batch 128, lr 0.1",
    "digits",
    {"model": "mlp", "lr": 0.1, "epochs": 40, "batch_size": 128},
)
MNIST = Setup(
    "mnist",
    "1,000 + 1,000 pictures of MNIST (of its first 15,000), cnn 8-16-32, 30 epochs, batch 64, lr 0.05; "
    "stopped long before it converges",
    "mnist:root=DIR",
    {"model": "cnn:width=8", "lr": 0.05, "epochs": 30, "batch_size": 64},
    train=1000,
    test=1000,
    normalize="mnist",
)
CIFAR10 = Setup(
    "cifar10",
    "2,000 + 1,000 pictures of CIFAR-10 (JPEG-compressed copies), mlp 3072-128-128-10, 40 epochs, batch 64, lr 0.05",
    "imagefolder:DIR",
    {"model": "mlp:width=128", "lr": 0.05, "epochs": 40, "batch_size": 64},
    train=2000,
    test=1000,
    normalize="cifar10",
)
TEXT = Setup(
    "text",
    "180 + 20 kB of Python's language reference (A) and 54 + 6 kB of its library's source code (B), a byte a token; "
    "decoder:width=64,depth=2,length=64, 0.14 M parameters; 5 epochs of A, then 1 more of A, then 1 of B",
    "text:length=64,limit=200000",
    {
        "model": "decoder:width=64,depth=2,length=64",
        "loss": "next-token",
        "epochs": 5,
        "batch_size": 32,
    },
    limit=8,
    more={"fine-tuning": "text:source=stdlib,length=64,limit=60000"},
)
PAPER = Setup(
    "paper",
    "CIFAR-100, resnet18, 200 epochs, batch 128, lr 0.05, weight decay 5e-3, crops and mirroring, for a GPU",
    "cifar100:root=DIR",
    {
        "model": "resnet18",
        "lr": 0.05,
        "epochs": 200,
        "batch_size": 128,
        "base": "sgd:momentum=0.9,weight_decay=5e-3",
        "augment": "basic",
    },
    limit=10000,
)
_KINDS = {
    "digits": "digits",
    "text": "text",
    "moons": "moons",
    "mnist": "mnist",
    "imagefolder": "cifar10",
    "cifar10": "cifar10",
}


def kind_of(data: str) -> str:
    """The name of the setup for data of that name: ``imagefolder:DIR`` is taken for the pictures of CIFAR-10.

    Raises:
        SystemExit: There is none.
    """
    name = data.partition(":")[0]
    if name not in _KINDS:
        raise SystemExit(
            f"--data {data}: there is no small setup for it; give one of {', '.join(_KINDS)}, or --size paper"
        )
    return _KINDS[name]


def part_of(data: str, setup: Setup, folder: Path) -> str:
    """The name of the data that are trained on: all of them, or a file in ``folder`` with as many of each class.

    Args:
        data: A name of :data:`landscape.data.DATA`.
        setup: How many.
        folder: Where the part is kept: the same one every time.
    """
    if setup.train is None or setup.test is None:
        return data
    path = folder / f"{setup.name}-{setup.train}.npz"
    if not path.is_file():
        arrays = {}
        found = load_data(data)
        for split, count in (("train", setup.train), ("test", setup.test)):
            examples = found.split(split)
            chosen = _balanced(examples.targets, count, found.classes or 1)
            pixels = examples.pixels.restored(torch.stack([examples[i][0] for i in chosen]))
            arrays |= {
                f"{split}_inputs": pixels.numpy(),
                f"{split}_targets": examples.targets[chosen].numpy(),
            }
        with whole(path) as place, place.open("wb") as file:
            np.savez(file, **arrays)
    return f"npz:{path}:normalize={setup.normalize}"


def _balanced(targets: torch.Tensor, count: int, classes: int) -> list[int]:
    """So many of the examples, as many of each class, chosen at random and in their order."""
    generator = torch.Generator().manual_seed(0)
    chosen: list[int] = []
    for label in range(classes):
        members = (targets == label).nonzero().flatten()
        chosen += members[torch.randperm(len(members), generator=generator)[: count // classes]].tolist()
    return sorted(chosen)
