"""Training: what it computes, what it leaves alone, and what it refuses before touching anything."""

import dataclasses
import json
import re
import threading
import warnings

import pytest
import torch
from torch.nn import functional

from landscape.data import load_data
from landscape.errors import InputError, Remark, UsageError
from landscape.models import build_model
from landscape.training import PRESETS, DivergedError, Progress, Recipe, train, trainer
from landscape.training.determinism import epoch_order
from landscape.training.session import Session
from landscape.training.subject import subject_of

SHORT = Recipe(model="mlp:width=8", epochs=2, batch_size=256)


def tensors(split):
    inputs, targets = zip(*split, strict=True)
    return torch.stack(inputs), torch.stack(targets)


def weights(run):
    return torch.load(run.checkpoint, weights_only=True)["state_dict"]


def test_the_defaults_learn_the_digits(tmp_path):
    run = train(Recipe(), output=tmp_path)
    assert run.metrics["test_accuracy"] > 0.95
    assert run.metrics["train_loss"] < 0.05


def test_a_rule_over_a_base_that_it_was_not_made_for_is_said_once(tmp_path):
    recipe = Recipe(optimizer="ada-sam", epochs=1, batch_size=512, device="cpu")
    with pytest.warns(Remark, match="ada-sam has moments of its own, and base=sgd adds another"):
        train(recipe, output=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(recipe, output=tmp_path)  # is finished
        train(PRESETS["ada-sam-digits"].recipe(epochs=1, device="cpu"), output=tmp_path / "preset")


def test_training_is_the_plain_torch_loop(tmp_path):
    recipe = dataclasses.replace(SHORT, optimizer="sgd:momentum=0.8", label_smoothing=0.1, dtype="float64")
    run = train(recipe, output=tmp_path)
    data = load_data(recipe.data)
    inputs, targets = tensors(data.train)
    model = build_model(recipe.model, classes=10, input_shape=data.input_shape, seed=0).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.8, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=12)
    for epoch in range(2):
        for batch in torch.tensor(epoch_order(1437, seed=0, epoch=epoch)).split(256):
            optimizer.zero_grad()
            loss = functional.cross_entropy(
                model(inputs[batch].double()), targets[batch], label_smoothing=0.1
            )
            loss.backward()
            optimizer.step()
            scheduler.step()
    for name, tensor in weights(run).items():
        assert torch.allclose(tensor, model.state_dict()[name], rtol=1e-10, atol=1e-12)


def test_no_two_epochs_draw_the_same_dropout(tmp_path, monkeypatch):
    """What the network draws in its first step, epoch by epoch: all different, and the same in the same run."""
    drawn = []

    class Noisy(torch.nn.Linear):
        def forward(self, inputs):
            if self.training:
                drawn.append(float(torch.rand(())))
            return super().forward(inputs.flatten(1))

    monkeypatch.setattr("landscape.training.subject.build_model", lambda *_, **__: Noisy(64, 10))
    recipe = dataclasses.replace(SHORT, epochs=3, batch_size=1437, optimizer="sgd")
    train(recipe, output=tmp_path / "a")
    first = list(drawn)
    assert len(set(first)) == len(first) >= 3
    drawn.clear()
    train(recipe, output=tmp_path / "b")
    assert drawn == first


def test_the_history_says_what_the_weights_do(tmp_path):
    run = train(SHORT, output=tmp_path)
    data = load_data("digits")
    model = build_model(SHORT.model, classes=10, input_shape=data.input_shape)
    model.load_state_dict(weights(run))
    inputs, targets = tensors(data.test)
    scores = model(inputs).detach()
    last = run.history[-1]
    assert last["test_loss"] == pytest.approx(float(functional.cross_entropy(scores, targets)), rel=1e-5)
    assert last["test_accuracy"] == int((scores.argmax(1) == targets).sum()) / 360
    assert [entry["epoch"] for entry in run.history] == [1, 2]
    assert [entry["step"] for entry in run.history] == [6, 12]
    assert all(entry["seconds"] >= 0 for entry in run.history)
    assert run.metrics.items() <= last.items()


