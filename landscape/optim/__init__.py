"""SGD, AdamW and the sharpness-aware family, one variant a file, each usable in any training loop."""

from landscape.optim.adaptive_gsam import AdaptiveGSAM
from landscape.optim.ae_looksam import AELookSAM
from landscape.optim.ae_sam import AESAM, LongGradient
from landscape.optim.asam import ASAM
from landscape.optim.batch_closure import BatchClosure
from landscape.optim.build import build_optimizer
from landscape.optim.cr_sam import CRSAM
from landscape.optim.erm import ERM
from landscape.optim.gam import GAM
from landscape.optim.gnp import GNP
from landscape.optim.gsam import GSAM
from landscape.optim.looksam import Every, LookSAM
from landscape.optim.policy import Policy
from landscape.optim.sam import SAM
from landscape.optim.sharpness_aware import SharpnessAware
from landscape.optim.ss_sam import SSSAM, Bernoulli
from landscape.optim.stable_sam import StableSAM
from landscape.optim.table import OPTIMIZERS
from landscape.optim.wsam import WSAM

__all__ = [
    "AESAM",
    "ASAM",
    "CRSAM",
    "ERM",
    "GAM",
    "GNP",
    "GSAM",
    "OPTIMIZERS",
    "SAM",
    "SSSAM",
    "WSAM",
    "AELookSAM",
    "AdaptiveGSAM",
    "BatchClosure",
    "Bernoulli",
    "Every",
    "LongGradient",
    "LookSAM",
    "Policy",
    "SharpnessAware",
    "StableSAM",
    "build_optimizer",
]
