"""The optimizers by name. A new one is its file and its row here."""

from landscape.optim.ada_sam import AdaSAM
from landscape.optim.adaptive_gsam import AdaptiveGSAM
from landscape.optim.ae_looksam import AELookSAM
from landscape.optim.ae_sam import AESAM
from landscape.optim.asam import ASAM
from landscape.optim.bases import adamw, sgd
from landscape.optim.bsam import BSAM
from landscape.optim.cr_sam import CRSAM
from landscape.optim.eigen_sam import EigenSAM
from landscape.optim.entropy_sgd import EntropySGD
from landscape.optim.esam import ESAM
from landscape.optim.f_sam import FriendlySAM
from landscape.optim.fisher_sam import FisherSAM
from landscape.optim.gam import GAM
from landscape.optim.gnp import GNP
from landscape.optim.gsam import GSAM
from landscape.optim.hessian_trace_reg import HessianTraceRegularised
from landscape.optim.looksam import LookSAM
from landscape.optim.m_sam import SlicedSAM
from landscape.optim.mesa import MESA
from landscape.optim.msam import MSAM
from landscape.optim.n_step_sam import NStepSAM
from landscape.optim.r_sam import RSAM
from landscape.optim.row import OptimizerTable, base, variant
from landscape.optim.saf import SAF
from landscape.optim.sam import SAM
from landscape.optim.sam_on import SAMON
from landscape.optim.sampa import SAMPa
from landscape.optim.ss_sam import SSSAM
from landscape.optim.ssam_d import SSAMD
from landscape.optim.ssam_f import SSAMF
from landscape.optim.stable_sam import StableSAM
from landscape.optim.swa import SWA
from landscape.optim.vasso import VaSSO
from landscape.optim.wsam import WSAM

