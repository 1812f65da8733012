"""Runs with a loss or a task of the user's own: the same numbers as by the default loss, and what is refused."""

import json

import pytest
import torch

from landscape.checkpoints import load_checkpoint
from landscape.data import load_data
from landscape.errors import InputError, UsageError
from landscape.registry.factories import TASKS
from landscape.training import Recipe, train
from landscape.training.measured import Measuring
from landscape.training.session import Session
from landscape.training.subject import subject_of

OWN = """
import torch
from torch import nn
from torch.nn import functional
from landscape import BatchLoss

def entropy(outputs, targets, smoothing=0.0):
    return functional.cross_entropy(outputs, targets, label_smoothing=smoothing)

def whole(model, batch):
    scores = model(batch[0])
    return functional.cross_entropy(scores, batch[1]), scores, batch[1]

def points(count):
    x = torch.linspace(-1, 1, count)[:, None]
    return torch.utils.data.TensorDataset(x, torch.sin(3 * x))

def slope(model, batch):
    x = batch[0].clone().requires_grad_()
    y = model(x)
    (dy,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    return (y - batch[1]).square().mean() + (dy - 3 * torch.cos(3 * x)).square().mean()

def task(width=4):
    net = nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, 1))
    return dict(model=net, data=dict(train=points(24), test=points(8)), loss=BatchLoss(slope))

def halves():
    return dict(data="moons:samples=40", loss=entropy)

def pairs():
    return dict(train=moons().train, test=moons().test)

def moons():
    from landscape.data import load_data
    return load_data("moons:samples=40")

def batches():
    return dict(task(), data=[(torch.ones(2, 1), torch.ones(2, 1))] * 2)
"""
SMALL = {
    "model": "mlp:width=6,depth=1",
    "data": "moons:samples=60",
    "epochs": 2,
    "batch_size": 8,
    "device": "cpu",
}


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)


def begun(**fields):
    recipe = Recipe(**fields)
    return Session(recipe, subject_of(recipe), torch.device("cpu"))


def weights(run):
    return torch.load(run.checkpoint, weights_only=True)["state_dict"]


@pytest.mark.parametrize("loss", ["./own.py:entropy", "./own.py:whole"])
@pytest.mark.parametrize("changes", [{"optimizer": "sam"}, {"optimizer": "m-sam:m=4"}, {"accumulate": 2}])
def test_cross_entropy_of_ones_own_trains_as_the_default_does(loss, changes):
    recipe = Recipe(**SMALL, **changes, dtype="float64")
    expected = train(recipe, output="a")
    run = train(Recipe(**{**recipe.to_dict(), "loss": loss}), output="b")
    for name, tensor in weights(expected).items():
        assert torch.allclose(weights(run)[name], tensor, rtol=1e-12, atol=1e-14)
    assert run.metrics == pytest.approx(expected.metrics, rel=1e-12)


def test_a_loss_by_name_is_what_is_evaluated_and_measured():
    run = train(
        Recipe(**SMALL, loss="mse", dtype="float64"), output="run", measuring=Measuring(2, names=["loss"])
    )
    data = load_data(SMALL["data"])
    model = subject_of(run.recipe).network().double()
    model.load_state_dict(weights(run))
    x, y = (torch.stack(part) for part in zip(*data.test, strict=True))
    squares = (model(x.double()) - torch.nn.functional.one_hot(y, 2)).square().mean()
    assert run.metrics["test_loss"] == pytest.approx(float(squares), rel=1e-12)
    assert run.metrics["test_accuracy"] == pytest.approx(
        float((model(x.double()).argmax(1) == y).double().mean())
    )
    lines = [json.loads(line) for line in (run.path / "measures-history.jsonl").read_text().splitlines()]
    assert [line["provenance"]["loss"] for line in lines] == ["mse", "mse"]
    assert lines[1]["value"] == pytest.approx(float(squares), rel=1e-12)


def test_a_task_is_trained_from_the_start_that_the_seed_gives_and_without_classes_has_no_accuracy():
    flags = {"task": "./own.py:task", "epochs": 2, "batch_size": 8, "device": "cpu"}
    first, again, other = (
        train(Recipe(**flags, optimizer="sam", seed=seed), output=str(place))
        for place, seed in enumerate((0, 0, 1))
    )
    assert first.checkpoint.read_bytes() == again.checkpoint.read_bytes()
    assert set(first.metrics) == {"train_loss", "test_loss", "gradients", "sam_fraction", "skipped_steps"}
    starts = [subject_of(run.recipe).network()[0].weight for run in (first, again, other)]
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])
    assert (first.recipe.model, first.recipe.data, first.recipe.task) == ("./own.py:task",) * 3


