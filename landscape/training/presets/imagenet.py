"""Presets for ImageNet. The user has to pass the images, and the networks that torchvision does not have.

A warm-up given in steps is rounded to epochs of 1 281 167 images.
"""

from collections.abc import Mapping

from landscape.training.presets.row import Preset, preset
from landscape.training.recipe import Value

_DATA = {"data": "ImageNet, such as imagefolder:root=DIR,normalize=imagenet"}
_GSAM = "Zhuang et al. 2022, arXiv 2203.08065, table of hyper-parameters"
_CR_SAM = "Wu, Luo and Wunsch 2024, arXiv 2312.13555, appendix"
_DU = "Du et al. 2022, arXiv 2205.14083, its code"
# The papers' decoupled weight decay of 0.3 is multiplied by the learning rate, as in torch's AdamW.
_TRANSFORMER: dict[str, Value] = {
    "base": "adamw:beta1=0.9,beta2=0.999,weight_decay=0.3",
    "lr": 3e-3,
    "schedule": "linear",
    "epochs": 300,
    "warmup_epochs": 32,
    "batch_size": 4096,
}
_GSAM_RESNET: dict[str, Value] = {
    "base": "sgd:momentum=0.9,weight_decay=0",
    "lr": 1.6,
    "schedule": "linear",
    "epochs": 90,
    "warmup_epochs": 16,
    "batch_size": 4096,
}
_CR_SAM_RESNET: dict[str, Value] = {
    "base": "sgd:momentum=0.9,weight_decay=3e-5",
    "lr": 1.3,
    "schedule": "cosine",
    "epochs": 90,
    "batch_size": 512,
}
_SAF: dict[str, Value] = {"lr": 0.4, "batch_size": 1024, "label_smoothing": 0.1}
_RESNET50 = "torchvision:resnet50"
_OPTIONS_ONLY = "the recipe beside {} is not theirs: choose lr, epochs and batch size"
_ANY = "a network for ImageNet"
_GNP = "Zhao, Zhang and Hu 2022, arXiv 2202.03599, its recipes"
_NO_EPOCHS = "the number of epochs is not known here"


def _row(
    optimizer: str, suffix: str, source: str, network: str, fields: Mapping[str, Value], note: str = ""
) -> Preset:
    """A row for a network of torchvision, or for one in words that the user has to pass."""
    has_name = network.startswith("torchvision:")
    needs = _DATA if has_name else {"model": network, **_DATA}
    return preset(optimizer, suffix, source, {"model": network, **fields}, needs=needs, note=note)


def _gsam_transformer(key: str, network: str, rho_max: float, rho_min: float, alpha: float) -> Preset:
    optimizer = f"gsam:rho_max={rho_max},rho_min={rho_min},alpha={alpha},lr_max=3e-3,lr_min=3e-5"
    note = "the learning rate ends at 0, theirs at lr_min"
    return _row(optimizer, key, _GSAM, network, _TRANSFORMER, note)


def _gsam_resnet(key: str, alpha: float) -> Preset:
    optimizer = f"gsam:rho_max=0.04,rho_min=0.02,alpha={alpha},lr_max=1.6,lr_min=0.016"
    note = (
        "batch size unverified; their weight decay is decoupled, which sgd here has not: choose one with "
        "--base; the learning rate ends at 0, theirs at lr_min"
    )
    return _row(optimizer, key, _GSAM, f"torchvision:{key}", _GSAM_RESNET, note)


def _cr_sam(key: str, network: str, alpha: float) -> list[Preset]:
    fields, sam_rho, rho, note = _CR_SAM_RESNET, 0.1, 0.15, "its text has lr 0.1"
    if key.startswith("vit"):
        fields, sam_rho, rho, note = _TRANSFORMER, 0.05, 0.1, "schedule and batch size are GSAM's"
    optimizers = (f"sam:rho={sam_rho}", f"cr-sam:rho={rho},alpha={alpha},beta=0.01")
    return [_row(optimizer, key, _CR_SAM, network, fields, note) for optimizer in optimizers]


IMAGENET = [
    _row(
        str(_TRANSFORMER["base"]),
        "vit-s32",
        f"{_GSAM}, AdamW",
        "a ViT-S/32",
        {name: _TRANSFORMER[name] for name in _TRANSFORMER if name != "base"},
    ),
    *_cr_sam("resnet50", _RESNET50, 0.1),
    *_cr_sam("resnet101", "torchvision:resnet101", 0.2),
    *_cr_sam("vit-s32", "a ViT-S/32", 0.05),
    *_cr_sam("vit-b32", "torchvision:vit_b_32", 0.05),
    _gsam_transformer("vit-s32", "a ViT-S/32", 0.6, 0.0, 0.4),
    _gsam_transformer("vit-s16", "a ViT-S/16", 0.6, 0.0, 1.0),
    _gsam_transformer("vit-b32", "torchvision:vit_b_32", 0.6, 0.1, 0.6),
    _gsam_transformer("vit-b16", "torchvision:vit_b_16", 0.6, 0.2, 0.4),
    _gsam_transformer("mixer-s32", "a Mixer-S/32", 0.5, 0.0, 0.2),
    _gsam_transformer("mixer-s16", "a Mixer-S/16", 0.5, 0.0, 0.6),
    _gsam_transformer("mixer-s8", "a Mixer-S/8", 0.5, 0.1, 0.1),
    _gsam_transformer("mixer-b32", "a Mixer-B/32", 0.7, 0.2, 0.05),
    _gsam_transformer("mixer-b16", "a Mixer-B/16", 0.5, 0.2, 0.01),
    _gsam_resnet("resnet50", 0.01),
    _gsam_resnet("resnet101", 0.01),
    _gsam_resnet("resnet152", 0.005),
    _row("gnp:rho=0.05,alpha=0.8", "resnet50", _GNP, _RESNET50, {}, _OPTIONS_ONLY.format("ρ and α")),
    _row(
        "ssam-f:rho=0.7,sparsity=0.5,n_fisher=128",
        "resnet50",
        "Mi et al. 2022, arXiv 2210.05177, example of the code",
        _RESNET50,
        {},
        _OPTIONS_ONLY.format("its options"),
    ),
    _row("saf:lam=0.3,tau=5,start_epoch=5,lag=3", "imagenet", _DU, _ANY, _SAF, _NO_EPOCHS),
    _row(
        "mesa:lam=0.8,tau=5,start_epoch=5,decay=0.9998",
        "imagenet",
        _DU,
        _ANY,
        _SAF,
        f"{_NO_EPOCHS}; unverified: the paper's decay is 0.9995",
    ),
]
