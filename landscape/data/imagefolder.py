"""The user's own pictures: one folder a class, decoded once where they fit into memory."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from landscape.data.examples import Data, Example, InMemory, LabelledDataset, Pixels
from landscape.errors import InputError, UsageError
from landscape.registry import Row

IN_MEMORY_BYTES = 2**30
"""A split that takes no more than this, decoded, is held in memory."""

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def imagefolder(*, root: str, size: int = 224) -> Data:
    """Colour pictures in ``DIR/train/CLASS/*`` and ``DIR/test/CLASS/*`` (or ``DIR/val/CLASS/*``).

    Pictures are scaled so that the shorter side is ``size``, cropped at the centre to a square, and
    normalised with ImageNet's mean and standard deviation.

    Args:
        root: The folder; ``imagefolder:DIR`` says the same.
        size: Height and width of an input in pixels.

    Raises:
        InputError: No such folder, no split folders in it, no or damaged pictures, or splits whose classes
            differ.
        UsageError: A size below 1.
    """
    if size < 1:
        raise UsageError(f"imagefolder: size={size} must be at least 1 pixel")
    top = Path(root).expanduser()
    layout = f"expected {root}/train/CLASS/* and {root}/test/CLASS/* (or {root}/val/CLASS/*)"
    if not top.is_dir():
        raise InputError(f"imagefolder: no folder {root}; {layout}")
    held_out = next((top / name for name in ("test", "val") if (top / name).is_dir()), None)
    if not (top / "train").is_dir() or held_out is None:
        raise InputError(f"imagefolder: {root} is not split into train and test; {layout}")
    train, classes = _files(top / "train", size, layout)
    test, test_classes = _files(held_out, size, layout)
    if classes != test_classes:
        odd = sorted(set(classes) ^ set(test_classes))
        raise InputError(
            f"imagefolder: train and {held_out.name} in {root} differ in the classes {', '.join(odd)}"
        )
    return Data(
        f"imagefolder:{root}",
        _decoded(train),
        _decoded(test),
        classes=len(classes),
        input_shape=(3, size, size),
    )


def imagefolder_at(name: str) -> Row[Data] | None:
    """The row of ``imagefolder:DIR``, or ``None`` where ``name`` is something else."""
    kind, colon, root = name.partition(":")
    if kind != "imagefolder" or not colon or not root:
        return None

    def build(*, size: int = 224) -> Data:
        return imagefolder(root=root, size=size)

    return Row(name, build, f"pictures in {root}/train and {root}/test")


class ImageFiles(LabelledDataset):
    """Pictures that are decoded whenever they are asked for.

    Args:
        files: Where each picture is, and its class.
        size: Height and width that every picture is brought to.
    """

    def __init__(self, files: Sequence[tuple[str, int]], *, size: int) -> None:
        self.files = tuple(files)
        self.size = size
        self.targets = torch.tensor([target for _, target in self.files])
        self.pixels: Pixels = Pixels(_MEAN, _STD)

    def __len__(self) -> int:
        return len(self.files)

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        """The examples at ``indices``, in that order."""
        inputs = self.pixels.normalised(self.decode(indices))
        return list(zip(inputs.unbind(), self.targets[list(indices)].unbind(), strict=True))

    def decode(self, indices: Sequence[int]) -> Tensor:
        """The ``uint8`` pixels ``(N, 3, size, size)`` of the pictures at ``indices``.

        Raises:
            InputError: A file is not a picture, or is cut short.
        """
        from PIL import Image
        from torchvision.transforms import functional

        images = torch.empty(len(indices), 3, self.size, self.size, dtype=torch.uint8)
        for row, index in enumerate(indices):
            path, _ = self.files[index]
            try:
                with Image.open(path) as picture:
                    square = functional.center_crop(
                        functional.resize(picture.convert("RGB"), [self.size]), [self.size, self.size]
                    )
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as failure:
                raise InputError(f"imagefolder: {path} cannot be read as a picture: {failure}") from failure
            images[row] = functional.pil_to_tensor(square)
        return images


def _files(folder: Path, size: int, layout: str) -> tuple[ImageFiles, list[str]]:
    """The pictures of one split, and the names of its classes in order."""
    from torchvision.datasets import ImageFolder

    try:
        found = ImageFolder(folder)
    except FileNotFoundError as failure:
        reason = " ".join(str(failure).split()).rstrip(".")
        raise InputError(f"imagefolder: {reason}; {layout}") from None
    return ImageFiles(found.samples, size=size), found.classes


def _decoded(files: ImageFiles) -> LabelledDataset:
    """The same examples held in memory if they fit, else as they are."""
    if len(files) * 3 * files.size**2 > IN_MEMORY_BYTES:
        return files
    pixels = files.decode(range(len(files)))
    return InMemory(pixels, files.targets, mean=_MEAN, std=_STD, name="imagefolder")
