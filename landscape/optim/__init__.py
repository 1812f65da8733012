"""SGD, AdamW and the sharpness-aware family, one variant a file, each usable in any training loop."""

from landscape.optim.ada_sam import AdaSAM
from landscape.optim.adaptive_gsam import AdaptiveGSAM
from landscape.optim.ae_looksam import AELookSAM
from landscape.optim.ae_sam import AESAM, LongGradient
from landscape.optim.asam import ASAM
from landscape.optim.batch_closure import BatchClosure
from landscape.optim.bsam import BSAM
from landscape.optim.cr_sam import CRSAM
from landscape.optim.eigen_sam import EigenSAM
from landscape.optim.entropy_sgd import EntropySGD
from landscape.optim.erm import ERM
from landscape.optim.esam import ESAM
from landscape.optim.f_sam import FriendlySAM
from landscape.optim.fisher_sam import FisherSAM
from landscape.optim.gam import GAM
from landscape.optim.gnp import GNP
from landscape.optim.gsam import GSAM
from landscape.optim.hessian_trace_reg import HessianTraceRegularised
from landscape.optim.looksam import Every, LookSAM
from landscape.optim.m_sam import SlicedSAM
from landscape.optim.mesa import MESA
from landscape.optim.micro_batches import MicroBatches
from landscape.optim.msam import MSAM
from landscape.optim.n_step_sam import NStepSAM
from landscape.optim.policy import Policy
from landscape.optim.r_sam import RSAM
from landscape.optim.saf import SAF
from landscape.optim.sam import SAM
from landscape.optim.sam_on import SAMON
from landscape.optim.sampa import SAMPa
from landscape.optim.sharpness_aware import SharpnessAware
from landscape.optim.ss_sam import SSSAM, Bernoulli
from landscape.optim.ssam_d import SSAMD
from landscape.optim.ssam_f import SSAMF
from landscape.optim.stable_sam import StableSAM
from landscape.optim.swa import SWA, WeightAverage
from landscape.optim.table import OPTIMIZERS, build_optimizer
from landscape.optim.vasso import VaSSO
from landscape.optim.wsam import WSAM

__all__ = [
    "AESAM",
    "ASAM",
    "BSAM",
    "CRSAM",
    "ERM",
    "ESAM",
    "GAM",
    "GNP",
    "GSAM",
    "MESA",
    "MSAM",
    "OPTIMIZERS",
    "RSAM",
    "SAF",
    "SAM",
    "SAMON",
    "SSAMD",
    "SSAMF",
    "SSSAM",
    "SWA",
    "WSAM",
    "AELookSAM",
    "AdaSAM",
    "AdaptiveGSAM",
    "BatchClosure",
    "Bernoulli",
    "EigenSAM",
    "EntropySGD",
    "Every",
    "FisherSAM",
    "FriendlySAM",
    "HessianTraceRegularised",
    "LongGradient",
    "LookSAM",
    "MicroBatches",
    "NStepSAM",
    "Policy",
    "SAMPa",
    "SharpnessAware",
    "SlicedSAM",
    "StableSAM",
    "VaSSO",
    "WeightAverage",
    "build_optimizer",
]
