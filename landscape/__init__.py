"""Loss-landscape geometry with error bars: the public names, each imported when it is first used."""

import importlib
from typing import TYPE_CHECKING

from landscape.version import __version__

if TYPE_CHECKING:
    from landscape import measures as measures
    from landscape import optim as optim
    from landscape import plotting as plotting
    from landscape.alignment import align as align
    from landscape.checkpoints import load_checkpoint as load_checkpoint
    from landscape.comparison import compare as compare
    from landscape.measures import measure as measure
    from landscape.objective import BatchLoss as BatchLoss
    from landscape.objective import Objective as Objective
    from landscape.records.estimate import Estimate as Estimate
    from landscape.records.surface import Surface as Surface
    from landscape.surfaces.sampling import sample_surface as sample_surface
    from landscape.tracking.geometry import Tracker as Tracker
    from landscape.training import Recipe as Recipe
    from landscape.training import train as train

_HOMES = {
    "BatchLoss": "landscape.objective.objective",
    "Estimate": "landscape.records.estimate",
    "Objective": "landscape.objective.objective",
    "Recipe": "landscape.training",
    "Surface": "landscape.records.surface",
    "Tracker": "landscape.tracking.geometry",
    "align": "landscape.alignment",
    "compare": "landscape.comparison",
    "load_checkpoint": "landscape.checkpoints",
    "measure": "landscape.measures",
    "sample_surface": "landscape.surfaces.sampling",
    "train": "landscape.training",
}
_MODULES = ("measures", "optim", "plotting")

__all__ = ["__version__", *_HOMES, *_MODULES]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"landscape.{name}")
    raise AttributeError(f"module 'landscape' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
