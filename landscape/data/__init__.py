"""Data sets by name: ``load_data("digits")``, ``load_data("cifar10:root=DIR")``, ``imagefolder:DIR``."""

from landscape.data.corruptions import examples_of
from landscape.data.examples import Data
from landscape.data.label_noise import with_label_noise
from landscape.data.subset import subset
from landscape.data.table import DATA, data_name, load_data, stated
from landscape.data.user_data import FixedBatches, as_data

__all__ = [
    "DATA",
    "Data",
    "FixedBatches",
    "as_data",
    "data_name",
    "examples_of",
    "load_data",
    "stated",
    "subset",
    "with_label_noise",
]
