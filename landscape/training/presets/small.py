"""Presets for the data that come with the package: minutes on a laptop, to see what an optimizer does.

The rows for the digits are ours: learning rate, base and memory of the optimizer were chosen by trying a few on a small
network. Those for the moons repeat the experiment of a student report (unpublished, with code), on our own split.
"""

from landscape.training.presets.row import Preset, preset
from landscape.training.recipe import Value

_DIGITS: dict[str, Value] = {"model": "mlp", "data": "digits", "epochs": 20, "batch_size": 128}
_PLAIN_SGD = "sgd:momentum=0,weight_decay=0"
_REPORT = "student report, Oxford C6.5, 2025, a1b2jpg/Theories-of-Deep-Learning"
_MOONS: dict[str, Value] = {
    "base": _PLAIN_SGD,
    "model": "mlp:width=32,depth=3",
    "data": "moons:samples=10000,noise=0.3,seed=10",
    "lr": 0.01,
    "schedule": "constant",
    "epochs": 50,
    "batch_size": 64,
}


def _digits(optimizer: str, *, note: str = "", **fields: Value) -> Preset:
    return preset(optimizer, "digits", "landscape", {**_DIGITS, **fields}, note=note, status="ours")


SMALL = [
    _digits("sgd", lr=0.1),
    _digits("adamw", lr=3e-3),
    _digits("muon", lr=3e-2),
    _digits(
        "schedulefree-sgd", note="its average takes the place of a schedule", lr=1.0, schedule="constant"
    ),
    _digits(
        "schedulefree-adamw", note="its average takes the place of a schedule", lr=1e-2, schedule="constant"
    ),
    _digits("sam:rho=0.05", lr=0.1),
    _digits("asam:rho=0.5", lr=0.1),
    _digits("gsam:rho=0.05,alpha=0.1", lr=0.1),
    _digits("weighted-gap:rho=0.05,lam=0.9", lr=0.1),
    _digits("cr-sam:rho=0.1,alpha=0.1,beta=0.01", lr=0.1),
    _digits("sam-on:rho=0.5", lr=0.1, model="mlp:norm=batch"),
    _digits("unified-sam:rho=0.1,lam=0.5", lr=0.1),
    _digits("le-sam:sigma=0.1,rho=0.5", lr=0.1),
    _digits("logits-sam:rho=0.05", lr=0.1),
    _digits("zsharp:rho=0.05,quantile=0.95", lr=0.1),
    _digits("xsam:rho=0.15,rho_max=0.3", lr=0.1),
    _digits("lookbehind-sam:rho=0.05,k=2,alpha=0.5", lr=0.1),
    _digits("tilted-sam:rho=0.05,samples=3,noise=0.5", lr=0.1),
    _digits("functional-sam:rho=0.05", lr=0.1),
    _digits("focal-sam:rho=0.05,gamma=1.5,lam=0.7", lr=0.1),
    _digits("msam:rho=0.3", lr=0.1),
    _digits("saf:lam=0.3,tau=5,start_epoch=5,lag=3", lr=0.1),
    _digits(
        "mesa:lam=0.8,tau=5,start_epoch=5,decay=0.95",
        note="the average remembers 20 steps, because an epoch is 12",
        lr=0.1,
    ),
    _digits(
        "ada-sam:rho=0.05", note="over a base that adds nothing, as in the paper", base=_PLAIN_SGD, lr=3e-3
    ),
    _digits("bsam:rho=0.01", note="over a base that adds nothing, as in the paper", base=_PLAIN_SGD, lr=1.0),
    _digits(
        "entropy-sgd:langevin_steps=20,gamma=1e-4",
        note="lr 1 moves to the mean; each step sees 20 batches",
        base=_PLAIN_SGD,
        lr=1.0,
        schedule="constant",
        epochs=5,
    ),
    _digits("swa:start=0.75", note="averages the last quarter", lr=0.05, schedule="constant"),
    preset("adaptive-gsam:rho=0.5,alpha=0.04,gamma=0.1", "moons", _REPORT, _MOONS),
    preset("gsam:rho=0.5,alpha=0.04", "moons", _REPORT, _MOONS),
]
