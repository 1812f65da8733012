"""Presets for CIFAR-10 and CIFAR-100.

Where a source gives the options of its optimizer but not the rest of the training, the rest is the setup that most of
these papers share: SGD with momentum 0.9 and weight decay 1e-3, learning rate 0.05 with cosine decay, 200 epochs of
batches of 128, crops and flips. Such a row says "common set-up". The network is ResNet-18, another one by its name, or
one that the source does not name exactly and that the user has to pass.
"""

from landscape.training.presets.row import Preset, Status, preset
from landscape.training.recipe import Value

_COMMON: dict[str, Value] = {
    "base": "sgd:momentum=0.9,weight_decay=1e-3",
    "lr": 0.05,
    "schedule": "cosine",
    "epochs": 200,
    "batch_size": 128,
    "augment": "basic",
}
_DECAY_5E4 = "sgd:momentum=0.9,weight_decay=5e-4"
_NO_MOMENTUM = "sgd:momentum=0,weight_decay=0"
_AE_SAM = "Jiang et al. 2023, arXiv 2304.14647"
_ASAM = "Kwon et al. 2021, arXiv 2102.11600, and its code"
_CR_SAM = "Wu, Luo and Wunsch 2024, arXiv 2312.13555, appendix"
_ESAM = "Du et al. 2022, arXiv 2110.03141, its code"
_GAM = "Zhang et al. 2023, arXiv 2303.03108, its code"
_GNP = "Zhao, Zhang and Hu 2022, arXiv 2202.03599, its recipes"
_SSAM = "Mi et al. 2022, arXiv 2210.05177, README of the code"
# A part of the name of a preset, and the network: its name, or words for one that the user passes.
_RESNET18 = ("", "resnet18")
_RESNET = ("resnet", "a ResNet for 32×32 pictures")
_RESNET101 = ("resnet101", "resnet101")
_WRN = ("wrn28-10", "wrn28-10")
_PYRAMID = ("pyramidnet", "a PyramidNet")
_PYRAMID110 = ("pyramidnet110", "pyramidnet110")
_WIDE = ("wrn", "a wide ResNet")
_UNKNOWN_LAMBDAS = "λ₁, λ₂, the start of μ and σ², and ρ are not in the paper's text; common set-up"


def _row(
    optimizer: str,
    source: str,
    data: str = "cifar10",
    network: tuple[str, str] = _RESNET18,
    *,
    note: str = "common set-up",
    status: Status = "published",
    **fields: Value,
) -> Preset:
    """A row with the common setup except for ``fields``."""
    tag, model = network
    needs = {"model": model} if " " in model else {}
    recipe = {**_COMMON, "model": model, "data": data, **fields}
    suffix = f"{tag}-{data}".lstrip("-")
    return preset(optimizer, suffix, source, recipe, needs=needs, note=note, status=status)


def _ae_sam(optimizer: str, data: str = "cifar10", *, source: str = _AE_SAM, **noise: Value) -> Preset:
    network = ("noisy", "resnet18") if noise else _RESNET18
    return _row(optimizer, source, data, network, status="unverified", note=_UNKNOWN_LAMBDAS, **noise)


def _cr_sam(
    sam: str, cr_sam: str, data: str, network: tuple[str, str] = _RESNET18, *, decay: str = "0.005"
) -> list[Preset]:
    """SAM and CR-SAM of one network and data set in CR-SAM's appendix."""
    base = f"sgd:momentum=0.9,weight_decay={decay}"
    note = "common set-up" if decay == "0.001" else "the released code has weight decay 1e-3"
    rows = (f"sam:rho={sam}", f"cr-sam:{cr_sam}")
    return [_row(optimizer, _CR_SAM, data, network, note=note, base=base) for optimizer in rows]


