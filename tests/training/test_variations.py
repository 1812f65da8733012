"""Accumulation, moving averages, precision, noise and augmentation in a run: right, and resumed bit for bit."""

import dataclasses
import signal

import pytest
import torch

from landscape.checkpoints import load_checkpoint
from landscape.errors import UsageError
from landscape.optim import OPTIMIZERS
from landscape.training import Recipe, train
from landscape.training.session import Session
from landscape.training.subject import subject_of

RECIPE = Recipe(
    model="mlp:width=8", data="moons:samples=150", epochs=3, batch_size=32, lr=0.05, optimizer="sam"
)
DOUBLE = dataclasses.replace(RECIPE, dtype="float64")


def saved(run):
    return torch.load(run.checkpoint, weights_only=True)


def weights(run):
    return torch.cat([tensor.flatten() for tensor in saved(run)["state_dict"].values()])


def session(recipe):
    return Session(recipe, subject_of(recipe), torch.device("cpu"))


@pytest.mark.parametrize(
    "fields",
    [
        {"label_noise": 0.4},
        {"augment": "basic", "data": "digits", "batch_size": 256},
        {
            "augment": "cutout",
            "data": "digits",
            "batch_size": 256,
            "optimizer": "entropy-sgd:langevin_steps=2",
        },
        {"accumulate": 4},
        {"accumulate": 4, "accumulation": "m-sam"},
        {"ema": 0.9, "model": "mlp:width=8,norm=batch"},
        {"precision": "bf16"},
        {"optimizer": "ss-sam", "seed": 5},
    ],
    ids=str,
)
def test_a_run_resumes_to_the_same_bytes_and_is_another_one(tmp_path, fields):
    recipe = dataclasses.replace(RECIPE, **fields)
    whole = train(recipe, output=tmp_path / "whole")
    for step in (2, 4, 8):
        with pytest.raises(KeyboardInterrupt):
            train(
                recipe,
                output=tmp_path / "parts",
                progress=lambda at, last=step: at.step == last and signal.raise_signal(signal.SIGINT),
            )
    parts = train(recipe, output=tmp_path / "parts")
    assert parts.checkpoint.read_bytes() == whole.checkpoint.read_bytes()
    usual = {"model": recipe.model, "data": recipe.data, "batch_size": recipe.batch_size}
    plain = train(dataclasses.replace(RECIPE, optimizer=recipe.optimizer, **usual), output=tmp_path / "plain")
    assert not torch.equal(weights(plain), weights(whole))


ADDS_A_TERM = {
    "saf:start_epoch=0,lag=1",
    "mesa:start_epoch=0",
    "hessian-trace-reg",
    "functional-sam",
    "focal-sam",
}
ALONE = [n for n in OPTIMIZERS if n != "sam-on" and n not in {spec.partition(":")[0] for spec in ADDS_A_TERM}]


@pytest.mark.parametrize("optimizer", ALONE)
def test_accumulated_over_micro_batches_every_optimizer_takes_the_same_steps(tmp_path, optimizer):
    recipe = dataclasses.replace(DOUBLE, optimizer=optimizer, epochs=1)
    whole = train(recipe, output=tmp_path / "whole")
    pieces = train(dataclasses.replace(recipe, accumulate=4), output=tmp_path / "pieces")
    torch.testing.assert_close(weights(pieces), weights(whole), rtol=1e-8, atol=1e-10)
    assert pieces.metrics["gradients"] == whole.metrics["gradients"]
    assert pieces.metrics["train_accuracy"] == whole.metrics["train_accuracy"]


@pytest.mark.parametrize("optimizer", sorted(ADDS_A_TERM))
def test_a_term_of_the_whole_batch_is_refused_with_the_way_out(tmp_path, optimizer):
    with pytest.raises(UsageError, match="use accumulate=1 and a smaller batch_size"):
        train(dataclasses.replace(RECIPE, optimizer=optimizer, accumulate=2), output=tmp_path)


def test_only_a_micro_batch_goes_through_the_network_at_once():
    for accumulation in ("full-batch", "m-sam"):
        running = session(dataclasses.replace(RECIPE, accumulate=4, accumulation=accumulation))
        seen = []
        running.model.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(len(args[0])))
        for _ in running.train_epoch():
            pass
        assert max(seen) == 8
        assert running.optimizer.gradient_evaluations == pytest.approx(2 * running.steps_per_epoch)


def test_the_reading_m_sam_is_m_sam(tmp_path):
    first = train(
        dataclasses.replace(DOUBLE, optimizer="sam:rho=0.1", accumulate=4, accumulation="m-sam"),
        output=tmp_path / "a",
    )
    second = train(dataclasses.replace(DOUBLE, optimizer="m-sam:rho=0.1,m=8"), output=tmp_path / "b")
    assert torch.equal(weights(first), weights(second))


def test_the_moving_average_is_evaluated_and_kept_and_training_does_not_see_it(tmp_path):
    recipe = dataclasses.replace(RECIPE, ema=0.8)
    plain = train(RECIPE, output=tmp_path / "plain")
    run = train(recipe, output=tmp_path / "run")
    content = saved(run)
    running, expected = session(RECIPE), None
    expected = {name: tensor.clone() for name, tensor in running.model.state_dict().items()}
    for epoch in range(3):
        for _ in running.train_epoch():
            decay = min(0.8, (1 + running.step) / (10 + running.step))
            for name, tensor in running.model.state_dict().items():
                expected[name] = decay * expected[name] + (1 - decay) * tensor
        running.finish_epoch(lambda: None)
        assert running.epoch == epoch + 1
    for name, tensor in expected.items():
        torch.testing.assert_close(content["ema_state_dict"][name], tensor)
        assert torch.equal(content["state_dict"][name], content["ema_state_dict"][name])
        assert torch.equal(content["training"]["model"][name], saved(plain)["state_dict"][name])
    loss = load_checkpoint(run.checkpoint).objective("test").loss
    assert run.metrics["test_loss"] == pytest.approx(loss, rel=1e-5)
    assert "ema_state_dict" not in saved(plain)


def test_bf16_is_near_full_precision_and_weights_stay_float32(tmp_path):
    full = train(RECIPE, output=tmp_path / "full")
    low = train(dataclasses.replace(RECIPE, precision="bf16"), output=tmp_path / "low")
    assert weights(low).dtype == torch.float32
    difference = float((weights(low) - weights(full)).norm() / weights(full).norm())
    assert 0 < difference < 0.02


def test_noisy_labels_are_measured_as_they_were_trained_on(tmp_path):
    run = train(
        dataclasses.replace(RECIPE, label_noise=0.4, batch_size=512, epochs=1, lr=1e-30), output=tmp_path
    )
    loss = load_checkpoint(run.checkpoint).objective("train").loss
    assert run.metrics["train_loss"] == pytest.approx(loss, rel=1e-5)


def test_an_optimizer_draws_by_the_seed_of_the_recipe(tmp_path):
    def coins(seed):
        running = session(dataclasses.replace(RECIPE, optimizer="ss-sam", seed=seed))
        taken = []
        for _ in running.train_epoch():
            taken.append(len(running.optimizer.losses))
        return taken

    assert len({tuple(coins(seed)) for seed in range(6)}) > 1
    assert coins(2) == coins(2)
