"""SGD, AdamW and the sharpness-aware family, one variant a file, each usable in any training loop."""

from landscape.optim.ada_sam import AdaSAM as AdaSAM
from landscape.optim.adaptive_gsam import AdaptiveGSAM as AdaptiveGSAM
from landscape.optim.ae_looksam import AELookSAM as AELookSAM
from landscape.optim.ae_sam import AESAM as AESAM
from landscape.optim.ae_sam import LongGradient as LongGradient
from landscape.optim.asam import ASAM as ASAM
from landscape.optim.batch_closure import BatchClosure as BatchClosure
from landscape.optim.bsam import BSAM as BSAM
from landscape.optim.cr_sam import CRSAM as CRSAM
from landscape.optim.division import Division as Division
from landscape.optim.eigen_sam import EigenSAM as EigenSAM
from landscape.optim.entropy_sgd import EntropySGD as EntropySGD
from landscape.optim.erm import ERM as ERM
from landscape.optim.esam import ESAM as ESAM
from landscape.optim.exchange import Exchange as Exchange
from landscape.optim.f_sam import FriendlySAM as FriendlySAM
from landscape.optim.fisher_sam import FisherSAM as FisherSAM
from landscape.optim.gam import GAM as GAM
from landscape.optim.gnp import GNP as GNP
from landscape.optim.gsam import GSAM as GSAM
from landscape.optim.hessian_trace_reg import HessianTraceRegularised as HessianTraceRegularised
from landscape.optim.le_sam import LESAM as LESAM
from landscape.optim.logits_sam import LogitsSAM as LogitsSAM
from landscape.optim.lookbehind_sam import LookbehindSAM as LookbehindSAM
from landscape.optim.looksam import Every as Every
from landscape.optim.looksam import LookSAM as LookSAM
from landscape.optim.m_sam import SlicedSAM as SlicedSAM
from landscape.optim.mesa import MESA as MESA
from landscape.optim.micro_batches import MicroBatches as MicroBatches
from landscape.optim.msam import MSAM as MSAM
from landscape.optim.n_step_sam import NStepSAM as NStepSAM
from landscape.optim.policy import Policy as Policy
from landscape.optim.r_sam import RSAM as RSAM
from landscape.optim.saf import SAF as SAF
from landscape.optim.sam import SAM as SAM
from landscape.optim.sam_on import SAMON as SAMON
from landscape.optim.sampa import SAMPa as SAMPa
from landscape.optim.sharpness_aware import SharpnessAware as SharpnessAware
from landscape.optim.ss_sam import SSSAM as SSSAM
from landscape.optim.ss_sam import Bernoulli as Bernoulli
from landscape.optim.ssam_d import SSAMD as SSAMD
from landscape.optim.ssam_f import SSAMF as SSAMF
from landscape.optim.stable_sam import StableSAM as StableSAM
from landscape.optim.swa import SWA as SWA
from landscape.optim.swa import WeightAverage as WeightAverage
from landscape.optim.table import OPTIMIZERS as OPTIMIZERS
from landscape.optim.table import build_optimizer as build_optimizer
from landscape.optim.unified_sam import UnifiedSAM as UnifiedSAM
from landscape.optim.vasso import VaSSO as VaSSO
from landscape.optim.weighted_gap import WeightedGap as WeightedGap
from landscape.optim.wsam import WSAM as WSAM
from landscape.optim.xsam import XSAM as XSAM
from landscape.optim.zsharp import ZSharp as ZSharp

# Exactly the names that are imported above: optimizers, policies, the table and its function, and no module.
__all__ = [name for name in globals() if name[0].isupper() or name == "build_optimizer"]