CIFAR = [
    _row(_DECAY_5E4, "SGD as in the papers on SAM", lr=0.1),
    *_cr_sam("0.05", "rho=0.1,alpha=0.1,beta=0.01", "cifar10", decay="5e-3"),
    *_cr_sam("0.1", "rho=0.15,alpha=0.5,beta=0.01", "cifar100", decay="5e-3"),
    _row("asam:rho=0.5,eta=0.01", _ASAM),
    _row("asam:rho=1.0,eta=0.01", _ASAM, "cifar100"),
    _row(
        "gsam:rho=2.0,alpha=0.4,adaptive=asam",
        "Zhuang et al. 2022, arXiv 2203.08065, the authors' PyTorch example",
    ),
    _row("looksam:rho=0.05,k=5,alpha=0.7", "Liu et al. 2022, arXiv 2203.02714"),
    _row(
        "ss-sam:rho=0.05,p=0.5",
        f"Zhao, Zhang and Hu 2022, arXiv 2203.09962, as {_AE_SAM} ran it",
        status="third-party",
    ),
    _ae_sam("ae-sam:rho=0.05,delta=0.9,lambda1=-1,lambda2=1"),
    _ae_sam("ae-sam:rho=0.1,delta=0.9,lambda1=-1,lambda2=1", "cifar100"),
    _ae_sam(
        "ae-sam:rho=0.05,delta=0.9,lambda1=-1,lambda2=1",
        source=f"{_AE_SAM}, label noise of 80 %",
        label_noise=0.8,
    ),
    _ae_sam("ae-looksam:rho=0.05,delta=0.9,lambda1=0,lambda2=2"),
    _ae_sam(
        "ae-looksam:rho=0.05,delta=0.9,lambda1=-1,lambda2=1",
        source=f"{_AE_SAM}, label noise of 80 % with half of the steps SAM's",
        label_noise=0.8,
    ),
    _row(
        "wsam:rho=0.05,gamma=0.88,mode=decoupled",
        "Yue et al. 2023, arXiv 2305.15817, the authors' code",
        note="the authors clip each gradient to 1.0, here the final direction is; common set-up",
        max_grad_norm=1.0,
    ),
    _row("stable-sam:rho=0.05", "Tan et al. 2024, arXiv 2401.07250", status="third-party"),
    _row("r-sam:rho=0.05,sigma=0.05,lam=1", "Liu et al. 2022, NeurIPS", status="third-party"),
    _row("ssam-f:rho=0.1,sparsity=0.5,update_every=1,n_fisher=16", _SSAM),
    _row("ssam-d:rho=0.1,sparsity=0.5,update_every=1,drop_rate=0.5", _SSAM),
    _row(
        "f-sam:rho=0.2,sigma=1,lam=0.6",
        "Li et al. 2024, arXiv 2403.12350, the authors' command",
        "cifar100",
        note="weight decay 1e-3, lr 0.05 and cutout are theirs",
        augment="cutout",
    ),
    _row(
        "vasso:rho=0.2,theta=0.9",
        "Li and Giannakis 2023, arXiv 2309.15639, θ of the authors' command line",
        status="unverified",
    ),
    _row("fisher-sam:rho=0.1,eta=1", "Kim et al. 2022, arXiv 2206.04920", status="third-party"),
    _row(
        "n-step-sam:rho=0.05,ascent_steps=2,stride=1",
        "Andriushchenko and Flammarion 2022, arXiv 2206.06232",
        status="unverified",
        note="strides of ρ as in the authors' code, the number of steps is not theirs; common set-up",
    ),
    _row(
        "m-sam:rho=0.05,m=16",
        "Foret et al. 2021, arXiv 2010.01412; Andriushchenko and Flammarion 2022, arXiv 2206.06232",
        note="m = 16 is the smallest that they study; common set-up",
    ),
    _row("sampa:rho=0.1,lam=0.2", "Xie et al. 2024, arXiv 2410.10683"),
    _row("eigen-sam:rho=0.1,alpha=0.2,every=100,power_iterations=5", "Luo et al. 2024, arXiv 2501.12666"),
    _row("esam:rho=0.05,beta=0.6,gamma=0.5", _ESAM),
    _row("esam:rho=0.05,beta=0.6,gamma=0.5", _ESAM, "cifar100"),
    _row(
        "hessian-trace-reg:lam=1e-3,n_probe=5,interval=10,keep_prob=1",
        "Liu, Yu and Lin 2023, Neurocomputing 536, SEHT-H, its code",
        note="lr, batch size, weight decay and epochs are theirs; that code's penalty has no gradient",
        base=_DECAY_5E4,
        lr=0.01,
        batch_size=32,
    ),
    _row(
        "bsam:rho=0.01,beta1=0.9,beta2=0.999,damping=0.1",
        "Möllenhoff and Khan 2023, arXiv 2210.01620, its code",
        status="unverified",
        note="lr is theirs; they average over 8 slices of a batch; common set-up",
        base=_NO_MOMENTUM,
        lr=0.5,
    ),
    _row(
        "entropy-sgd:langevin_steps=20,inner_lr=0.1,noise=1e-4,gamma=0.03,gamma_growth=1e-3,average=0.75",
        "Chaudhari et al. 2017, arXiv 1611.01838, its code",
        status="unverified",
        note="each step sees 20 batches, so 10 epochs are 200 of gradients; lr 1 moves to the mean; common set-up",
        base=_NO_MOMENTUM,
        lr=1.0,
        epochs=10,
    ),
    _row(
        "swa:start=0.75",
        "Izmailov et al. 2018, arXiv 1803.05407",
        status="unverified",
        note="averages from 75 % on; the constant learning rate is not theirs; common set-up",
        schedule="constant",
    ),
]