def test_runs_without_a_loss_keep_the_recipe_of_before_and_one_with_another_loss_is_another_run():
    run = train(Recipe(**SMALL), output="run")
    content = torch.load(run.checkpoint, weights_only=True)
    assert not {"loss", "task"} & content["recipe"].keys()
    assert "loss" not in run.path.joinpath("recipe.toml").read_text().replace("label_", "")
    with pytest.raises(
        UsageError, match=r"holds a run with loss=None, and this one has loss=\./own\.py:entropy"
    ):
        train(Recipe(**SMALL, loss="./own.py:entropy"), output="run")
    own = Recipe(**SMALL, loss="./own.py:entropy:smoothing=0.1")
    longer = train(own, output="own", save_every=1)
    before = longer.checkpoint.read_bytes()
    longer.checkpoint.unlink()
    (longer.path / "checkpoints/epoch-0002.pt").unlink()
    with pytest.warns(match="goes on from"):
        assert train(own, output="own").checkpoint.read_bytes() == before
    with pytest.raises(
        InputError, match=r"names the Python code ./own\.py:entropy:smoothing=0\.1.*add --loss"
    ):
        train(Recipe(**SMALL), output="own")


def test_the_default_loss_may_be_named_and_a_task_may_leave_parts_out():
    named = Recipe(**SMALL, loss="cross-entropy:label_smoothing=0.0")
    assert named.loss == "cross-entropy"
    partly = Recipe(task="./own.py:halves", model="mlp:width=6,depth=1", device="cpu")
    subject = subject_of(partly)
    assert (subject.data.name, subject.loss_name) == ("moons:samples=40", "entropy")
    with pytest.raises(InputError, match="gives no model; add it to its dictionary, or pass -m"):
        subject_of(Recipe(task="./own.py:halves"))
    assert str(TASKS.parse("./own.py")) == "./own.py:task"


@pytest.mark.parametrize("named", [{"data": "./own.py:pairs"}, {"task": "./own.py:halves", "data": None}])
def test_wrong_labels_are_there_again_when_the_code_behind_the_data_is_named_again(named):
    fields = {key: value for key, value in named.items() if value is not None}
    recipe = Recipe(model="mlp:width=4,depth=1", **fields, label_noise=0.4, epochs=1, device="cpu")
    run = train(recipe, output="run")
    noisy = begun(**recipe.to_dict()).data.train
    opened, clean = (
        load_checkpoint(run.path, **fields),
        load_checkpoint(run.path, loss="mse", data="./own.py:moons"),
    )
    assert [int(y) for _, y in opened.data.train] == [int(y) for _, y in noisy]
    assert sum(int(a) != int(b) for (_, a), (_, b) in zip(noisy, clean.data.train, strict=True)) == 11


REFUSED = [
    ({"loss": "mse", "label_smoothing": 0.1}, "label_smoothing=0.1 belongs to the default loss"),
    ({"loss": "crossentropy"}, "did you mean 'cross-entropy'"),
    ({"loss": "mse", "optimizer": "esam"}, "esam selects examples by their losses"),
    ({"loss": "./own.py:whole", "optimizer": "saf"}, "saf compares class scores"),
    ({"loss": "./own.py:whole", "optimizer": "focal-sam"}, "focal-sam weighs examples"),
    ({"loss": "./own.py:whole", "optimizer": "functional-sam"}, "functional-sam follows the outputs"),
    ({"task": "./own.py:batches"}, "gives batches that are made already"),
    ({"task": "own"}, "unknown task 'own'"),
    ({"task": "./own.py:task", "loss": "mse", "label_noise": 0.1}, "label_noise=0.1 needs classes"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_what_contradicts_itself_is_refused_before_anything_is_trained(changes, message):
    with pytest.raises(UsageError, match=message):
        begun(**({**SMALL, **changes} if "task" not in changes else changes))


def test_an_optimizer_that_needs_only_the_mean_takes_any_loss():
    assert next(begun(**SMALL, loss="mse", optimizer="esam:gamma=1").train_epoch()) is None
