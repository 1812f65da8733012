"""Presets for CIFAR-10 and CIFAR-100 with the ResNet-18 that is here.

Where a source gives the options of its optimizer and not the rest of the training, the rest is the set-up that
most of these papers share: SGD with momentum 0.9 and weight decay 1e-3, learning rate 0.05 falling as a cosine,
200 epochs of batches of 128, crops and mirroring. Such a row says "common set-up".
"""

from landscape.training.presets.row import Preset, Status, preset
from landscape.training.recipe import Value

_SET_UP: dict[str, Value] = {
    "base": "sgd:momentum=0.9,weight_decay=1e-3",
    "model": "resnet18",
    "lr": 0.05,
    "schedule": "cosine",
    "epochs": 200,
    "batch_size": 128,
    "augment": "basic",
}
_CRSAM = "Wu, Luo and Wunsch 2024, arXiv 2312.13555, appendix"
_AESAM = "Jiang et al. 2023, arXiv 2304.14647"
_LAMBDAS = "λ₁, λ₂, the start of μ and σ², and ρ are not in the paper's text; common set-up"


def _common(
    name: str,
    optimizer: str,
    source: str,
    *,
    status: Status = "published",
    note: str = "",
    data: str = "cifar10",
    **fields: Value,
) -> Preset:
    """A row with the common set-up, but for the fields given."""
    said = note or "common set-up"
    return preset(
        name, optimizer, {**_SET_UP, "data": data, **fields}, source=source, status=status, note=said
    )


def _cr_sam(data: str, sam_rho: float, rho: float, alpha: float) -> list[Preset]:
    """The ResNet-18 rows of CR-SAM's appendix."""
    base, note = "sgd:momentum=0.9,weight_decay=5e-3", "the released code has weight decay 1e-3"
    specs = {"sam": f"sam:rho={sam_rho}", "cr-sam": f"cr-sam:rho={rho},alpha={alpha},beta=0.01"}
    return [
        _common(f"{name}-{data}", spec, _CRSAM, note=note, data=data, base=base)
        for name, spec in specs.items()
    ]