CIFAR_MODELS = [
    *_cr_sam("0.05", "rho=0.1,alpha=0.2,beta=0.05", "cifar10", _RESNET101),
    *_cr_sam("0.1", "rho=0.15,alpha=0.5,beta=0.05", "cifar100", _RESNET101),
    *_cr_sam("0.1", "rho=0.1,alpha=0.5,beta=0.1", "cifar10", _WRN, decay="0.001"),
    *_cr_sam("0.1", "rho=0.15,alpha=0.5,beta=0.1", "cifar100", _WRN, decay="0.001"),
    *_cr_sam("0.15", "rho=0.2,alpha=0.5,beta=0.1", "cifar10", _PYRAMID110),
    *_cr_sam("0.15", "rho=0.2,alpha=0.5,beta=0.1", "cifar100", _PYRAMID110),
    _row("gam:norm_rho=0.2,rho=0.03,beta=0.1,alpha=0.1,gamma=0.05", _GAM, "cifar10", _RESNET),
    _row("gam:norm_rho=0.2,rho=0.02,beta=0.5,alpha=0.6,gamma=0.03", _GAM, "cifar100", _RESNET),
    _row("gam:norm_rho=0.2,rho=0.04,beta=0.3,alpha=0.5,gamma=0.05", _GAM, "cifar100", _PYRAMID),
    _row("gnp:rho=0.1,alpha=0.8", _GNP, "cifar10", ("resnet50", "resnet50")),
    _row("gnp:rho=0.1,alpha=0.8", _GNP, "cifar10", _PYRAMID),
    _row("esam:rho=0.1,beta=0.5,gamma=0.5", _ESAM, "cifar10", _WIDE),
    _row(
        "esam:rho=0.2,beta=0.5,gamma=0.5",
        _ESAM,
        "cifar10",
        _PYRAMID,
        note="weight decay, lr and epochs are theirs",
        base=_DECAY_5E4,
        epochs=300,
    ),
    _row("ssam-f:rho=0.2,sparsity=0.5,n_fisher=16", _SSAM, "cifar100", _WIDE),
    _row(
        "msam:rho=3",
        "Becker, Altrock and Risse 2024, arXiv 2401.12033, its code",
        "cifar100",
        ("wrn16-4", "wrn:depth=16,width=4"),
    ),
    _row(
        "sam-on:rho=10,adaptive=asam",
        "Müller et al. 2023, arXiv 2306.04226, the authors' command",
        "cifar100",
        _WRN,
        note="ρ, elementwise scaling and AutoAugment are theirs; common set-up",
        augment="autoaugment",
    ),
]