OPTIMIZERS = OptimizerTable(
    "optimizer",
    [
        base("sgd", sgd, "stochastic gradient descent with momentum", "Robbins and Monro 1951"),
        base(
            "adamw", adamw, "Adam with decoupled weight decay", "Loshchilov and Hutter 2019, arXiv 1711.05101"
        ),
        variant(
            "sam",
            SAM,
            "the gradient at the worst point nearby",
            "Foret et al. 2021, arXiv 2010.01412",
            cost=2,
        ),
        variant(
            "asam",
            ASAM,
            "SAM in a ball scaled with the weights",
            "Kwon et al. 2021, arXiv 2102.11600",
            cost=2,
        ),
        variant(
            "gsam",
            GSAM,
            "SAM that also closes the gap between the loss nearby and here",
            "Zhuang et al. 2022, arXiv 2203.08065",
            cost=2,
        ),
        variant(
            "cr-sam",
            CRSAM,
            "SAM with a regulariser on the curvature along the gradient",
            "Wu, Luo and Wunsch 2024, arXiv 2312.13555",
            cost=3,
        ),
        variant(
            "adaptive-gsam",
            AdaptiveGSAM,
            "GSAM with a displacement scaled with the weights, down to a floor",
            "student report, Oxford C6.5, 2025, a1b2jpg/Theories-of-Deep-Learning",
            cost=2,
        ),
        variant(
            "looksam",
            LookSAM,
            "SAM every k steps, what it adds used again in between",
            "Liu et al. 2022, arXiv 2203.02714",
            cost="1 + 1/k",
        ),
        variant(
            "ss-sam",
            SSSAM,
            "SAM or the base alone, by a coin",
            "Zhao, Zhang and Hu 2022, arXiv 2203.09962",
            cost="1 + p",
        ),
        variant(
            "ae-sam",
            AESAM,
            "SAM where the gradient is long, the base alone elsewhere",
            "Jiang et al. 2023, arXiv 2304.14647",
            cost="1 + ζ, ζ ≈ 0.5",
        ),
        variant(
            "ae-looksam",
            AELookSAM,
            "LookSAM with the steps of AE-SAM",
            "Jiang et al. 2023, arXiv 2304.14647",
            cost="1 + ζ, ζ ≈ 0.2",
        ),
        variant(
            "gnp",
            GNP,
            "a penalty on the length of the gradient",
            "Zhao, Zhang and Hu 2022, arXiv 2202.03599",
            cost=2,
        ),
        variant(
            "wsam",
            WSAM,
            "sharpness as a term with a weight, in a step of its own",
            "Yue et al. 2023, arXiv 2305.15817",
            cost=2,
        ),
        variant(
            "gam",
            GAM,
            "SAM that also lowers the longest gradient nearby",
            "Zhang et al. 2023, arXiv 2303.03108",
            cost=4,
        ),
        variant(
            "stable-sam",
            StableSAM,
            "SAM's direction at the length of the plain gradient",
            "Tan et al. 2024, arXiv 2401.07250",
            cost=2,
        ),
        variant(
            "r-sam",
            RSAM,
            "SAM whose ascent starts from a random point nearby",
            "Liu et al. 2022, NeurIPS",
            cost=2,
        ),
        variant(
            "ssam-f",
            SSAMF,
            "SAM that displaces the coordinates with the largest Fisher information",
            "Mi et al. 2022, arXiv 2210.05177",
            cost="2 + n_fisher / (batch size * steps between masks)",
        ),
        variant(
            "ssam-d",
            SSAMD,
            "SAM that displaces a part of the coordinates, exchanged on the way",
            "Mi et al. 2022, arXiv 2210.05177",
            cost=2,
        ),
        variant(
            "f-sam",
            FriendlySAM,
            "SAM along what is particular to the batch",
            "Li et al. 2024, arXiv 2403.12350",
            cost=2,
        ),
        variant(
            "vasso",
            VaSSO,
            "SAM along a running average of the gradients",
            "Li and Giannakis 2023, arXiv 2309.15639",
            cost=2,
        ),
        variant(
            "fisher-sam",
            FisherSAM,
            "SAM in the ellipsoid of the Fisher information",
            "Kim et al. 2022, arXiv 2206.04920",
            cost=2,
        ),
        variant(
            "msam",
            MSAM,
            "the gradient ahead along the momentum",
            "Becker, Altrock and Risse 2024, arXiv 2401.12033",
            cost=1,
        ),
        variant(
            "sam-on",
            SAMON,
            "SAM that displaces the normalisation layers only",
            "Müller et al. 2023, arXiv 2306.04226",
            cost=2,
        ),
        variant(
            "n-step-sam",
            NStepSAM,
            "SAM with several steps of ascent",
            "Andriushchenko and Flammarion 2022, arXiv 2206.06232",
            cost="1 + ascent_steps",
        ),
        variant(
            "sampa",
            SAMPa,
            "SAM whose two gradients do not wait for each other",
            "Xie et al. 2024, arXiv 2410.10683",
            cost=2,
        ),
        variant(
            "eigen-sam",
            EigenSAM,
            "SAM turned towards the direction of largest curvature",
            "Luo et al. 2024, arXiv 2501.12666",
            cost="2 + 2 * power_iterations / every",
        ),
        variant(
            "esam",
            ESAM,
            "SAM on some of the weights and the examples that it hurts most",
            "Du et al. 2022, arXiv 2110.03141",
            cost="(4 + 3·gamma) / 3",
        ),
        variant(
            "saf",
            SAF,
            "answers held near those of some epochs ago",
            "Du et al. 2022, arXiv 2205.14083",
            cost=1,
        ),
        variant(
            "mesa",
            MESA,
            "answers held near those of averaged weights",
            "Du et al. 2022, arXiv 2205.14083",
            cost="4/3",
        ),
        variant(
            "m-sam",
            SlicedSAM,
            "SAM for each slice of the batch by itself",
            "Andriushchenko and Flammarion 2022, arXiv 2206.06232",
            cost=2,
        ),
        variant(
            "hessian-trace-reg",
            HessianTraceRegularised,
            "the loss and its mean curvature lowered together",
            "Liu, Yu and Lin 2023, Neurocomputing 536",
            cost="1 + 4·n_probe/interval; fd: 1 + 2·n_probe/interval",
        ),
        variant(
            "ada-sam",
            AdaSAM,
            "SAM's gradient scaled as in AMSGrad",
            "Sun et al. 2023, arXiv 2303.00565",
            cost=2,
        ),
        variant(
            "bsam",
            BSAM,
            "SAM as variational Bayes, with a variance for each weight",
            "Möllenhoff and Khan 2023, arXiv 2210.01620",
            cost=2,
        ),
        variant(
            "entropy-sgd",
            EntropySGD,
            "down the slope of the local entropy",
            "Chaudhari et al. 2017, arXiv 1611.01838",
            cost="langevin_steps",
        ),
        variant(
            "swa",
            SWA,
            "descent, and the mean of its last weights",
            "Izmailov et al. 2018, arXiv 1803.05407",
            cost=1,
        ),
    ],
)