@pytest.mark.parametrize(
    ("optimizer", "each", "fraction"), [("sgd", 1, 0.0), ("sam", 2, 1.0), ("cr-sam", 3, 1.0)]
)
def test_gradients_are_counted(tmp_path, optimizer, each, fraction):
    run = train(dataclasses.replace(SHORT, optimizer=optimizer), output=tmp_path)
    assert run.metrics["gradients"] == 12 * each
    assert run.metrics["sam_fraction"] == fraction
    assert run.metrics["skipped_steps"] == 0


def test_the_learning_rate_rises_and_falls(tmp_path):
    run = train(dataclasses.replace(SHORT, epochs=3, warmup_epochs=1, lr=0.5), output=tmp_path)
    rates = [entry["lr"] for entry in run.history]
    assert rates[0] == 0.5
    assert rates[1] > rates[2] > 0


def test_the_direction_is_clipped(tmp_path):
    recipe = Recipe(
        model="mlp:width=4", epochs=1, batch_size=2000, optimizer="sgd:momentum=0,weight_decay=0", lr=1.0
    )
    run = train(dataclasses.replace(recipe, max_grad_norm=0.01), output=tmp_path)
    start = build_model(recipe.model, classes=10, input_shape=(1, 8, 8), seed=0).state_dict()
    moved = torch.cat([(tensor - start[name]).flatten() for name, tensor in weights(run).items()])
    assert float(moved.norm()) == pytest.approx(0.01, rel=1e-3)


def test_two_runs_have_the_same_bytes_and_another_seed_has_others(tmp_path):
    first, second = (train(SHORT, output=tmp_path / name) for name in ("a", "b"))
    other = train(dataclasses.replace(SHORT, seed=1), output=tmp_path / "c")
    assert first.checkpoint.read_bytes() == second.checkpoint.read_bytes()
    assert not torch.equal(*(next(iter(weights(run).values())) for run in (first, other)))


def test_the_global_state_is_as_it_was_and_does_not_matter(tmp_path):
    torch.manual_seed(5)
    state, dtype = torch.get_rng_state(), torch.get_default_dtype()
    first = train(dataclasses.replace(SHORT, dtype="float64"), output=tmp_path / "a")
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_default_dtype() == dtype
    torch.manual_seed(6)
    second = train(dataclasses.replace(SHORT, dtype="float64"), output=tmp_path / "b")
    assert first.checkpoint.read_bytes() == second.checkpoint.read_bytes()
    assert next(iter(weights(first).values())).dtype == torch.float64


def test_the_random_state_is_put_back_when_something_raises(tmp_path):
    def fail(progress):
        raise ValueError("mine")

    state = torch.get_rng_state()
    with pytest.raises(ValueError, match="mine"):
        train(SHORT, output=tmp_path, progress=fail)
    assert torch.equal(torch.get_rng_state(), state)


def test_another_thread_can_train(tmp_path):
    thread = threading.Thread(target=train, args=(SHORT,), kwargs={"output": tmp_path})
    thread.start()
    thread.join()
    assert (tmp_path / "checkpoint.pt").exists()


def test_progress_is_told_after_each_step(tmp_path):
    told = []
    train(SHORT, output=tmp_path, progress=told.append)
    assert [(p.step, p.steps) for p in told] == [(step, 12) for step in range(1, 13)]
    assert [p.epoch for p in told] == [1] * 6 + [2] * 6
    assert all(isinstance(p, Progress) and p.loss > 0 and p.seconds_left >= 0 for p in told)
    assert told[0].test_accuracy is None
    assert 0 < told[-1].test_accuracy < 1
    assert told[-1].seconds_left == 0


