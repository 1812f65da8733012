"""SGD, AdamW and the sharpness-aware family, one variant a file, each usable in any training loop."""

from landscape.optim.asam import ASAM
from landscape.optim.batch_closure import BatchClosure
from landscape.optim.build import build_optimizer
from landscape.optim.cr_sam import CRSAM
from landscape.optim.erm import ERM
from landscape.optim.gsam import GSAM
from landscape.optim.sam import SAM
from landscape.optim.sharpness_aware import SharpnessAware
from landscape.optim.table import OPTIMIZERS

__all__ = [
    "ASAM",
    "BatchClosure",
    "CRSAM",
    "ERM",
    "GSAM",
    "OPTIMIZERS",
    "SAM",
    "SharpnessAware",
    "build_optimizer",
]
