"""Recipes of the papers by name: ``landscape train --preset sam-cifar10``. A new one is a row in one of the tables."""

from landscape.training.presets.cifar import CIFAR, CIFAR_MODELS
from landscape.training.presets.imagenet import IMAGENET
from landscape.training.presets.row import PresetTable
from landscape.training.presets.small import SMALL

PRESETS = PresetTable("preset", [*SMALL, *CIFAR, *CIFAR_MODELS, *IMAGENET])
