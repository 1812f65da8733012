"""The data sets that the command line and recipes can name."""

import contextlib
import dataclasses
from pathlib import Path

from landscape.data.bundled import digits, moons
from landscape.data.examples import Data
from landscape.data.hf_datasets import hf_datasets_at
from landscape.data.imagefolder import NORMALISATION, imagefolder, imagefolder_at
from landscape.data.tensor_files import tensor_file
from landscape.data.text import text, text_at
from landscape.data.torchvision_sets import ARCHIVES
from landscape.data.user_data import user_data
from landscape.errors import InputError
from landscape.isolation.modes import plain_defaults
from landscape.registry.factories import FORMS
from landscape.registry.names import NameTable, Row, Specification
from landscape.registry.user_code import names_code


def _path(name: str) -> Row[Data] | None:
    """The row of a file or folder without the word for its kind; ``None`` for a name that is no path."""
    path = Path(name).expanduser()
    kind = {".npz": "npz", ".safetensors": "safetensors"}.get(path.suffix)
    if kind is not None:
        return tensor_file(f"{kind}:{name}")
    if path.suffix == ".txt":
        return text_at(f"text:{name}")
    if path.is_dir():
        saved = any((path / file).is_file() for file in ("dataset_dict.json", "dataset_info.json"))
        folder = name.rstrip("/") or name
        return hf_datasets_at(f"hf-datasets:{folder}") if saved else imagefolder_at(f"imagefolder:{folder}")
    if name.endswith("/"):
        raise InputError(f"there is no folder {name}; pictures are expected in {name}train/CLASS/*")
    return None


DATA: NameTable[Data] = NameTable(
    "data",
    [
        Row("digits", digits, "8×8 hand-written digits, 10 classes, 1437 + 360; bundled"),
        Row("moons", moons, "two noisy half circles in the plane, 2 classes; bundled"),
        Row(
            "text",
            text,
            "English text or source code that comes with Python, as bytes; for next-token; bundled",
        ),
        *(archive.row() for archive in ARCHIVES),
        Row(
            "imagefolder",
            imagefolder,
            "your pictures: imagefolder:DIR with DIR/train/CLASS/*, DIR/test/CLASS/*",
        ),
    ],
    libraries=lambda name: imagefolder_at(name) or text_at(name) or tensor_file(name),
    # datasets runs code of its own while it reads a folder, so that only the user may name one.
    fallback=lambda name: hf_datasets_at(name) or user_data(name) or _path(name),
    forms=("imagefolder:DIR", "text:FILE", "npz:FILE", "safetensors:FILE", "hf-datasets:FOLDER", *FORMS),
)


def load_data(specification: str | Specification) -> Data:
    """The data set of that name, such as ``load_data("moons:noise=0.2")``.

    Args:
        specification: A name of :data:`DATA`, ``imagefolder:DIR``, ``text:FILE``, ``npz:FILE``,
            ``safetensors:FILE``, ``hf-datasets:FOLDER``, ``package.module:factory`` or ``./file.py:factory``, and
            its options.

    Raises:
        UsageError: An unknown name or option, or a value that is not allowed.
        InputError: Files are missing, damaged, empty or not finite.
    """
    name = data_name(specification)
    with contextlib.nullcontext() if names_code(specification) else plain_defaults():
        data = DATA.build(specification)
    listed = name.partition(":")[0]
    notes = data.notes
    if listed in set(DATA) and Path(listed).exists():  # a lookup would run code
        notes += (f"{listed} is the data set of that name, not the path in this folder, which is ./{listed}",)
    return dataclasses.replace(data, name=name, notes=notes)


def data_name(specification: str | Specification) -> str:
    """The shortest specification of the same data: declared options, without those at their defaults.

    The normalisation of a folder of pictures is never left out, because its default was another one before.
    ``download`` is left out too: it says how to get the data, and a name in a file must never start a download.
    """
    parsed = DATA.parse(specification)
    declared = DATA.row(parsed.name).options
    # Declared options first and in their order, so that equal data have equal names.
    names = [*declared, *(name for name in parsed.options if name not in declared)]
    kept = {
        name: parsed.options[name]
        for name in names
        if name in parsed.options
        and name != "download"
        and not (name in declared and parsed.options[name] == declared[name].default)
    }
    return str(stated(Specification(parsed.name, kept)))


def stated(specification: Specification, normalize: str = NORMALISATION) -> Specification:
    """The data with the normalisation of a folder of pictures, which is ``normalize`` where it says none.

    In files of earlier versions that was ``imagenet``.
    """
    if specification.name.partition(":")[0] != "imagefolder" or "normalize" in specification.options:
        return specification
    return Specification(specification.name, {**specification.options, "normalize": normalize})
