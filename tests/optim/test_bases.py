"""Bases beyond SGD and AdamW under every rule: Muon with AdamW beside it, and schedule-free ones with two modes."""

import copy
import io
import pickle
import sys

import pytest
import torch
from optim.battery import Watch, build, closure, every_variant, mlp, sgd, weights, with_radius_only
from torch import Tensor, nn

from landscape.errors import InputError, UsageError
from landscape.optim import ERM, MSAM, OPTIMIZERS, SAM, SWA, Combined
from landscape.training import Recipe, train

NEW = ["muon", "schedulefree-sgd", "schedulefree-adamw"]
each_base = pytest.mark.parametrize("base", [*NEW[:2], pytest.param(NEW[2], marks=pytest.mark.thorough)])
schedule_free = pytest.mark.parametrize("base", NEW[1:])


def made(base: str, model: nn.Module) -> torch.optim.Optimizer:
    if base.startswith("schedulefree"):
        pytest.importorskip("schedulefree")
    return OPTIMIZERS.build(base, model.parameters(), lr=0.01)


@every_variant
@each_base
def test_the_base_steps_from_the_very_weights(name: str, base: str) -> None:
    model = mlp()
    seen: list[Tensor] = []
    inner = made(base, model)
    inner.register_step_pre_hook(lambda *_: seen.append(weights(model)))
    optimizer = build(name, model, inner)
    for _ in range(2):
        before = weights(model)
        optimizer.step(Watch(closure(optimizer, model), model))
        assert torch.equal(seen[-1], before)
    assert not torch.equal(weights(model), before)


@with_radius_only
@each_base
def test_with_radius_zero_it_is_its_base(name: str, base: str) -> None:
    models = [mlp(), mlp()]
    optimizers = [build(f"{name}:rho=0", models[0], made(base, models[0])), ERM(made(base, models[1]))]
    for number in range(3):
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.step(closure(optimizer, model, seed=number))
    # Muon computes in half precision, and Adam divides by the root of squares.
    torch.testing.assert_close(weights(models[0]), weights(models[1]), rtol=1e-8, atol=1e-10)


@every_variant
@each_base
def test_a_resumed_run_goes_on_bit_for_bit(name: str, base: str) -> None:
    model, twin = mlp(), mlp()
    optimizer = build(name, model, made(base, model))
    for number in range(2):
        optimizer.step(closure(optimizer, model, seed=number))
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    saved = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    resumed = build(name, twin, made(base, twin))
    twin.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["optimizer"])
    for number in range(2, 4):
        optimizer.step(closure(optimizer, model, seed=number))
        resumed.step(closure(resumed, twin, seed=number))
    assert torch.equal(weights(model), weights(twin))


def test_muon_takes_the_matrices_and_adamw_the_rest() -> None:
    models = [mlp(), mlp()]
    ours = ERM(made("muon", models[0]))
    own = [
        torch.optim.Muon(
            [models[1][0].weight, models[1][2].weight],
            lr=0.01,
            adjust_lr_fn="match_rms_adamw",
            weight_decay=0.1,
        ),
        torch.optim.AdamW([models[1][0].bias, models[1][2].bias], lr=0.01, weight_decay=0.1),
    ]
    for number in range(4):
        ours.step(closure(ours, models[0], seed=number))
        closure(own[0], models[1], seed=number)()
        for each in own:
            each.step()
        models[1].zero_grad()
    assert torch.equal(*map(weights, models))


def test_a_matrix_alone_needs_no_second_base_and_without_one_there_is_none() -> None:
    matrix, vector = (nn.Parameter(torch.ones(shape)) for shape in ((2, 3), (4,)))
    assert type(OPTIMIZERS.build("muon", [matrix], lr=0.1)) is torch.optim.Muon
    with pytest.raises(UsageError, match="no parameter is one; use adamw"):
        OPTIMIZERS.build("muon", [vector], lr=0.1)


