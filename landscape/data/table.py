"""The data sets that can be named on the command line and in a recipe."""

import dataclasses

from landscape.data.digits import digits
from landscape.data.examples import Data
from landscape.data.hf_datasets import hf_datasets_at
from landscape.data.imagefolder import imagefolder, imagefolder_at
from landscape.data.moons import moons
from landscape.data.tensor_files import tensor_file
from landscape.data.torchvision_sets import cifar10, cifar100, fashion_mnist, mnist
from landscape.data.user_data import user_data
from landscape.registry.factories import FORMS
from landscape.registry.names import NameTable, Row, Specification


def _plain_files(name: str) -> Row[Data] | None:
    """The row of pictures or numbers in files, which hold no code."""
    return imagefolder_at(name) or tensor_file(name)


def _of_the_user_alone(name: str) -> Row[Data] | None:
    """The row of data that a library or the user's own code reads."""
    return hf_datasets_at(name) or user_data(name)


DATA: NameTable[Data] = NameTable(
    "data",
    [
        Row("digits", digits, "8×8 hand-written digits, 10 classes, 1437 + 360; bundled"),
        Row("moons", moons, "two noisy half circles in the plane, 2 classes; bundled"),
        Row("mnist", mnist, "28×28 hand-written digits, 10 classes, 60000 + 10000", "LeCun et al. 1998"),
        Row("fashion-mnist", fashion_mnist, "28×28 clothes, 10 classes, 60000 + 10000", "arXiv 1708.07747"),
        Row("cifar10", cifar10, "32×32 colour photographs, 10 classes, 50000 + 10000", "Krizhevsky 2009"),
        Row("cifar100", cifar100, "32×32 colour photographs, 100 classes, 50000 + 10000", "Krizhevsky 2009"),
        Row(
            "imagefolder",
            imagefolder,
            "your pictures: imagefolder:DIR with DIR/train/CLASS/*, DIR/test/CLASS/*",
        ),
    ],
    libraries=_plain_files,
    fallback=_of_the_user_alone,
    forms=("imagefolder:DIR", "npz:FILE", "safetensors:FILE", "hf-datasets:FOLDER", *FORMS),
)


def load_data(specification: str | Specification) -> Data:
    """The data set of that name, such as ``load_data("moons:noise=0.2")``.

    Args:
        specification: A name of :data:`DATA`, ``imagefolder:DIR``, ``npz:FILE``, ``safetensors:FILE``,
            ``hf-datasets:FOLDER``, ``package.module:factory`` or ``./file.py:factory``, and its options.

    Raises:
        UsageError: An unknown name or option, or a value that is not allowed.
        InputError: Files are missing, damaged, empty or not finite.
    """
    return dataclasses.replace(DATA.build(specification), name=data_name(specification))


def data_name(specification: str | Specification) -> str:
    """The shortest specification of the same data.

    Options at their defaults are left out, and so is ``download``, which says how to get the data and not
    what they are: what a file says of its data never starts a download.
    """
    parsed = DATA.parse(specification)
    options = DATA.row(parsed.name).options
    kept = {
        name: parsed.options[name]
        for name, option in options.items()
        if name in parsed.options and name != "download" and parsed.options[name] != option.default
    }
    kept.update({name: value for name, value in parsed.options.items() if name not in options})
    return str(Specification(parsed.name, kept))
