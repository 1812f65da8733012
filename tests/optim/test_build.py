"""From names to an optimizer, as recipes and the command line spell them."""

import re

import pytest
import torch
from optim.battery import CONTEXT, closure, mlp, weights
from torch import nn

from landscape.errors import UsageError
from landscape.optim import ERM, GSAM, OPTIMIZERS, SAM, build_optimizer
from landscape.optim.table import unusual


@pytest.mark.parametrize("name", list(OPTIMIZERS))
@pytest.mark.parametrize("base", [name for name in OPTIMIZERS if OPTIMIZERS[name].is_base])
def test_every_name_over_every_base_takes_a_step(name: str, base: str) -> None:
    model = mlp(nn.LayerNorm(5))
    before = weights(model)
    optimizer = build_optimizer(model, optimizer=name, base=base, lr=0.01, **CONTEXT)
    optimizer.step(closure(optimizer, model))
    assert not torch.equal(weights(model), before)


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_a_base_by_itself_is_torchs_own_bit_for_bit(name: str, kind: type[torch.optim.Optimizer]) -> None:
    models = [mlp(), mlp()]
    ours = build_optimizer(models[0], optimizer=name, lr=0.05)
    options = {"momentum": 0.9, "weight_decay": 5e-4} if name == "sgd" else {"weight_decay": 0.01}
    theirs = kind(models[1].parameters(), lr=0.05, **options)
    assert isinstance(ours, ERM)
    assert isinstance(ours.base, kind)
    for number in range(5):
        loss = ours.step(closure(ours, models[0], seed=number))
        assert torch.equal(loss, theirs.step(closure(theirs, models[1], seed=number)))
    assert torch.equal(weights(models[0]), weights(models[1]))
    assert (ours.steps, ours.sam_steps, ours.gradient_evaluations) == (5, 0, 5)


def test_options_reach_the_optimizer_and_its_base() -> None:
    optimizer = build_optimizer(
        mlp(),
        optimizer="gsam:rho=0.2,alpha=0.7",
        base="sgd:momentum=0.5,weight_decay=0,nesterov=true",
        lr=0.3,
    )
    assert isinstance(optimizer, GSAM)
    group = optimizer.param_groups[0]
    assert (group["rho"], optimizer.alpha) == (0.2, 0.7)
    assert (group["lr"], group["momentum"], group["weight_decay"], group["nesterov"]) == (0.3, 0.5, 0, True)
    adam = build_optimizer(mlp(), optimizer="sam", base="adamw:beta1=0.8,weight_decay=0.3", lr=1e-3)
    assert isinstance(adam, SAM)
    assert (adam.param_groups[0]["betas"], adam.param_groups[0]["weight_decay"]) == ((0.8, 0.999), 0.3)


DRAWS = ["ss-sam", "r-sam", "esam", "ssam-d:sparsity=0.5", "hessian-trace-reg", "bsam", "entropy-sgd"]


@pytest.mark.parametrize("name", DRAWS)
def test_what_an_optimizer_draws_follows_the_seed(name: str) -> None:
    ends = []
    for seed in (3, 3, 4):
        model = mlp()
        optimizer = build_optimizer(
            model, optimizer=name, total_steps=8, steps_per_epoch=1, num_examples=16, seed=seed
        )
        for _ in range(4):
            optimizer.step(closure(optimizer, model))
        ends.append(weights(model))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "gsma"}, "did you mean 'gsam'"),
        ({"optimizer": "gsam:aplha=1"}, "did you mean 'alpha'"),
        ({"optimizer": "sam:rho=-1"}, "rho=-1.0 is not allowed"),
        ({"optimizer": "sam:rho=nan"}, "finite number"),
        ({"optimizer": "sam", "base": "gsam"}, "choose one of sgd, adamw, muon"),
        ({"optimizer": "sgd:lr=1"}, "has no option 'lr'"),
        ({"optimizer": "sgd:momentum=-1"}, "momentum"),
        ({"optimizer": "sgd:momentum=0,nesterov=true"}, "[Nn]esterov"),
        ({"optimizer": "adamw:beta1=2"}, "beta"),
        ({"optimizer": "sgd", "lr": -1.0}, "learning rate"),
    ],
)
def test_what_cannot_be_built_is_answered_with_the_way_out(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_optimizer(mlp(), **options)  # type: ignore[arg-type]


PLAIN = "sgd:momentum=0,weight_decay=0"


@pytest.mark.parametrize(
    ("optimizer", "base", "lr", "says"),
    [
        ("ada-sam:rho=0.1", "sgd", 1e-3, "base=sgd adds another to them: .* of about 0.003"),
        ("ada-sam", "adamw", 1e-3, "base=adamw adds another"),
        ("ada-sam", PLAIN, 0.1, r"lr=0\.1 is that of a gradient"),
        ("bsam", "sgd", 0.1, f"with base={PLAIN} .* of about 1$"),
    ],
)
def test_a_base_that_a_rule_was_not_made_for_is_said(optimizer: str, base: str, lr: float, says: str) -> None:
    assert re.search(says, unusual(optimizer, base, lr) or "")


@pytest.mark.parametrize(("optimizer", "base"), [("ada-sam", PLAIN), ("bsam", PLAIN), ("sam", "adamw")])
def test_a_usual_base_needs_no_word(optimizer: str, base: str) -> None:
    assert unusual(optimizer, base, 0.01) is None
