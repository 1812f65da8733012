"""Presets for CIFAR with networks that have no name here: the network has to be given.

Where a row says so, what the source leaves open is the common set-up: see :mod:`landscape.training.presets.cifar`.
"""

from landscape.training.presets.row import Preset, preset
from landscape.training.recipe import Value

_SET_UP: dict[str, Value] = {
    "base": "sgd:momentum=0.9,weight_decay=1e-3",
    "lr": 0.05,
    "schedule": "cosine",
    "epochs": 200,
    "batch_size": 128,
    "augment": "basic",
}
_CRSAM = "Wu, Luo and Wunsch 2024, arXiv 2312.13555, appendix"
# Network, its words, weight decay; for CIFAR-10 and CIFAR-100: ρ of SAM, ρ, α, β of CR-SAM.
_CRSAM_TABLE: list[tuple[str, str, float, dict[str, tuple[float, float, float, float]]]] = [
    (
        "resnet101",
        "a ResNet-101 for 32×32 pictures",
        5e-3,
        {"cifar10": (0.05, 0.1, 0.2, 0.05), "cifar100": (0.1, 0.15, 0.5, 0.05)},
    ),
    (
        "wrn28-10",
        "a WRN-28-10",
        1e-3,
        {"cifar10": (0.1, 0.1, 0.5, 0.1), "cifar100": (0.1, 0.15, 0.5, 0.1)},
    ),
    (
        "pyramidnet110",
        "a PyramidNet-110",
        5e-3,
        {"cifar10": (0.15, 0.2, 0.5, 0.1), "cifar100": (0.15, 0.2, 0.5, 0.1)},
    ),
]
_GAM = "Zhang et al. 2023, arXiv 2303.03108, its code"
_GNP = "Zhao, Zhang and Hu 2022, arXiv 2202.03599, its recipes"
_ESAM = "Du et al. 2022, arXiv 2110.03141, its code"


def _for(network: str, name: str, optimizer: str, source: str, *, note: str = "", **fields: Value) -> Preset:
    """A row for a network that the user gives."""
    said = note or "common set-up"
    return preset(name, optimizer, {**_SET_UP, **fields}, source=source, note=said, needs={"model": network})


def _cr_sam() -> list[Preset]:
    rows = []
    for key, words, decay, by_data in _CRSAM_TABLE:
        base = f"sgd:momentum=0.9,weight_decay={decay}"
        note = "" if decay == 1e-3 else "the released code has weight decay 1e-3"
        for data, (sam_rho, rho, alpha, beta) in by_data.items():
            for name, spec in (
                ("sam", f"sam:rho={sam_rho}"),
                ("cr-sam", f"cr-sam:rho={rho},alpha={alpha},beta={beta}"),
            ):
                rows.append(
                    _for(words, f"{name}-{key}-{data}", spec, _CRSAM, note=note, data=data, base=base)
                )
    return rows


CIFAR_MODELS = [
    *_cr_sam(),
    _for(
        "a ResNet for 32×32 pictures",
        "gam-resnet-cifar10",
        "gam:norm_rho=0.2,rho=0.03,beta=0.1,alpha=0.1,gamma=0.05",
        _GAM,
        data="cifar10",
    ),
    _for(
        "a ResNet for 32×32 pictures",
        "gam-resnet-cifar100",
        "gam:norm_rho=0.2,rho=0.02,beta=0.5,alpha=0.6,gamma=0.03",
        _GAM,
        data="cifar100",
    ),
    _for(
        "a PyramidNet",
        "gam-pyramidnet-cifar100",
        "gam:norm_rho=0.2,rho=0.04,beta=0.3,alpha=0.5,gamma=0.05",
        _GAM,
        data="cifar100",
    ),
    _for(
        "a ResNet-50 for 32×32 pictures",
        "gnp-resnet50-cifar10",
        "gnp:rho=0.1,alpha=0.8",
        _GNP,
        data="cifar10",
    ),
    _for("a PyramidNet", "gnp-pyramidnet-cifar10", "gnp:rho=0.1,alpha=0.8", _GNP, data="cifar10"),
    _for("a wide ResNet", "esam-wrn-cifar10", "esam:rho=0.1,beta=0.5,gamma=0.5", _ESAM, data="cifar10"),
    _for(
        "a PyramidNet",
        "esam-pyramidnet-cifar10",
        "esam:rho=0.2,beta=0.5,gamma=0.5",
        _ESAM,
        note="weight decay, lr and epochs are theirs",
        data="cifar10",
        base="sgd:momentum=0.9,weight_decay=5e-4",
        epochs=300,
    ),
    _for(
        "a wide ResNet",
        "ssam-f-wrn-cifar100",
        "ssam-f:rho=0.2,sparsity=0.5,n_fisher=16",
        "Mi et al. 2022, arXiv 2210.05177, README of the code",
        data="cifar100",
    ),
    _for(
        "a WRN-16-4",
        "msam-wrn16-4-cifar100",
        "msam:rho=3",
        "Becker, Altrock and Risse 2024, arXiv 2401.12033, its code",
        data="cifar100",
    ),
    _for(
        "a WRN-28-10",
        "sam-on-wrn28-10-cifar100",
        "sam-on:rho=10,adaptive=asam",
        "Müller et al. 2023, arXiv 2306.04226, the authors' command",
        note="ρ, elementwise scaling and AutoAugment are theirs; common set-up",
        data="cifar100",
        augment="autoaugment",
    ),
]
