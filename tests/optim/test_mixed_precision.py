"""Every optimizer under autocast: bfloat16 as it is, float16 with a scaler that is told what it needs to know."""

import pytest
import torch
from optim.battery import VARIANTS, batch, build, closure, mlp, sgd, weights
from torch import nn

from landscape.errors import UsageError
from landscape.optim import GSAM, SAM, BatchClosure

X, Y = batch()
X32 = X.float()


def network():
    return mlp(nn.BatchNorm1d(5)).float()


def autocast_closure(optimizer, model, dtype=torch.bfloat16, scaler=None):
    """One step's closure with the forward pass in lower precision."""
    run = (lambda loss: scaler.scale(loss).backward()) if scaler else (lambda loss: loss.backward())
    if optimizer.needs_batch:
        loss = nn.CrossEntropyLoss(reduction="none")
        data = {"inputs": X32, "targets": Y, "indices": torch.arange(16)}
        return BatchClosure(model, loss, **data, backward=run, autocast=dtype)

    def evaluate():
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype):
            outputs = model(X32)
        assert outputs.dtype == dtype
        loss = nn.functional.cross_entropy(outputs.float(), Y)
        run(loss)
        return loss

    return evaluate


@pytest.mark.parametrize("name", VARIANTS)
def test_bf16_steps_are_finite_and_put_the_weights_back_bit_for_bit(name):
    model = network()
    optimizer = build(name, model, torch.optim.SGD(model.parameters(), lr=0.0))
    before = weights(model)
    for _ in range(3):
        loss = optimizer.step(autocast_closure(optimizer, model))
        assert torch.isfinite(loss)
        assert torch.equal(weights(model), before)
    assert (optimizer.steps, optimizer.skipped_steps) == (3, 0)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_scaled_step_is_the_step_with_true_gradients(name):
    found = []
    for scaler in (None, torch.amp.GradScaler("cpu", init_scale=2.0**16)):
        model = mlp(nn.BatchNorm1d(5))
        optimizer = build(name, model)
        plain = closure(optimizer, model)
        if scaler is None:
            evaluate = plain
        elif isinstance(plain, BatchClosure):
            evaluate = plain
            evaluate.backward = lambda loss, scaler=scaler: scaler.scale(loss).backward()
        else:

            def evaluate(optimizer=optimizer, model=model, scaler=scaler):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(X), Y)
                scaler.scale(loss).backward()
                return loss

        for _ in range(3):
            if scaler is None:
                optimizer.step(evaluate)
            else:
                optimizer.step(evaluate, scaler=scaler)
                scaler.update()
        found.append(weights(model))
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", [SAM, GSAM])
def test_fp16_trains(kind):
    model = network()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    optimizer = kind(sgd(model), model=model, rho=0.05)
    evaluate = autocast_closure(optimizer, model, torch.float16, scaler)
    losses = []
    for _ in range(30):
        losses.append(float(optimizer.step(evaluate, scaler=scaler)))
        scaler.update()
    assert losses[-1] < 0.5 * losses[0]
    assert optimizer.skipped_steps == 0


@pytest.mark.parametrize("bad", [1, 2])
def test_an_overflow_in_any_pass_skips_the_step_and_lowers_the_scale(bad):
    model = network()
    optimizer = SAM(sgd(model), model=model, rho=0.05)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    passes = 0

    def evaluate():
        nonlocal passes
        passes += 1
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(X32), Y)
        scaler.scale(loss * (1e38 if passes == bad else 1.0)).backward()
        return loss

    before = weights(model)
    optimizer.step(evaluate, scaler=scaler)
    scaler.update()
    assert passes == bad
    assert torch.equal(weights(model), before)
    assert (optimizer.skipped_steps, optimizer.steps) == (1, 0)
    assert scaler.get_scale() == 512.0
    optimizer.step(evaluate, scaler=scaler)
    scaler.update()
    assert optimizer.steps == 1
    assert scaler.get_scale() == 512.0
    assert not torch.equal(weights(model), before)


def test_the_scale_grows_after_as_many_good_steps_as_the_scaler_wants():
    model = network()
    optimizer = SAM(sgd(model), model=model)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    scales = []
    for _ in range(4):
        optimizer.step(autocast_closure(optimizer, model, torch.float16, scaler), scaler=scaler)
        scaler.update()
        scales.append(scaler.get_scale())
    assert scales == [8.0, 16.0, 16.0, 32.0]


def test_two_optimizers_share_a_scaler():
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    for _ in range(2):
        for model in (network(), network()):
            optimizer = SAM(sgd(model), model=model)
            optimizer.step(autocast_closure(optimizer, model, torch.float16, scaler), scaler=scaler)
        scaler.update()
    assert scaler.get_scale() == 8.0


def test_the_scaler_s_own_step_is_refused_with_the_way_to_do_it():
    model = network()
    optimizer = SAM(sgd(model), model=model)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    evaluate = autocast_closure(optimizer, model, torch.float16, scaler)
    before = weights(model)
    evaluate()
    for arguments in ((), (evaluate,)):
        with pytest.raises(UsageError, match=r"optimizer.step\(closure, scaler=scaler\)"):
            scaler.step(optimizer, *arguments)
    assert torch.equal(weights(model), before)
    fresh = torch.amp.GradScaler("cpu", init_scale=8.0)
    optimizer.step(autocast_closure(optimizer, model, torch.float16, fresh), scaler=fresh)
    assert optimizer.steps == 1


def test_a_scaler_that_is_off_changes_nothing():
    model, twin = mlp(), mlp()
    off = torch.amp.GradScaler("cpu", enabled=False)
    for each, options in ((model, {}), (twin, {"scaler": off})):
        optimizer = SAM(sgd(each), model=each)
        optimizer.step(closure(optimizer, each), **options)
        off.update()
    assert torch.equal(weights(model), weights(twin))


def test_a_closure_without_the_scaler_and_a_missing_update_are_said():
    model = network()
    optimizer = SAM(sgd(model), model=model)
    before = weights(model)
    with pytest.raises(UsageError, match=r"has to call scaler.scale\(loss\).backward\(\)"):
        optimizer.step(autocast_closure(optimizer, model), scaler=torch.amp.GradScaler("cpu"))
    assert torch.equal(weights(model), before)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    evaluate = autocast_closure(optimizer, model, torch.float16, scaler)
    optimizer.step(evaluate, scaler=scaler)
    before = weights(model)
    with pytest.raises(UsageError, match=r"call scaler.update\(\) after each step"):
        optimizer.step(evaluate, scaler=scaler)
    assert torch.equal(weights(model), before)


def test_fp16_weights_are_refused():
    model = mlp().half()
    optimizer = SAM(sgd(model), model=model)
    with pytest.raises(UsageError, match="keep the model in float32"):
        optimizer.step(lambda: torch.zeros(()), scaler=torch.amp.GradScaler("cpu"))