@pytest.mark.parametrize("copy_of", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_copy_over_a_combined_base_goes_on_by_itself(copy_of) -> None:  # type: ignore[no-untyped-def]
    model = mlp()
    optimizer = SAM(made("muon", model), rho=0.1)
    optimizer.step(closure(optimizer, model))
    twin, other = copy_of((model, optimizer))
    before = weights(model)
    other.step(closure(other, twin))
    assert torch.equal(weights(model), before)
    optimizer.step(closure(optimizer, model))
    assert torch.equal(weights(model), weights(twin))


def test_a_combined_base_is_one_for_schedulers_radii_and_groups() -> None:
    model = mlp()
    first, second = (torch.optim.SGD(layer.parameters(), lr=0.1) for layer in (model[0], model[2]))
    optimizer = SAM(Combined(first, second), rho=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    optimizer.step(closure(optimizer, model))
    scheduler.step()
    assert [group["lr"] for each in (first, second) for group in each.param_groups] == [0.05, 0.05]
    assert [group["rho"] for group in optimizer.param_groups] == [0.1, 0.1]
    with pytest.raises(UsageError, match="groups of its members"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))]})
    with pytest.raises(UsageError, match="in two of the combined"):
        Combined(first, sgd(model))


@schedule_free
def test_what_is_evaluated_is_the_other_mode_and_training_goes_on_bit_for_bit(base: str) -> None:
    models = [mlp(), mlp()]
    optimizers = [SAM(made(base, model), rho=0.1) for model in models]
    assert optimizers[0].evaluation_weights() is None
    for number in range(4):
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.step(closure(optimizer, model, seed=number))
        before = weights(models[0])
        average = optimizers[0].evaluation_weights()
        assert average is not None
        assert torch.equal(weights(models[0]), before)
        twin = copy.deepcopy(models[0])
        inner = copy.deepcopy((models[0], optimizers[0].base))
        inner[1].eval()  # type: ignore[attr-defined]
        assert torch.equal(average, weights(inner[0]))
        assert number == 0 or not torch.allclose(average, weights(twin))
    assert torch.equal(*map(weights, models))


@schedule_free
def test_a_step_in_the_mode_for_evaluation_is_refused_with_the_way_back(base: str) -> None:
    model = mlp()
    optimizer = SAM(made(base, model))
    optimizer.step(closure(optimizer, model))
    optimizer.base.eval()  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match=r"mode for evaluation.* call optimizer\.base\.train\(\)"):
        optimizer.step(closure(optimizer, model))
    assert optimizer.evaluation_weights() is None
    optimizer.base.train()  # type: ignore[attr-defined]
    optimizer.step(closure(optimizer, model))
    assert optimizer.steps == 2


@schedule_free
def test_msam_over_a_base_without_a_momentum_goes_along_the_last_gradient(base: str) -> None:
    model = mlp()
    optimizer = MSAM(made(base, model), rho=0.2)
    optimizer.step(closure(optimizer, model))
    watch = Watch(closure(optimizer, model, seed=2), model)
    before = weights(model)
    optimizer.step(watch)
    assert (watch.points[0] - before).norm().item() == pytest.approx(0.2, rel=1e-9)


def test_a_rule_that_averages_keeps_its_own_average() -> None:
    model = mlp()
    optimizer = SWA(made("schedulefree-sgd", model), total_steps=4, start=0.0)
    for number in range(4):
        optimizer.step(closure(optimizer, model, seed=number))
    assert optimizer.evaluation_weights() is optimizer.memory["average"]


def test_the_trainer_evaluates_and_saves_the_average(tmp_path) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("schedulefree")
    recipe = Recipe(
        optimizer="sam", base="schedulefree-sgd", lr=1.0, schedule="constant", epochs=4, device="cpu"
    )
    run = train(recipe, output=tmp_path)
    saved = torch.load(run.checkpoint, weights_only=True)
    trained = saved["training"]["model"]
    assert all(not torch.allclose(saved["state_dict"][key], value) for key, value in trained.items())
    assert run.metrics["test_accuracy"] > 0.85


def test_a_package_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "schedulefree", None)
    with pytest.raises(InputError, match=r"pip install 'schedulefree>=1\.4'"):
        OPTIMIZERS.build("schedulefree-sgd", mlp().parameters(), lr=0.1)


def test_a_torch_without_muon_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(UsageError, match=r"torch 2\.9 or later"):
        OPTIMIZERS.build("muon", mlp().parameters(), lr=0.1)