def test_checkpoints_are_kept_when_asked_for(tmp_path):
    run = train(dataclasses.replace(SHORT, epochs=5), output=tmp_path, save_every=2)
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["epoch-0002.pt", "epoch-0004.pt"]
    assert torch.load(tmp_path / "checkpoints" / "epoch-0002.pt", weights_only=True)["epoch"] == 2
    assert {path.name for path in run.path.iterdir()} == {
        "recipe.toml",
        "history.jsonl",
        "checkpoint.pt",
        "checkpoints",
    }


def test_a_last_batch_of_one_example_is_left_out():
    recipe = Recipe(data="moons:samples=100", batch_size=23)
    assert Session(recipe, subject_of(recipe), torch.device("cpu")).steps_per_epoch == 3
    alone = dataclasses.replace(recipe, batch_size=1)
    assert Session(alone, subject_of(alone), torch.device("cpu")).steps_per_epoch == 70


def test_a_finished_run_is_returned_as_it_is(tmp_path):
    first = train(SHORT, output=tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    second = train(SHORT, output=tmp_path, progress=lambda _: pytest.fail("a finished run was trained"))
    assert second == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_different_recipe_is_refused_with_the_field_and_the_ways_out(tmp_path):
    run = train(SHORT, output=tmp_path)
    before = run.checkpoint.read_bytes()
    with pytest.raises(UsageError, match=r"lr=0.1, and this one has lr=0.2; .*--overwrite.* \(-o\)"):
        train(dataclasses.replace(SHORT, lr=0.2), output=tmp_path)
    (tmp_path / "recipe.toml").unlink()
    with pytest.raises(UsageError, match="seed=0, and this one has seed=1"):
        train(dataclasses.replace(SHORT, seed=1), output=tmp_path)
    assert run.checkpoint.read_bytes() == before


def test_the_device_and_the_wish_to_download_are_no_difference(tmp_path):
    first = train(SHORT, output=tmp_path)
    assert train(dataclasses.replace(SHORT, device="cpu"), output=tmp_path).history == first.history


def test_a_run_that_is_not_to_be_resumed_is_not_touched(tmp_path):
    run = train(SHORT, output=tmp_path)
    before = run.checkpoint.read_bytes()
    with pytest.raises(UsageError, match=r"--resume.*--overwrite"):
        train(SHORT, output=tmp_path, resume=False)
    assert run.checkpoint.read_bytes() == before


def test_overwriting_starts_again_and_takes_the_old_numbers_away(tmp_path):
    train(SHORT, output=tmp_path, save_every=1)
    (tmp_path / "measures.jsonl").write_text("{}\n")
    (tmp_path / "notes.txt").write_text("mine")
    run = train(dataclasses.replace(SHORT, lr=0.2, epochs=1), output=tmp_path, overwrite=True)
    assert len(run.history) == 1
    assert json.loads((tmp_path / "history.jsonl").read_text())["epoch"] == 1
    assert {p.name for p in tmp_path.iterdir()} == {
        "recipe.toml",
        "history.jsonl",
        "checkpoint.pt",
        "notes.txt",
    }


def test_a_damaged_checkpoint_is_named_and_left_alone(tmp_path):
    run = train(SHORT, output=tmp_path)
    run.checkpoint.write_bytes(run.checkpoint.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"checkpoint\.pt is damaged"):
        train(SHORT, output=tmp_path)
    assert run.checkpoint.stat().st_size == 1000
    assert train(SHORT, output=tmp_path, overwrite=True).metrics == run.metrics


def test_a_checkpoint_whose_weights_do_not_fit_is_an_input_error(tmp_path):
    run = train(SHORT, output=tmp_path)
    content = torch.load(run.checkpoint, weights_only=True)
    content["epoch"] = 1
    content["state_dict"].popitem()
    torch.save(content, run.checkpoint)
    with pytest.raises(InputError, match="does not fit its own recipe"):
        train(SHORT, output=tmp_path)


def test_a_damaged_recipe_is_named(tmp_path):
    train(SHORT, output=tmp_path)
    (tmp_path / "recipe.toml").write_text("lr = ")
    with pytest.raises(InputError, match=r"recipe\.toml cannot be read"):
        train(SHORT, output=tmp_path)


def test_a_loss_that_is_not_finite_stops_the_run_with_the_last_good_checkpoint(tmp_path):
    recipe = dataclasses.replace(SHORT, lr=1e30)
    with pytest.raises(
        DivergedError, match=r"epoch 1 of 2, step \d of 6, on .*; no checkpoint was written yet"
    ):
        train(recipe, output=tmp_path)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_the_examples_of_the_batch_that_broke_the_run_are_named(tmp_path):
    recipe = dataclasses.replace(SHORT, lr=1e30, batch_size=5)
    with pytest.raises(DivergedError) as caught:
        train(recipe, output=tmp_path)
    step, named = re.search(r"step (\d+) of \d+, on training examples ([\d, ]+);", str(caught.value)).groups()
    session = Session(recipe, subject_of(recipe), torch.device("cpu"))
    assert [int(index) for index in named.split(", ")] == session.batches(0)[int(step) - 1]


def test_a_run_that_diverges_later_keeps_its_last_epoch(tmp_path, monkeypatch):
    good = Session.learning_rate
    monkeypatch.setattr(Session, "learning_rate", lambda self, step: 1e30 if step >= 6 else good(self, step))
    with pytest.raises(DivergedError, match=r"epoch 2 of 2, step .*last good checkpoint is .*checkpoint\.pt"):
        train(SHORT, output=tmp_path)
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert saved["epoch"] == 1
    assert all(bool(torch.isfinite(tensor).all()) for tensor in saved["state_dict"].values())


@pytest.mark.parametrize(
    ("recipe", "options", "kind", "expected"),
    [
        (SHORT, {"save_every": 0}, UsageError, "save_every=0"),
        (dataclasses.replace(SHORT, device="gpu"), {}, UsageError, "device=gpu cannot be used"),
        (dataclasses.replace(SHORT, device="meta"), {}, UsageError, "device=meta cannot be used"),
        (dataclasses.replace(SHORT, data="moons", augment="basic"), {}, UsageError, "augment=basic changes"),
        (dataclasses.replace(SHORT, augment="autoaugment"), {}, UsageError, "needs 8-bit pixels"),
        (dataclasses.replace(SHORT, model="cnn", data="moons"), {}, InputError, "cnn takes pictures"),
        (dataclasses.replace(SHORT, data="imagefolder:nowhere"), {}, InputError, "no folder nowhere"),
    ],
)
def test_what_is_refused_leaves_no_folder_behind(tmp_path, recipe, options, kind, expected):
    with pytest.raises(kind, match=expected) as caught:
        train(recipe, output=tmp_path / "run", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_an_output_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="file cannot be made a folder"):
            train(SHORT, output=tmp_path / "file", overwrite=overwrite)
    assert (tmp_path / "file").read_text() == "mine"


OUT_OF_RANGE = """
import torch
from torch.utils.data import TensorDataset
from landscape.data.examples import InMemory

def task():
    x, y = torch.ones(40, 8), torch.arange(40) % 3
    y[30] = 7
    examples = InMemory(x, y) if {in_memory} else TensorDataset(x, y)
    return dict(model=torch.nn.Linear(8, 3), data=dict(train=examples, test=examples), loss="cross-entropy")
"""


@pytest.mark.parametrize("kind", ["memory", "loader"])
def test_labels_beyond_the_classes_of_the_network_are_refused_before_a_loss_meets_them(
    tmp_path, kind, device, monkeypatch
):
    (tmp_path / "own.py").write_text(OUT_OF_RANGE.replace("{in_memory}", str(kind == "memory")))
    monkeypatch.setattr(trainer, "device_of", lambda recipe: device)
    recipe = Recipe(task=f"{tmp_path / 'own.py'}:task", batch_size=10, epochs=1)
    with pytest.raises(InputError, match="the train split has labels 0 to 7, and the network has 3 classes"):
        train(recipe, output=tmp_path / "run")