CIFAR = [
    _common("sgd-cifar10", "sgd:momentum=0.9,weight_decay=5e-4", "SGD as in the papers on SAM", lr=0.1),
    *_cr_sam("cifar10", 0.05, 0.1, 0.1),
    *_cr_sam("cifar100", 0.1, 0.15, 0.5),
    _common("asam-cifar10", "asam:rho=0.5,eta=0.01", "Kwon et al. 2021, arXiv 2102.11600, and its code"),
    _common(
        "asam-cifar100",
        "asam:rho=1.0,eta=0.01",
        "Kwon et al. 2021, arXiv 2102.11600, and its code",
        data="cifar100",
    ),
    _common(
        "gsam-cifar10",
        "gsam:rho=2.0,alpha=0.4,adaptive=asam",
        "Zhuang et al. 2022, arXiv 2203.08065, the authors' PyTorch example",
    ),
    _common("looksam-cifar10", "looksam:rho=0.05,k=5,alpha=0.7", "Liu et al. 2022, arXiv 2203.02714"),
    _common(
        "ss-sam-cifar10",
        "ss-sam:rho=0.05,p=0.5",
        f"Zhao, Zhang and Hu 2022, arXiv 2203.09962, as {_AESAM} ran it",
        status="third-party",
    ),
    _common(
        "ae-sam-cifar10",
        "ae-sam:rho=0.05,delta=0.9,lambda1=-1,lambda2=1",
        _AESAM,
        status="unverified",
        note=_LAMBDAS,
    ),
    _common(
        "ae-sam-cifar100",
        "ae-sam:rho=0.1,delta=0.9,lambda1=-1,lambda2=1",
        _AESAM,
        status="unverified",
        note=_LAMBDAS,
        data="cifar100",
    ),
    _common(
        "ae-sam-noisy-cifar10",
        "ae-sam:rho=0.05,delta=0.9,lambda1=-1,lambda2=1",
        f"{_AESAM}, label noise of 80 %",
        status="unverified",
        note=_LAMBDAS,
        label_noise=0.8,
    ),
    _common(
        "ae-looksam-cifar10",
        "ae-looksam:rho=0.05,delta=0.9,lambda1=0,lambda2=2",
        _AESAM,
        status="unverified",
        note=_LAMBDAS,
    ),
    _common(
        "ae-looksam-noisy-cifar10",
        "ae-looksam:rho=0.05,delta=0.9,lambda1=-1,lambda2=1",
        f"{_AESAM}, label noise of 80 % with half of the steps SAM's",
        status="unverified",
        note=_LAMBDAS,
        label_noise=0.8,
    ),
    _common(
        "wsam-cifar10",
        "wsam:rho=0.05,gamma=0.88,mode=decoupled",
        "Yue et al. 2023, arXiv 2305.15817, the authors' code",
        note="the authors clip each gradient to 1.0, here the final direction is; common set-up",
        max_grad_norm=1.0,
    ),
    _common(
        "stable-sam-cifar10",
        "stable-sam:rho=0.05",
        "Tan et al. 2024, arXiv 2401.07250",
        status="third-party",
    ),
    _common(
        "r-sam-cifar10",
        "r-sam:rho=0.05,sigma=0.05,lam=1",
        "Liu et al. 2022, NeurIPS",
        status="third-party",
    ),
    _common(
        "ssam-f-cifar10",
        "ssam-f:rho=0.1,sparsity=0.5,update_every=1,n_fisher=16",
        "Mi et al. 2022, arXiv 2210.05177, README of the code",
    ),
    _common(
        "ssam-d-cifar10",
        "ssam-d:rho=0.1,sparsity=0.5,update_every=1,drop_rate=0.5",
        "Mi et al. 2022, arXiv 2210.05177, README of the code",
    ),
    _common(
        "f-sam-cifar100",
        "f-sam:rho=0.2,sigma=1,lam=0.6",
        "Li et al. 2024, arXiv 2403.12350, the authors' command",
        note="weight decay 1e-3, lr 0.05 and cutout are theirs",
        data="cifar100",
        augment="cutout",
    ),
    _common(
        "vasso-cifar10",
        "vasso:rho=0.2,theta=0.9",
        "Li and Giannakis 2023, arXiv 2309.15639, θ of the authors' command line",
        status="unverified",
    ),
    _common(
        "fisher-sam-cifar10",
        "fisher-sam:rho=0.1,eta=1",
        "Kim et al. 2022, arXiv 2206.04920",
        status="third-party",
    ),
    _common(
        "n-step-sam-cifar10",
        "n-step-sam:rho=0.05,ascent_steps=2,stride=1",
        "Andriushchenko and Flammarion 2022, arXiv 2206.06232",
        status="unverified",
        note="strides of ρ as in the authors' code, the number of steps is not theirs; common set-up",
    ),
    _common(
        "m-sam-cifar10",
        "m-sam:rho=0.05,m=16",
        "Foret et al. 2021, arXiv 2010.01412; Andriushchenko and Flammarion 2022, arXiv 2206.06232",
        note="m = 16 is the smallest that they study; common set-up",
    ),
    _common("sampa-cifar10", "sampa:rho=0.1,lam=0.2", "Xie et al. 2024, arXiv 2410.10683"),
    _common(
        "eigen-sam-cifar10",
        "eigen-sam:rho=0.1,alpha=0.2,every=100,power_iterations=5",
        "Luo et al. 2024, arXiv 2501.12666",
    ),
    _common("esam-cifar10", "esam:rho=0.05,beta=0.6,gamma=0.5", "Du et al. 2022, arXiv 2110.03141, its code"),
    _common(
        "esam-cifar100",
        "esam:rho=0.05,beta=0.6,gamma=0.5",
        "Du et al. 2022, arXiv 2110.03141, its code",
        data="cifar100",
    ),
    _common(
        "hessian-trace-reg-cifar10",
        "hessian-trace-reg:lam=1e-3,n_probe=5,interval=10,keep_prob=1",
        "Liu, Yu and Lin 2023, Neurocomputing 536, SEHT-H, its code",
        note="lr, batch size, weight decay and epochs are theirs; that code's penalty has no gradient",
        base="sgd:momentum=0.9,weight_decay=5e-4",
        lr=0.01,
        batch_size=32,
    ),
    _common(
        "bsam-cifar10",
        "bsam:rho=0.01,beta1=0.9,beta2=0.999,damping=0.1",
        "Möllenhoff and Khan 2023, arXiv 2210.01620, its code",
        status="unverified",
        note="lr is theirs; they average over 8 slices of a batch; common set-up",
        base="sgd:momentum=0,weight_decay=0",
        lr=0.5,
    ),
    _common(
        "entropy-sgd-cifar10",
        "entropy-sgd:langevin_steps=20,inner_lr=0.1,noise=1e-4,gamma=0.03,gamma_growth=1e-3,average=0.75",
        "Chaudhari et al. 2017, arXiv 1611.01838, its code",
        status="unverified",
        note="each step sees 20 batches, so 10 epochs are 200 of gradients; lr 1 moves to the mean; common set-up",
        base="sgd:momentum=0,weight_decay=0",
        lr=1.0,
        epochs=10,
    ),
    _common(
        "swa-cifar10",
        "swa:start=0.75",
        "Izmailov et al. 2018, arXiv 1803.05407",
        status="unverified",
        note="averages from 75 % on; the constant learning rate is not theirs; common set-up",
        schedule="constant",
    ),
]
