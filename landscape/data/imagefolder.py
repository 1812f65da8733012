"""The user's own pictures: one folder a class, decoded once where they fit into memory."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from landscape.data.examples import Data, Example, InMemory, LabelledDataset, Pixels
from landscape.data.normalisation import Moments, moments
from landscape.errors import InputError, UsageError
from landscape.registry.names import Row

if TYPE_CHECKING:
    from PIL import Image

IN_MEMORY_BYTES = 2**30
"""A split that takes no more than this, decoded, is held in memory."""

Normalisation = Literal["imagenet", "half", "none", "cifar10", "cifar10-per-image", "cifar100"]
Interpolation = Literal["bilinear", "bicubic"]
LARGEST_SIDE = 4096
"""Pixels: a recipe in a stranger's checkpoint may name any number."""

_LOOKED_AT = 64
_FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP")
"""Of the suffixes that are looked for. Pillow goes by the content, and starts Ghostscript for PostScript."""


def imagefolder(
    *,
    root: str,
    size: int | None = None,
    resize: int | None = None,
    interpolation: Interpolation = "bilinear",
    normalize: Normalisation = "imagenet",
) -> Data:
    """Colour pictures in ``DIR/train/CLASS/*`` and ``DIR/test/CLASS/*`` (or ``DIR/val/CLASS/*``), or ``DIR/CLASS/*``.

    Pictures are scaled so that the shorter side is ``resize``, cropped at the centre to a square, and normalised.

    Args:
        root: The folder; ``imagefolder:DIR`` says the same.
        size: Height and width of an input in pixels. By default 224; pictures that are all squares of one
            smaller size stay as they are.
        resize: The shorter side before the crop, ``size`` by default; 256 for most networks of torchvision.
        interpolation: How pictures are scaled.
        normalize: See :data:`landscape.data.normalisation.NORMALISATIONS`.

    Raises:
        InputError: No such folder, no pictures in it, damaged ones, or splits whose classes differ.
        UsageError: A size below 1 or above :data:`LARGEST_SIDE`, or above what pictures are scaled to.
    """
    for name, pixels in (("size", size), ("resize", resize)):
        if pixels is not None and not 1 <= pixels <= LARGEST_SIDE:
            raise UsageError(f"imagefolder: {name}={pixels} must be from 1 to {LARGEST_SIDE} pixels")
    top = Path(root).expanduser()
    layout = (
        f"expected {root}/train/CLASS/* and {root}/test/CLASS/* (or {root}/val/CLASS/*), or {root}/CLASS/*"
    )
    if not top.is_dir():
        raise InputError(f"imagefolder: no folder {root}; {layout}")
    held_out = next((top / name for name in ("test", "val") if (top / name).is_dir()), None)
    if held_out is not None and not (top / "train").is_dir():
        raise InputError(f"imagefolder: {root} has {held_out.name}/ without train/; {layout}")
    train, classes = _files(top / "train" if (top / "train").is_dir() else top, layout)
    held, others = _files(held_out, layout) if held_out is not None else (None, classes)
    if classes != others:
        odd = sorted(set(classes) ^ set(others))
        name = held_out.name if held_out is not None else ""
        raise InputError(f"imagefolder: train and {name} in {root} differ in the classes {', '.join(odd)}")
    side = _common_side(train) if size is None else size
    shorter = side if resize is None else resize
    if shorter < side:
        raise UsageError(f"imagefolder: resize={shorter} is less than size={side}, which is cut out of it")
    frame = Frame(side, shorter, interpolation, moments(normalize, channels=3, owner="imagefolder"))
    return Data(
        f"imagefolder:{root}",
        _decoded(ImageFiles(train, frame=frame)),
        None if held is None else _decoded(ImageFiles(held, frame=frame)),
        classes=len(classes),
        input_shape=(3, side, side),
    )


def imagefolder_at(name: str) -> Row[Data] | None:
    """The row of ``imagefolder:DIR``, or ``None`` where ``name`` is something else."""
    kind, colon, root = name.partition(":")
    if kind != "imagefolder" or not colon or not root:
        return None

    def build(
        *,
        size: int | None = None,
        resize: int | None = None,
        interpolation: Interpolation = "bilinear",
        normalize: Normalisation = "imagenet",
    ) -> Data:
        return imagefolder(
            root=root, size=size, resize=resize, interpolation=interpolation, normalize=normalize
        )

    return Row(name, build, f"pictures in {root}")


@dataclass(frozen=True)
class Frame:
    """How a picture becomes a square: scaled to a shorter side, cropped to ``size``, normalised."""

    size: int
    shorter: int
    interpolation: Interpolation
    moments: Moments


class ImageFiles(LabelledDataset):
    """Pictures that are decoded whenever they are asked for.

    Args:
        files: Where each picture is, and its class.
        frame: What every picture is brought to.
    """

    def __init__(self, files: Sequence[tuple[str, int]], *, frame: Frame) -> None:
        self.files = tuple(files)
        self.frame = frame
        self.targets = torch.tensor([target for _, target in self.files])
        self.pixels: Pixels = Pixels(*frame.moments)

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

        side, mode = self.frame.size, functional.InterpolationMode(self.frame.interpolation)
        images = torch.empty(len(indices), 3, side, side, dtype=torch.uint8)
        for row, index in enumerate(indices):
            path, _ = self.files[index]
            try:
                with _opened(path) as picture:
                    scaled = functional.resize(picture.convert("RGB"), [self.frame.shorter], mode)
                    square = functional.center_crop(scaled, [side, side])
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as failure:
                raise InputError(f"imagefolder: {path} cannot be read as a picture: {failure}") from failure
            images[row] = functional.pil_to_tensor(square)
        return images


def _files(folder: Path, layout: str) -> tuple[list[tuple[str, int]], list[str]]:
    """The pictures of one split with their classes, and the names of the classes in order."""
    from torchvision.datasets import ImageFolder

    try:
        found = ImageFolder(folder)
    except FileNotFoundError as failure:
        reason = " ".join(str(failure).split()).rstrip(".")
        raise InputError(f"imagefolder: {reason}; {layout}") from None
    return found.samples, found.classes


def _opened(path: str) -> "Image.Image":
    """The picture in a file, its pixels not decoded yet."""
    from PIL import Image

    if not os.path.isfile(path):
        raise OSError("it is not a regular file")
    return Image.open(path, formats=_FORMATS)


def _common_side(files: Sequence[tuple[str, int]]) -> int:
    """The side of the pictures, if those looked at are squares of one size up to 224; else 224."""
    from PIL import Image

    sizes = set()
    for path, _ in files[:: max(1, len(files) // _LOOKED_AT)]:
        try:
            with _opened(path) as picture:
                sizes.add(picture.size)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as failure:
            raise InputError(f"imagefolder: {path} cannot be read as a picture: {failure}") from failure
    width, height = next(iter(sizes))
    return width if len(sizes) == 1 and width == height <= 224 else 224


def _decoded(files: ImageFiles) -> LabelledDataset:
    """The same examples held in memory if they fit, else as they are."""
    if len(files) * 3 * files.frame.size**2 > IN_MEMORY_BYTES:
        return files
    mean, std = files.frame.moments
    return InMemory(files.decode(range(len(files))), files.targets, mean=mean, std=std, name="imagefolder")
