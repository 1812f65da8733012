"""Presets for ImageNet. The pictures have to be given, and a network that has no name here.

A warm-up of so many steps is rounded to epochs of 1 281 167 pictures. Vision transformers and mixers of the sizes
S and B/16, B/32 of the papers: torchvision has the B ones.
"""

from landscape.training.presets.row import Preset, preset
from landscape.training.recipe import Value

_DATA = {"data": "ImageNet, such as imagefolder:root=DIR"}
_GSAM = "Zhuang et al. 2022, arXiv 2203.08065, table of hyper-parameters"
_CRSAM = "Wu, Luo and Wunsch 2024, arXiv 2312.13555, appendix"
# AdamW's weight decay of 0.3 is multiplied by the learning rate, as in torch.
_TRANSFORMER: dict[str, Value] = {
    "base": "adamw:beta1=0.9,beta2=0.999,weight_decay=0.3",
    "lr": 3e-3,
    "schedule": "linear",
    "epochs": 300,
    "warmup_epochs": 32,
    "batch_size": 4096,
}
# Name, torchvision's name or the network in words, ρ_max, ρ_min, α.
_GSAM_TRANSFORMERS: list[tuple[str, str, float, float, float]] = [
    ("vit-s32", "a ViT-S/32", 0.6, 0.0, 0.4),
    ("vit-s16", "a ViT-S/16", 0.6, 0.0, 1.0),
    ("vit-b32", "torchvision:vit_b_32", 0.6, 0.1, 0.6),
    ("vit-b16", "torchvision:vit_b_16", 0.6, 0.2, 0.4),
    ("mixer-s32", "a Mixer-S/32", 0.5, 0.0, 0.2),
    ("mixer-s16", "a Mixer-S/16", 0.5, 0.0, 0.6),
    ("mixer-s8", "a Mixer-S/8", 0.5, 0.1, 0.1),
    ("mixer-b32", "a Mixer-B/32", 0.7, 0.2, 0.05),
    ("mixer-b16", "a Mixer-B/16", 0.5, 0.2, 0.01),
]
_GSAM_RESNETS = [("resnet50", 0.01), ("resnet101", 0.01), ("resnet152", 0.005)]
_GSAM_RESNET: dict[str, Value] = {
    "base": "sgd:momentum=0.9,weight_decay=0",
    "lr": 1.6,
    "schedule": "linear",
    "epochs": 90,
    "warmup_epochs": 16,
    "batch_size": 4096,
}
# Name, torchvision's name or the network in words, α, its set-up, ρ of SAM, ρ of CR-SAM.
_CRSAM_RESNET: dict[str, Value] = {
    "base": "sgd:momentum=0.9,weight_decay=3e-5",
    "lr": 1.3,
    "schedule": "cosine",
    "epochs": 90,
    "batch_size": 512,
}
_CRSAM_TABLE: list[tuple[str, str, float, dict[str, Value], float, float, str]] = [
    ("resnet50", "torchvision:resnet50", 0.1, _CRSAM_RESNET, 0.1, 0.15, "its text has lr 0.1"),
    ("resnet101", "torchvision:resnet101", 0.2, _CRSAM_RESNET, 0.1, 0.15, "its text has lr 0.1"),
    ("vit-s32", "a ViT-S/32", 0.05, _TRANSFORMER, 0.05, 0.1, "schedule and batch size are GSAM's"),
    ("vit-b32", "torchvision:vit_b_32", 0.05, _TRANSFORMER, 0.05, 0.1, "schedule and batch size are GSAM's"),
]
_SAF: dict[str, Value] = {"lr": 0.4, "batch_size": 1024, "label_smoothing": 0.1}


def _row(
    name: str, optimizer: str, source: str, network: str, fields: dict[str, Value], *, note: str = ""
) -> Preset:
    """A row whose pictures the user gives, and the network too, unless torchvision has it."""
    known = network.startswith("torchvision:")
    model: dict[str, Value] = {"model": network} if known else {}
    needs = _DATA if known else {"model": network, **_DATA}
    return preset(name, optimizer, {**model, **fields}, source=source, note=note, needs=needs)


def _gsam() -> list[Preset]:
    rows = []
    for key, network, rho_max, rho_min, alpha in _GSAM_TRANSFORMERS:
        spec = f"gsam:rho_max={rho_max},rho_min={rho_min},alpha={alpha},lr_max=3e-3,lr_min=3e-5"
        note = "the learning rate ends at 0, theirs at lr_min"
        rows.append(_row(f"gsam-{key}", spec, _GSAM, network, _TRANSFORMER, note=note))
    for key, alpha in _GSAM_RESNETS:
        spec = f"gsam:rho_max=0.04,rho_min=0.02,alpha={alpha},lr_max=1.6,lr_min=0.016"
        note = (
            "batch size unverified; their weight decay is decoupled, which sgd here has not: choose one with "
            "--base; the learning rate ends at 0, theirs at lr_min"
        )
        rows.append(_row(f"gsam-{key}", spec, _GSAM, f"torchvision:{key}", _GSAM_RESNET, note=note))
    return rows


def _cr_sam() -> list[Preset]:
    rows = []
    for key, network, alpha, set_up, sam_rho, rho, note in _CRSAM_TABLE:
        for name, spec in (
            ("sam", f"sam:rho={sam_rho}"),
            ("cr-sam", f"cr-sam:rho={rho},alpha={alpha},beta=0.01"),
        ):
            rows.append(_row(f"{name}-{key}", spec, _CRSAM, network, set_up, note=note))
    return rows


IMAGENET = [
    _row(
        "adamw-vit-s32",
        "adamw:beta1=0.9,beta2=0.999,weight_decay=0.3",
        f"{_GSAM}, AdamW",
        "a ViT-S/32",
        {name: value for name, value in _TRANSFORMER.items() if name != "base"},
    ),
    *_cr_sam(),
    *_gsam(),
    _row(
        "gnp-resnet50",
        "gnp:rho=0.05,alpha=0.8",
        "Zhao, Zhang and Hu 2022, arXiv 2202.03599, its recipes",
        "torchvision:resnet50",
        {},
        note="the recipe beside ρ and α is not theirs: choose lr, epochs and batch size",
    ),
    _row(
        "ssam-f-resnet50",
        "ssam-f:rho=0.7,sparsity=0.5,n_fisher=128",
        "Mi et al. 2022, arXiv 2210.05177, example of the code",
        "torchvision:resnet50",
        {},
        note="the recipe beside its options is not theirs: choose lr, epochs and batch size",
    ),
    _row(
        "saf-imagenet",
        "saf:lam=0.3,tau=5,start_epoch=5,lag=3",
        "Du et al. 2022, arXiv 2205.14083, its code",
        "a network for ImageNet",
        _SAF,
        note="the number of epochs is not known here",
    ),
    _row(
        "mesa-imagenet",
        "mesa:lam=0.8,tau=5,start_epoch=5,decay=0.9998",
        "Du et al. 2022, arXiv 2205.14083, its code",
        "a network for ImageNet",
        _SAF,
        note="the number of epochs is not known here; unverified: the paper's decay is 0.9995",
    ),
]
