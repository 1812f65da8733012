"""What the trainer tells the optimizers that look at the batch, and the averaged weights that it keeps."""

import dataclasses
import signal

import pytest
import torch
from torch import nn
from torch.nn import functional

from landscape.models import MODELS
from landscape.registry.names import Row
from landscape.training import Recipe, train
from landscape.training.session import Session
from landscape.training.subject import subject_of

RECIPE = Recipe(model="mlp", data="moons:samples=100", epochs=4, batch_size=16, lr=0.05)


def normed(*, classes: int = 10, input_shape: tuple[int, ...] = (2,)) -> nn.Module:
    del input_shape
    return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, classes))


@pytest.fixture(autouse=True)
def normed_model(monkeypatch):
    row = Row("normed", normed, "for these tests", hidden=frozenset({"classes", "input_shape"}))
    monkeypatch.setitem(MODELS._rows, "normed", row)


def session(optimizer):
    recipe = dataclasses.replace(RECIPE, model="normed", optimizer=optimizer)
    return Session(recipe, subject_of(recipe), torch.device("cpu"))


def pass_over():
    return None


def tensors(split):
    inputs, targets = zip(*split, strict=True)
    return torch.stack(inputs), torch.stack(targets)


@pytest.mark.parametrize(
    ("optimizer", "gradients"),
    [
        ("esam", 4 * 5 * 5.5 / 3),
        ("m-sam:m=8", 40),
        ("saf:start_epoch=1,lag=1", 20),
        ("mesa:start_epoch=1", 5 + 15 * 4 / 3),
        ("hessian-trace-reg:n_probe=1,interval=5", 20 + 4 * 4),
        ("hessian-trace-reg:n_probe=1,interval=5,mode=fd", 20 + 4 * 2),
        ("ada-sam", 40),
        ("bsam", 40),
        ("entropy-sgd:langevin_steps=3", 60),
        ("swa", 20),
    ],
)
def test_gradients_are_counted_as_the_table_says(tmp_path, optimizer, gradients):
    run = train(dataclasses.replace(RECIPE, model="normed", optimizer=optimizer), output=tmp_path)
    assert run.metrics["gradients"] == pytest.approx(gradients, rel=0.01)
    assert run.metrics["skipped_steps"] == 0
    assert run.metrics["train_accuracy"] > 0.5


@pytest.mark.parametrize(
    "optimizer", ["saf:start_epoch=1,lag=1", "mesa:start_epoch=1", "swa:start=0.3", "esam", "m-sam:m=8"]
)
def test_what_begins_late_is_resumed_to_the_same_bytes(tmp_path, optimizer):
    def stop_at(step):
        def stop(progress):
            if progress.step == step:
                signal.raise_signal(signal.SIGINT)

        return stop

    recipe = dataclasses.replace(RECIPE, model="normed", optimizer=optimizer)
    whole = train(recipe, output=tmp_path / "whole")
    for step in (7, 10, 13, 15, 18):
        with pytest.raises(KeyboardInterrupt):
            train(recipe, output=tmp_path / "parts", progress=stop_at(step))
    parts = train(recipe, output=tmp_path / "parts")
    assert parts.checkpoint.read_bytes() == whole.checkpoint.read_bytes()


def test_the_batch_knows_which_examples_it_holds(monkeypatch):
    running = session("saf")
    inputs, targets = tensors(running.data.train)
    step, seen = running.optimizer.step, []

    def watch(closure):
        assert torch.equal(closure.inputs, inputs[closure.indices])
        assert torch.equal(closure.targets, targets[closure.indices])
        seen.extend(closure.indices.tolist())
        return step(closure)

    monkeypatch.setattr(running.optimizer, "step", watch)
    for _ in running.train_epoch():
        pass
    assert sorted(seen) == list(range(70))
    assert running.optimizer.num_examples == 70


def test_an_optimizer_of_several_batches_a_step_has_the_following_ones():
    running = session("entropy-sgd:langevin_steps=3")
    heads = []
    running.model.register_forward_pre_hook(lambda _, args: heads.append(args[0][0]))
    for _ in running.train_epoch():
        pass
    inputs, _ = tensors(running.data.train)
    firsts = [inputs[batch[0]] for batch in running.batches(0)]
    order = [0, 1, 2, 1, 2, 3, 2, 3, 4, 3, 4, 0, 4, 0, 1]
    assert torch.equal(torch.stack(heads), torch.stack([firsts[i] for i in order]))


def test_averaged_weights_are_evaluated_and_kept_with_batch_norm_of_their_own():
    running = session("swa:start=0.5")
    passed = []
    for epoch in range(4):
        for _ in running.train_epoch():
            passed.append({k: v.clone() for k, v in running.model.state_dict().items()})
        running.finish_epoch(pass_over)
        kept = running.state()
        assert (kept["training"]["model"] is None) == (epoch < 2)
    mean = kept["state_dict"]
    for name in ("0.weight", "3.bias", "1.weight"):
        expected = torch.stack([step[name] for step in passed[10:]]).mean(0)
        torch.testing.assert_close(mean[name], expected, rtol=1e-5, atol=1e-6)
        assert torch.equal(kept["training"]["model"][name], passed[-1][name])

    inputs, targets = tensors(running.data.train)
    hidden = functional.linear(inputs, mean["0.weight"], mean["0.bias"])
    batches = [hidden[batch] for batch in running.batches(3)]
    means = torch.stack([batch.mean(0) for batch in batches]).mean(0)
    torch.testing.assert_close(mean["1.running_mean"], means, rtol=1e-4, atol=1e-5)

    model = normed(classes=2)
    model.load_state_dict(mean)
    model.eval()
    inputs, targets = tensors(running.data.test)
    loss = functional.cross_entropy(model(inputs), targets).item()
    assert running.metrics["test_loss"] == pytest.approx(loss, rel=1e-5)
    model.load_state_dict(kept["training"]["model"])
    assert running.metrics["test_loss"] != pytest.approx(
        functional.cross_entropy(model.eval()(inputs), targets).item(), rel=1e-5
    )
