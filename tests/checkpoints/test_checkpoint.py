"""A checkpoint becomes an objective that says where it comes from, and the network given stays as it was."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from landscape.checkpoints import load_checkpoint
from landscape.checkpoints.checkpoint import Checkpoint
from landscape.data import subset
from landscape.errors import InputError, UsageError
from landscape.records.storage import sha256
from landscape.training import Recipe, train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    recipe = Recipe(
        model="mlp:width=4,depth=1", data="moons:samples=60", epochs=1, label_smoothing=0.1, device="cpu"
    )
    return train(recipe, output=tmp_path_factory.mktemp("run"))


def test_one_of_our_own_checkpoints_needs_no_other_argument(run):
    checkpoint = load_checkpoint(run.path)
    assert checkpoint.model_name == "mlp:width=4,depth=1"
    assert checkpoint.data.name == "moons:samples=60"
    assert checkpoint.loss_name == "cross-entropy:label_smoothing=0.1"
    assert checkpoint.contents.recipe == run.recipe.to_dict()
    saved = torch.load(run.checkpoint, weights_only=True)["state_dict"]
    assert all(torch.equal(tensor, saved[name]) for name, tensor in checkpoint.model.state_dict().items())
    assert not checkpoint.model.training


@pytest.mark.parametrize(("split", "limit"), [("train", None), ("test", None), ("train", 7), ("test", 7)])
def test_an_objective_says_where_its_numbers_come_from(run, split, limit):
    checkpoint = load_checkpoint(run.path)
    objective = checkpoint.objective(split, limit=limit, batch_size=5, dtype=torch.float64)
    origin = objective.provenance
    examples, digest = subset(getattr(checkpoint.data, split), limit)
    assert origin.num_examples == len(examples)
    assert (origin.model, origin.data, origin.split) == (checkpoint.model_name, "moons:samples=60", split)
    assert origin.subset == digest
    assert (origin.dtype, origin.batch_size, origin.batch_norm) == ("float64", 5, "stored")
    assert origin.checkpoint == sha256(run.checkpoint)
    assert origin.recipe == run.recipe.to_dict()
    assert origin.loss == "cross-entropy:label_smoothing=0.1"


@pytest.mark.parametrize(
    ("split", "batch_norm", "read"),
    [
        ("test", "stored", ["test"]),
        ("train", "recalibrate", ["train"]),
        ("test", "recalibrate", ["test", "train"]),
    ],
)
def test_training_examples_are_read_for_others_only_to_recalibrate(run, monkeypatch, split, batch_norm, read):
    seen = []
    kept = Checkpoint.batches
    monkeypatch.setattr(
        Checkpoint, "batches", lambda self, name, **options: seen.append(name) or kept(self, name, **options)
    )
    load_checkpoint(run.path).objective(split, batch_norm=batch_norm)
    assert seen == read


def test_the_loss_is_that_of_the_network_on_those_examples(run):
    checkpoint = load_checkpoint(run.path)
    examples, _ = subset(checkpoint.data.test, 9)
    x, y = (torch.stack([torch.as_tensor(pair[i]) for pair in examples]) for i in (0, 1))
    with torch.no_grad():
        expected = nn.functional.cross_entropy(checkpoint.model.double()(x.double()), y, label_smoothing=0.1)
    taken = load_checkpoint(run.path).objective("test", limit=9, batch_size=4, dtype=torch.float64)
    assert taken.loss == pytest.approx(float(expected), rel=1e-12)


def test_two_limits_are_two_subsets(run):
    checkpoint = load_checkpoint(run.path)
    hashes = {checkpoint.objective("train", limit=n).provenance.subset for n in (5, 6, None)}
    assert len(hashes) == 3


def test_a_split_or_limit_that_is_not_allowed_is_said(run):
    checkpoint = load_checkpoint(run.path)
    with pytest.raises(UsageError, match="split='both' is not one of train, test"):
        checkpoint.objective("both")
    with pytest.raises(UsageError, match="limit=0"):
        checkpoint.objective("train", limit=0)


def everything(model):
    return {
        "mode": [m.training for m in model.modules()],
        "free": [p.requires_grad for p in model.parameters()],
        "grad": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        **{name: tensor.clone() for name, tensor in model.state_dict().items()},
    }


def test_a_network_given_is_bit_identical_afterwards(tmp_path, net, moons):
    torch.save({"model": {f"module.{k}": v for k, v in net.state.items()}}, tmp_path / "m.pt")
    mine = copy.deepcopy(net.model).train()
    for parameter in mine.parameters():
        parameter.data.fill_(0.5)
        parameter.grad = torch.ones_like(parameter)
    mine[0].bias.requires_grad_(False)
    before, generator = everything(mine), torch.random.get_rng_state()
    checkpoint = load_checkpoint(tmp_path / "m.pt", model=mine, data=moons)
    _ = checkpoint.objective("train", limit=10).gradient
    after = everything(mine)
    assert before.keys() == after.keys()
    for key, value in before.items():
        assert (
            torch.equal(value, after[key])
            if isinstance(value, torch.Tensor)
            else str(value) == str(after[key])
        )
    assert torch.equal(generator, torch.random.get_rng_state())
    assert torch.equal(checkpoint.model.state_dict()["0.weight"], net.state["0.weight"])
    assert checkpoint.model_name == "Sequential"


def test_a_loss_given_takes_the_place_of_cross_entropy(run):
    def brier(outputs, targets):
        return (outputs.softmax(1) - nn.functional.one_hot(targets, outputs.shape[1])).square().sum(1).mean()

    objective = load_checkpoint(run.path, loss=brier).objective("train")
    assert objective.provenance.loss == "brier"
    assert objective.loss < 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "which model and data .*add -m MODEL .* -d DATA"),
        ({"data": "moons"}, "which model it belongs to .*add -m MODEL"),
        ({"model": "mlp"}, "which data it belongs to .*add -d DATA"),
    ],
)
def test_a_foreign_checkpoint_says_what_must_be_named(tmp_path, net, given, said):
    torch.save(net.state, tmp_path / "m.pt")
    with pytest.raises(InputError, match=said):
        load_checkpoint(tmp_path / "m.pt", **given)


def test_weights_that_are_not_finite_are_refused(tmp_path, net, moons):
    net.state["0.weight"][1, 1] = float("nan")
    torch.save(net.state, tmp_path / "m.pt")
    with pytest.raises(InputError, match=r"0\.weight"):
        load_checkpoint(tmp_path / "m.pt", model=net.model, data=moons).objective("train")


def test_nothing_of_a_checkpoint_can_be_changed(run):
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_checkpoint(run.path).loss_name = "mine"


def test_without_training_examples_nothing_is_recalibrated(tmp_path, net, moons):
    torch.save(net.state, tmp_path / "m.pt")
    alone = dataclasses.replace(moons, train=None)
    checkpoint = load_checkpoint(tmp_path / "m.pt", model=net.model, data=alone)
    assert checkpoint.objective("test").provenance.batch_norm == "stored"
    assert checkpoint.objective("test", batch_norm="batch").provenance.batch_norm == "batch"
    with pytest.raises(InputError, match="recalibrated on training examples, and moons:samples=60 has none"):
        checkpoint.objective("test", batch_norm="recalibrate")
