"""The one reader of run folders: the names of the files, and what is passed over."""

import json

import pytest
from records_made import estimate

from landscape.records import to_json
from landscape.records.run_folder import (
    CHECKPOINT,
    HISTORY,
    MEASURES,
    MEASURES_HISTORY,
    RECIPE,
    During,
    RunFolder,
    checkpoint_digest,
    read_lines,
    run_folders,
)
from landscape.records.storage import sha256, sha256_of_sums


def write_run(folder, *, epochs=2, done=2):
    folder.mkdir(parents=True)
    (folder / RECIPE).write_text(f'optimizer = "sam"\nepochs = {epochs}\nema = [1]\n')
    lines = [json.dumps({"epoch": epoch, "train_loss": 0.5, "note": "x"}) for epoch in range(1, done + 1)]
    (folder / HISTORY).write_text("\n".join(lines) + '\n{"epoch": 3, "tr')
    (folder / MEASURES).write_text(to_json(estimate()) + "\nnot JSON\n")
    fields = {"epoch": 1, "step": 10, **json.loads(to_json(estimate()))}
    (folder / MEASURES_HISTORY).write_text(json.dumps(fields) + "\n")
    return RunFolder(folder)


def test_a_run_is_read_from_its_files(tmp_path):
    run = write_run(tmp_path / "a")
    assert run.read_recipe() == {"optimizer": "sam", "epochs": 2}
    assert run.read_history() == ({"epoch": 1, "train_loss": 0.5}, {"epoch": 2, "train_loss": 0.5})
    assert run.read_measures().estimates == (estimate(),)
    assert run.read_measures().unreadable == 1
    assert read_lines(run.measures_history).during == (During(1, estimate(), 10),)
    assert read_lines(run.measures).estimates == (estimate(),)
    assert (run.label(), run.unfinished()) == ("sam", None)


def test_a_run_whose_history_is_short_is_unfinished(tmp_path):
    assert write_run(tmp_path / "a", epochs=5).unfinished() == "its training is at epoch 2 of 5"


def test_an_empty_folder_is_a_run_of_which_nothing_is_known(tmp_path):
    run = RunFolder(tmp_path / "absent")
    assert (run.read_recipe(), run.read_history(), run.read_measures().estimates) == (None, (), ())
    assert (run.label(), run.unfinished(), run.epoch_checkpoints()) == ("absent", None, [])


def test_a_damaged_recipe_is_no_recipe(tmp_path):
    (tmp_path / RECIPE).write_text("epochs = ")
    assert RunFolder(tmp_path).read_recipe() is None


def test_kept_checkpoints_are_in_the_order_of_their_epochs(tmp_path):
    run = RunFolder(tmp_path)
    run.checkpoints.mkdir()
    for epoch in (10000, 2, 10):
        run.epoch_checkpoint(epoch).touch()
    (run.checkpoints / "best.pt").touch()
    assert run.epoch_checkpoints() == [run.epoch_checkpoint(epoch) for epoch in (2, 10, 10000)]


def test_runs_are_the_folder_itself_or_those_in_it(tmp_path):
    second, first = write_run(tmp_path / "b"), write_run(tmp_path / "a")
    (tmp_path / "empty").mkdir()
    assert [run.path for run in run_folders(tmp_path)] == [first.path, second.path]
    assert [run.path for run in run_folders(first.path)] == [first.path]
    assert run_folders(tmp_path, files=(CHECKPOINT,)) == []
    assert run_folders(tmp_path / "absent") == []


def test_digest_of_a_sharded_checkpoint_covers_index_and_shards(tmp_path):
    for name in ("a.safetensors", "b.safetensors"):
        (tmp_path / name).write_text(name)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": "b.safetensors", "v": "a.safetensors"}}))
    shards = [tmp_path / "b.safetensors", tmp_path / "a.safetensors"]
    assert checkpoint_digest(index) == sha256_of_sums(map(sha256, [index, *shards]))
    assert checkpoint_digest(shards[0]) == sha256(shards[0])
    index.write_text("{")
    assert checkpoint_digest(index) is None


@pytest.mark.parametrize(
    ("line", "numbers"),
    [
        ('{"epoch": 2, "train_loss": 0.5, "steps": 7}', {"epoch": 2, "train_loss": 0.5, "steps": 7}),
        ('{"epoch": 2, "a": true, "b": "x", "c": [1], "d": null, "e": {}}', {"epoch": 2}),
        (json.dumps({"epoch": 2, "a": 10**400, "b": -(10**400)}), {"epoch": 2}),
        (json.dumps({"epoch": 10**400}), None),
        ('{"epoch": true}', None),
        ('{"epoch": 1.5}', None),
        ('{"epo', None),
        ("[1]", None),
        ("[" * 100_000, None),
        ("", None),
    ],
)
def test_only_the_numbers_of_a_line_of_history_are_read(tmp_path, line, numbers):
    (tmp_path / HISTORY).write_text(f"{line}\n")
    assert read_lines(tmp_path / HISTORY).epochs == (() if numbers is None else (numbers,))
