"""The user's own images, one folder a class: decoded once if they fit into memory, else whenever they are needed."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from landscape.data.examples import Data, InMemory, LabelledDataset, shape_note
from landscape.data.pixels import Moments, Pixels, moments, moments_note
from landscape.errors import InputError, UsageError
from landscape.records.reading import read_text
from landscape.registry.names import Row, options_of

if TYPE_CHECKING:
    from PIL import Image

IN_MEMORY_BYTES = 2**30
"""The largest size of a decoded split that is kept in memory."""

LARGEST_SIDE = 4096
"""Pixels: a checkpoint of unknown origin may name any number."""

MOST_FOLDERS, DEEPEST = 100_000, 16
"""Folders in folders of pictures: a checkpoint may name any folder, such as the root of the system."""

Normalisation = Literal["none", "imagenet", "half", "cifar10", "cifar10-per-image", "cifar100"] | str
Interpolation = Literal["bilinear", "bicubic"]
NORMALISATION = "none"
"""The default; names of data state it always, as it was imagenet in earlier versions."""

# Pillow goes by the content of a file, whatever its suffix, and starts Ghostscript for PostScript.
_FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP")


def imagefolder(
    *,
    root: str,
    size: int | None = None,
    resize: int | None = None,
    interpolation: Interpolation = "bilinear",
    normalize: Normalisation = NORMALISATION,
    classes_of: str = "",
) -> Data:
    """Colour images in ``DIR/train/CLASS/*`` and ``DIR/test/CLASS/*`` (or ``DIR/val/CLASS/*``), or ``DIR/CLASS/*``.

    One of the two splits is enough. Images are scaled so that the shorter side is ``resize``, cropped at the centre to
    a square, and normalised.

    Args:
        root: The folder; ``imagefolder:DIR`` is the same.
        size: Height and width of an input in pixels. By default 224; images that are all squares of one
            smaller size stay as they are.
        resize: The shorter side before the crop, ``size`` by default; 256 for most networks of torchvision.
        interpolation: How images are scaled.
        normalize: See :func:`landscape.data.pixels.moments`. By default pixels are from 0 to 1, as
            ``torchvision.transforms.ToTensor`` leaves them.
        classes_of: A folder with a folder for each class of the network, such as the one that it was trained on, or a
            text file with the name of a class a line: classes then have their numbers there, for pictures of some of
            them, as ImageNet-R's. By default classes are numbered as they are found.

    Raises:
        InputError: No such folder, no images in it, damaged ones, or splits whose classes differ.
        UsageError: A size below 1 or above :data:`LARGEST_SIDE`, or above the size to which images are scaled.
    """
    for name, pixels in (("size", size), ("resize", resize)):
        if pixels is not None and not 1 <= pixels <= LARGEST_SIDE:
            raise UsageError(f"imagefolder: {name}={pixels} must be from 1 to {LARGEST_SIDE} pixels")
    top = Path(root).expanduser()
    layout = f"expected {root}/train/CLASS/* and {root}/test/CLASS/* (or val/CLASS/*), or {root}/CLASS/*"
    if not top.is_dir():
        raise InputError(f"imagefolder: no folder {root}; {layout}")
    held_out = next((top / name for name in ("test", "val") if (top / name).is_dir()), None)
    # Without folders of splits, all pictures are for training.
    training = top / "train" if held_out is not None or (top / "train").is_dir() else top
    folders = {"train": training if training.is_dir() else None, "test": held_out}
    files = {split: _files(folder, layout) for split, folder in folders.items() if folder is not None}
    classes = _class_names(classes_of) if classes_of else next(iter(files.values()))[1]
    if classes_of:
        files = {split: _renumbered(*found, classes, classes_of) for split, found in files.items()}
    elif held_out is not None and classes != files["test"][1]:
        odd = ", ".join(sorted(set(classes) ^ set(files["test"][1])))
        raise InputError(f"imagefolder: train and {held_out.name} in {root} differ in the classes {odd}")
    pictures = {split: samples for split, (samples, _) in files.items()}
    side = _common_side(next(iter(pictures.values()))) if size is None else size
    shorter = side if resize is None else resize
    if shorter < side:
        raise UsageError(f"imagefolder: resize={shorter} is less than size={side}, which is cut out of it")
    mean, std = moments(normalize, channels=3, owner="imagefolder")
    decoded = {
        split: _decoded(ImageFiles(samples, side, shorter, interpolation, (mean, std)))
        for split, samples in pictures.items()
    }
    splits = ", ".join(f"{split}: {folders[split]} ({len(samples):,})" for split, samples in pictures.items())
    notes = (
        f"{shape_note((3, side, side), len(classes))}; {splits}",
        f"the shorter side is scaled to {shorter} ({interpolation}), then the centre is cropped; size=, resize=",
        moments_note(normalize, mean, std),
    )
    train, test = decoded.get("train"), decoded.get("test")
    return Data(f"imagefolder:{root}", train, test, len(classes), (3, side, side), notes=notes)


def imagefolder_at(name: str) -> Row[Data] | None:
    """The row of ``imagefolder:DIR``; ``None`` for any other name."""
    root = name.removeprefix("imagefolder:")
    if root in (name, ""):
        return None
    build = partial(imagefolder, root=root)
    return Row(name, build, f"images in {root}", hidden=frozenset({"root"}), stated=options_of(imagefolder))


@dataclass(eq=False)
class ImageFiles(LabelledDataset):
    """Images by path and class, decoded on each access: scaled to a shorter side, cropped to ``size``, normalised."""

    files: Sequence[tuple[str, int]]
    size: int
    shorter: int
    interpolation: Interpolation
    moments: Moments

    def __post_init__(self) -> None:
        self.targets = torch.tensor([target for _, target in self.files], device="cpu")
        self.pixels: Pixels = Pixels(*self.moments)

    def inputs_at(self, rows: Tensor) -> Tensor:
        """The inputs of the examples with these numbers."""
        return self.pixels.normalised(self.decode(rows.tolist()))

    def decode(self, indices: Sequence[int]) -> Tensor:
        """The ``uint8`` pixels ``(N, 3, size, size)`` of the images at ``indices``; raises an :class:`InputError`."""
        from torchvision.transforms import functional

        side, mode = self.size, functional.InterpolationMode(self.interpolation)
        images = torch.empty(len(indices), 3, side, side, dtype=torch.uint8, device="cpu")
        for row, index in enumerate(indices):
            with _opened(self.files[index][0]) as image:
                scaled = functional.resize(image.convert("RGB"), [self.shorter], mode)
                images[row] = functional.pil_to_tensor(functional.center_crop(scaled, [side, side]))
        return images


def _files(folder: Path, layout: str) -> tuple[list[tuple[str, int]], list[str]]:
    """The images of one split with their classes, and the names of the classes in order."""
    from torchvision.datasets import ImageFolder

    _check_folders(folder)
    try:
        images = ImageFolder(folder)
    except FileNotFoundError as failure:
        reason = " ".join(str(failure).split()).rstrip(".")
        raise InputError(f"imagefolder: {reason}; {layout}") from None
    return images.samples, images.classes


def _class_names(source: str) -> list[str]:
    """The names of all classes in order: the folders in a folder, as torchvision sorts them, or the lines of a file."""
    path = Path(source).expanduser()
    if path.is_dir():
        names = sorted(entry.name for entry in os.scandir(path) if entry.is_dir())
    else:
        names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not names or len(set(names)) < len(names):
        raise InputError(f"imagefolder: classes_of={source} names {'a class twice' if names else 'no class'}")
    return names


def _renumbered(
    samples: list[tuple[str, int]], found: list[str], classes: list[str], source: str
) -> tuple[list[tuple[str, int]], list[str]]:
    """Images with the numbers that their classes have among all of them."""
    number = {name: k for k, name in enumerate(classes)}
    odd = [name for name in found if name not in number]
    if odd:
        more = f" and {len(odd) - 3} more" if len(odd) > 3 else ""
        raise InputError(f"imagefolder: {', '.join(odd[:3])}{more} are not among the classes of {source}")
    return [(path, number[found[target]]) for path, target in samples], classes


def _check_folders(top: Path) -> None:
    """Refuses a tree that torchvision would walk without an end, as it follows links that lead upwards."""
    above = os.fspath(top).rstrip(os.sep).count(os.sep)
    for count, (place, _, _) in enumerate(os.walk(top, followlinks=True)):
        depth = place.rstrip(os.sep).count(os.sep) - above
        if count > MOST_FOLDERS or depth > DEEPEST:
            raise InputError(
                f"imagefolder: {top} holds more than {MOST_FOLDERS:,} folders, or more than {DEEPEST} in each other, "
                "or a link that leads upwards; name a folder with one folder of pictures a class"
            )


@contextlib.contextmanager
def _opened(path: str) -> Iterator["Image.Image"]:
    """The image in a file; that it cannot be opened or, inside, be decoded raises an :class:`InputError`."""
    from PIL import Image

    try:
        if not os.path.isfile(path):
            raise OSError("it is not a regular file")
        with Image.open(path, formats=_FORMATS) as image:
            yield image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as failure:
        raise InputError(f"imagefolder: {path} cannot be read as a picture: {failure}") from failure


def _common_side(files: Sequence[tuple[str, int]]) -> int:
    """The side of the images, if about 64 of them are squares of one size up to 224; else 224."""
    sizes = set()
    for path, _ in files[:: max(1, len(files) // 64)]:  # opening each of a million files would take minutes
        with _opened(path) as image:
            sizes.add(image.size)
    width, height = next(iter(sizes))
    return width if len(sizes) == 1 and width == height <= 224 else 224


def _decoded(images: ImageFiles) -> LabelledDataset:
    """The same examples in memory if they fit, else as they are."""
    if len(images) * 3 * images.size**2 > IN_MEMORY_BYTES:
        return images
    mean, std = images.moments
    return InMemory(images.decode(range(len(images))), images.targets, mean=mean, std=std, name="imagefolder")
