"""The table of optimizers, and building one from two names. A new one adds its file and its row here."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from landscape.errors import UsageError
from landscape.optim.ada_sam import AdaSAM
from landscape.optim.adaptive_gsam import AdaptiveGSAM
from landscape.optim.ae_looksam import AELookSAM
from landscape.optim.ae_sam import AESAM
from landscape.optim.asam import ASAM
from landscape.optim.bases import adamw, muon, schedulefree_adamw, schedulefree_sgd, sgd
from landscape.optim.bsam import BSAM
from landscape.optim.cr_sam import CRSAM
from landscape.optim.eigen_sam import EigenSAM
from landscape.optim.entropy_sgd import EntropySGD
from landscape.optim.erm import ERM
from landscape.optim.esam import ESAM
from landscape.optim.f_sam import FriendlySAM
from landscape.optim.fisher_sam import FisherSAM
from landscape.optim.focal_sam import FocalSAM
from landscape.optim.functional_sam import FunctionalSAM
from landscape.optim.gam import GAM
from landscape.optim.gnp import GNP
from landscape.optim.gsam import GSAM
from landscape.optim.hessian_trace_reg import HessianTraceRegularised
from landscape.optim.le_sam import LESAM
from landscape.optim.logits_sam import LogitsSAM
from landscape.optim.lookbehind_sam import LookbehindSAM
from landscape.optim.looksam import LookSAM
from landscape.optim.m_sam import SlicedSAM
from landscape.optim.mesa import MESA
from landscape.optim.msam import MSAM
from landscape.optim.n_step_sam import NStepSAM
from landscape.optim.r_sam import RSAM
from landscape.optim.saf import SAF
from landscape.optim.sam import SAM
from landscape.optim.sam_on import SAMON
from landscape.optim.sampa import SAMPa
from landscape.optim.sharpness_aware import SharpnessAware
from landscape.optim.ss_sam import SSSAM
from landscape.optim.ssam_d import SSAMD
from landscape.optim.ssam_f import SSAMF
from landscape.optim.stable_sam import StableSAM
from landscape.optim.swa import SWA
from landscape.optim.tilted_sam import TiltedSAM
from landscape.optim.unified_sam import UnifiedSAM
from landscape.optim.vasso import VaSSO
from landscape.optim.weighted_gap import WeightedGap
from landscape.optim.wsam import WSAM
from landscape.optim.xsam import XSAM
from landscape.optim.zsharp import ZSharp
from landscape.registry.names import NameTable, Option, Row


@dataclass(frozen=True)
class OptimizerRow(Row[torch.optim.Optimizer]):
    """One optimizer: a base, built from parameters, or a sharpness-aware one, built from a base.

    Attributes:
        cost: Gradients a step, a number or a formula in the row's options.
        formula: The same as a function of the options; ``None`` for a number, and if the options do not decide it.
        is_base: Whether it is a base.
        plain_lr: The learning rate of a rule with moments of its own, over a base that adds nothing to them; ``None``
            for the others, whose directions have the size of a gradient.
    """

    cost: float | str = 1
    formula: Callable[[Mapping[str, Any]], float] | None = None
    is_base: bool = False
    plain_lr: float | None = None

    def gradients(self, options: Mapping[str, Any]) -> float | None:
        """Gradients a step with these options; ``None`` if it depends on the data, too."""
        cost = self.cost if self.formula is None else self.formula(options)
        if isinstance(cost, str):
            return None
        window = float(options.get("stop", 1)) - float(options.get("start", 0))
        return cost if cost == 1 else window * cost + (1 - window)

    @property
    def options(self) -> dict[str, Option]:
        """Those of the rule, then those that all rules share."""
        options = super().options
        own = {name: option for name, option in options.items() if name not in self.shared}
        return {**own, **{name: options[name] for name in self.shared}}

    @property
    def shared(self) -> list[str]:
        """The names of the options that are those of every rule, except where a rule has its own of the name."""
        options = super().options
        return [
            name for name, default in _SHARED.items() if name in options and options[name].default == default
        ]


class OptimizerTable(NameTable[torch.optim.Optimizer]):
    """The names of the optimizers."""

    def __getitem__(self, name: str) -> OptimizerRow:
        row = super().__getitem__(name)
        assert isinstance(row, OptimizerRow)
        return row

    def row(self, name: str) -> OptimizerRow:
        """The row of that name; raises :class:`UsageError` with the nearest name."""
        return self[super().row(name).name]


def variant(
    name: str,
    build: type[torch.optim.Optimizer],
    reference: str,
    cost: float | str,
    formula: Callable[[Mapping[str, Any]], float] | None = None,
    plain_lr: float | None = None,
) -> OptimizerRow:
    """A row for an optimizer that is built around a base. Its summary is the first line of its module."""
    title = (sys.modules[build.__module__].__doc__ or "").partition("\n")[0]
    summary = title.partition(": ")[2].removesuffix(".")
    costs: dict[str, Any] = {"cost": cost, "formula": formula}
    return OptimizerRow(name, build, summary, reference, _OF_A_PROGRAM, plain_lr=plain_lr, **costs)


# Set by a program, not by a name: objects, lists, and branches, for which the processes must not divide the batch.
_OF_A_PROGRAM = frozenset({"base", "model", "branches", "process_group", "class_counts"})
# The options of every rule, with their defaults. Another default means another option, as SWA's ``start`` is.
_SHARED = {"max_grad_norm": None, "start": 0.0, "stop": 1.0, "total_steps": None}
_PLAIN = "sgd:momentum=0,weight_decay=0"
_LR = frozenset({"lr"})  # of the recipe, not of the name
_ROWS = [
    OptimizerRow(
        "sgd", sgd, "stochastic gradient descent with momentum", "Robbins and Monro 1951", _LR, is_base=True
    ),
    OptimizerRow(
        "adamw",
        adamw,
        "Adam with decoupled weight decay",
        "Loshchilov and Hutter 2019, arXiv 1711.05101",
        _LR,
        is_base=True,
    ),
    OptimizerRow(
        "muon",
        muon,
        "momentum orthogonalised for matrices, AdamW for other tensors",
        "Jordan et al. 2024; Liu et al. 2025, arXiv 2502.16982",
        _LR,
        is_base=True,
    ),
    OptimizerRow(
        "schedulefree-sgd",
        schedulefree_sgd,
        "SGD at a constant learning rate, with an average in place of a schedule (package schedulefree)",
        "Defazio et al. 2024, arXiv 2405.15682",
        _LR,
        is_base=True,
    ),
    OptimizerRow(
        "schedulefree-adamw",
        schedulefree_adamw,
        "AdamW at a constant learning rate, with an average in place of a schedule (package schedulefree)",
        "Defazio et al. 2024, arXiv 2405.15682",
        _LR,
        is_base=True,
    ),
    variant("sam", SAM, "Foret et al. 2021, arXiv 2010.01412", 2),
    variant("asam", ASAM, "Kwon et al. 2021, arXiv 2102.11600", 2),
    variant("gsam", GSAM, "Zhuang et al. 2022, arXiv 2203.08065", 2),
    variant("weighted-gap", WeightedGap, "Zhuang et al. 2022, arXiv 2203.08065", 2),
    variant("cr-sam", CRSAM, "Wu, Luo and Wunsch 2024, arXiv 2312.13555", 3),
    variant(
        "adaptive-gsam",
        AdaptiveGSAM,
        "student report, Oxford C6.5, 2025, a1b2jpg/Theories-of-Deep-Learning",
        2,
    ),
    variant("looksam", LookSAM, "Liu et al. 2022, arXiv 2203.02714", "1 + 1/k", lambda o: 1 + 1 / o["k"]),
    variant("ss-sam", SSSAM, "Zhao, Zhang and Hu 2022, arXiv 2203.09962", "1 + p", lambda o: 1 + o["p"]),
    variant("ae-sam", AESAM, "Jiang et al. 2023, arXiv 2304.14647", "1 + ζ, ζ ≈ 0.5", lambda _: 1.5),
    variant("ae-looksam", AELookSAM, "Jiang et al. 2023, arXiv 2304.14647", "1 + ζ, ζ ≈ 0.2", lambda _: 1.2),
    variant("gnp", GNP, "Zhao, Zhang and Hu 2022, arXiv 2202.03599", 2),
    variant("wsam", WSAM, "Yue et al. 2023, arXiv 2305.15817", 2),
    variant("gam", GAM, "Zhang et al. 2023, arXiv 2303.03108", 4),
    variant("stable-sam", StableSAM, "Tan et al. 2024, arXiv 2401.07250", 2),
    variant("unified-sam", UnifiedSAM, "Oikonomou and Loizou 2025, arXiv 2503.02225", 2),
    variant("le-sam", LESAM, "Wang et al. 2026, arXiv 2605.10183", 2),
    variant("logits-sam", LogitsSAM, "Luo et al. 2026, arXiv 2603.18258", 2),
    variant("zsharp", ZSharp, "Yun 2025, arXiv 2505.02369", 2),
    variant("xsam", XSAM, "ICLR 2026, arXiv 2603.10048", "2 + (10·alpha_max + 1) / (3 * steps an epoch)"),
    variant("functional-sam", FunctionalSAM, "Singh et al. 2025, arXiv 2502.02407", 2),
    variant("focal-sam", FocalSAM, "Li et al. 2025, arXiv 2505.01660", 3),
    variant(
        "lookbehind-sam",
        LookbehindSAM,
        "Mordido et al. 2024, arXiv 2307.16704",
        "1 + k",
        lambda o: 1 + o["k"],
    ),
    variant(
        "tilted-sam",
        TiltedSAM,
        "Li, Zhou and Bilmes 2025, arXiv 2410.22656",
        "2 * samples",
        lambda o: 2 * o["samples"],
    ),
    variant("r-sam", RSAM, "Liu et al. 2022, NeurIPS", 2),
    variant(
        "ssam-f",
        SSAMF,
        "Mi et al. 2022, arXiv 2210.05177",
        "2 + n_fisher / (batch size * steps between masks)",
    ),
    variant("ssam-d", SSAMD, "Mi et al. 2022, arXiv 2210.05177", 2),
    variant("f-sam", FriendlySAM, "Li et al. 2024, arXiv 2403.12350", 2),
    variant("vasso", VaSSO, "Li and Giannakis 2023, arXiv 2309.15639", 2),
    variant("fisher-sam", FisherSAM, "Kim et al. 2022, arXiv 2206.04920", 2),
    variant("msam", MSAM, "Becker, Altrock and Risse 2024, arXiv 2401.12033", 1),
    variant("sam-on", SAMON, "Müller et al. 2023, arXiv 2306.04226", 2),
    variant(
        "n-step-sam",
        NStepSAM,
        "Andriushchenko and Flammarion 2022, arXiv 2206.06232",
        "1 + ascent_steps",
        lambda o: 1 + o["ascent_steps"],
    ),
    variant("sampa", SAMPa, "Xie et al. 2024, arXiv 2410.10683", 2),
    variant(
        "eigen-sam",
        EigenSAM,
        "Luo et al. 2024, arXiv 2501.12666",
        "2 + 2 * power_iterations / every",
        lambda o: 2 + 2 * o["power_iterations"] / o["every"],
    ),
    variant(
        "esam",
        ESAM,
        "Du et al. 2022, arXiv 2110.03141",
        "(4 + 3·gamma) / 3",
        lambda o: (4 + 3 * o["gamma"]) / 3,
    ),
    variant("saf", SAF, "Du et al. 2022, arXiv 2205.14083", 1),
    variant("mesa", MESA, "Du et al. 2022, arXiv 2205.14083", "4/3", lambda _: 4 / 3),
    variant("m-sam", SlicedSAM, "Andriushchenko and Flammarion 2022, arXiv 2206.06232", 2),
    variant(
        "hessian-trace-reg",
        HessianTraceRegularised,
        "Liu, Yu and Lin 2023, Neurocomputing 536",
        "1 + 4·n_probe/interval; fd: 1 + 2·n_probe/interval",
        lambda o: 1 + (2 if o["mode"] == "fd" else 4) * o["n_probe"] / o["interval"],
    ),
    variant("ada-sam", AdaSAM, "Sun et al. 2023, arXiv 2303.00565", 2, plain_lr=3e-3),
    variant("bsam", BSAM, "Möllenhoff and Khan 2023, arXiv 2210.01620", 2, plain_lr=1.0),
    variant(
        "entropy-sgd",
        EntropySGD,
        "Chaudhari et al. 2017, arXiv 1611.01838",
        "langevin_steps",
        lambda o: o["langevin_steps"],
    ),
    variant("swa", SWA, "Izmailov et al. 2018, arXiv 1803.05407", 1),
]
OPTIMIZERS = OptimizerTable("optimizer", _ROWS)


def build_optimizer(
    model: nn.Module,
    *,
    optimizer: str = "sgd",
    base: str = "sgd",
    lr: float = 0.1,
    total_steps: int | None = None,
    steps_per_epoch: int | None = None,
    num_examples: int | None = None,
    class_counts: Sequence[int] | None = None,
    seed: int = 0,
) -> SharpnessAware:
    """The optimizer of that name for all parameters of a model.

    Args:
        model: The network.
        optimizer: A name of ``OPTIMIZERS`` with options. A base such as ``"sgd"`` or ``"adamw"`` is used as
            it is, with one gradient a step, and ``base`` is ignored.
        base: The optimizer that takes the step of a sharpness-aware one.
        lr: Learning rate.
        total_steps: Steps of the whole run, for optimizers with an option of that name that the text does not set.
        steps_per_epoch: Steps of an epoch, likewise.
        num_examples: Examples of the training set, likewise.
        class_counts: Examples of each class in it, likewise.
        seed: Seed of the random numbers that the optimizer draws. Replicas of one run need the same.

    Raises:
        UsageError: A name or an option does not exist, or a value is not allowed.
    """
    name = OPTIMIZERS.parse(optimizer).name
    if OPTIMIZERS.row(name).is_base:
        return ERM(_build_base(model, optimizer, lr), model=model)
    context = {
        "total_steps": total_steps,
        "steps_per_epoch": steps_per_epoch,
        "num_examples": num_examples,
        "class_counts": class_counts,
    }
    known = {key: value for key, value in context.items() if value is not None}
    built = OPTIMIZERS.build(optimizer, _build_base(model, base, lr), model=model, **known)
    assert isinstance(built, SharpnessAware)
    built.seed = seed
    return built


def unusual(optimizer: str, base: str, lr: float) -> str | None:
    """What to know about a rule with moments of its own over a base with more, or at another's learning rate."""
    row = OPTIMIZERS.row(OPTIMIZERS.parse(optimizer).name)
    if row.plain_lr is None:
        return None
    adds = OPTIMIZERS.parse(base).name != "sgd" or OPTIMIZERS.settings(base)["momentum"] != 0
    if not adds and lr <= 5 * row.plain_lr:
        return None
    seen = f"base={base} adds another to them" if adds else f"lr={lr:g} is that of a gradient"
    return (
        f"{row.name} has moments of its own, and {seen}: such runs may not learn at all; its steps are those of its "
        f"paper with base={_PLAIN} (--base) and a learning rate (--lr) of about {row.plain_lr:g}"
    )


def _build_base(model: nn.Module, base: str, lr: float) -> torch.optim.Optimizer:
    if not OPTIMIZERS.row(OPTIMIZERS.parse(base).name).is_base:
        names = ", ".join(name for name in OPTIMIZERS if OPTIMIZERS[name].is_base)
        raise UsageError(f"base={base} is not a base optimizer; choose one of {names}")
    try:
        return OPTIMIZERS.build(base, model.parameters(), lr=lr)
    except UsageError:
        raise
    except ValueError as refusal:
        raise UsageError(f"{base}: {refusal}") from None
