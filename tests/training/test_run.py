"""The folder of a run: what is a part of it and what is the user's, and what is left when something is damaged."""

import dataclasses
import json
import os
import shutil

import pytest

from landscape.errors import InputError, Remark, UsageError
from landscape.records.storage import sha256
from landscape.training import Measuring, Recipe, checkpoint, train

RECIPE = Recipe(model="mlp:width=8", data="moons:samples=100", epochs=4, batch_size=32)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    return train(RECIPE, output=folder, save_every=1, measuring=Measuring(1, names=("loss",), limit=20))


@pytest.fixture
def run(undisturbed, tmp_path):
    """The folder of a finished run with all that one can have."""
    folder = tmp_path / "run"
    shutil.copytree(undisturbed.path, folder)
    return folder


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def again(folder, **options):
    return train(RECIPE, output=folder, save_every=1, **options)


def entries(folder):
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


USERS = {
    "checkpoints/epoch-0001.pt": b"weights of weeks",
    "checkpoint.pt": b"PK weights of weeks",
    "history.jsonl": b'{"year": 1848}\n',
    "measures.jsonl": b"# measured by hand\n",
    "measures-history.jsonl": b"?\n",
    "measures-starts.pt": b"?\n",
    "recipe.toml": b"# a cake\nlr = 0.1\nepochs = 4\n",
}


@pytest.mark.parametrize("name", USERS)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_of_the_users_that_is_called_like_one_of_a_run_is_named_and_stays(tmp_path, name, overwrite):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(USERS[name])
    (tmp_path / "thesis.tex").write_text("mine")
    before = content(tmp_path)
    with pytest.raises((UsageError, InputError), match=name) as caught:
        again(tmp_path, overwrite=overwrite)
    assert "\n" not in str(caught.value)
    assert content(tmp_path) == before


def test_a_folder_of_checkpoints_of_the_users_stays_beside_those_of_the_run(tmp_path, undisturbed):
    mine = {"checkpoints/best.pt": b"mine", "checkpoints/epoch-1.pt": b"mine", ".notes.part": b"mine"}
    (tmp_path / "checkpoints").mkdir()
    for name, held in mine.items():
        (tmp_path / name).write_bytes(held)
    for options in ({}, {"overwrite": True}):
        assert again(tmp_path, **options).checkpoint.read_bytes() == undisturbed.checkpoint.read_bytes()
        assert {name: (tmp_path / name).read_bytes() for name in mine} == mine


@pytest.mark.parametrize("name", ["checkpoint.pt", "checkpoints/epoch-0002.pt"])
def test_in_the_folder_of_a_run_too_overwriting_deletes_no_checkpoint_that_is_not_one_of_a_run(run, name):
    (run / name).write_bytes(b"weights of weeks")
    before = content(run)
    with pytest.raises(UsageError, match=f"{name} was not written by training"):
        again(run, overwrite=True)
    assert content(run) == before


@pytest.mark.parametrize(
    "name", ["checkpoint.pt", "history.jsonl", "recipe.toml", "checkpoints/epoch-0001.pt"]
)
def test_a_link_or_a_pipe_in_the_place_of_a_file_is_refused_before_it_is_opened(run, tmp_path, name):
    shutil.copy(run / name, tmp_path / "target")
    before = (tmp_path / "target").read_bytes()
    (run / name).unlink()
    (run / name).symlink_to(tmp_path / "target")
    for overwrite in (False, True):
        with pytest.raises(InputError, match=f"{name} is a symbolic link to"):
            again(run, overwrite=overwrite)
    assert (tmp_path / "target").read_bytes() == before
    (run / name).unlink()
    os.mkfifo(run / name)
    with pytest.raises(InputError, match=f"{name} is a pipe"):
        again(run)


def test_checkpoints_are_not_kept_or_deleted_through_a_link(run, tmp_path):
    (run / "checkpoints").rename(tmp_path / "elsewhere")
    (run / "checkpoints").symlink_to(tmp_path / "elsewhere")
    before = content(tmp_path / "elsewhere")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="checkpoints is a symbolic link to"):
            again(run, overwrite=overwrite)
    assert content(tmp_path / "elsewhere") == before


def test_a_run_without_its_checkpoint_goes_on_from_the_last_that_was_kept(run, undisturbed):
    whole = content(undisturbed.path)
    (run / "checkpoint.pt").unlink()
    (run / "checkpoints/epoch-0004.pt").unlink()
    (run / "checkpoints/epoch-0003.pt").write_bytes(whole["checkpoints/epoch-0003.pt"][:-200])
    seconds = [entry["seconds"] for entry in entries(run)]
    expected = r"checkpoint\.pt is missing; epoch-0003\.pt is damaged, the run goes on from .*epoch-0002\.pt"
    with pytest.warns(Remark, match=expected):
        again(run, measuring=Measuring(1, names=("loss",), limit=20))
    assert {name: held for name, held in content(run).items() if name.endswith(".pt")} == {
        name: held for name, held in whole.items() if name.endswith(".pt")
    }
    assert [entry["epoch"] for entry in entries(run)] == [1, 2, 3, 4]
    assert [entry["seconds"] for entry in entries(run)][:2] == seconds[:2]
    assert len((run / "measures-history.jsonl").read_bytes().splitlines()) == 8


def test_a_finished_run_without_its_checkpoint_has_it_again(run, undisturbed):
    (run / "checkpoint.pt").unlink()
    with pytest.warns(Remark, match=r"goes on from .*epoch-0004\.pt"):
        found = again(run)
    assert found.checkpoint.read_bytes() == undisturbed.checkpoint.read_bytes()
    assert found.history == undisturbed.history


def test_a_kept_checkpoint_of_another_run_is_not_gone_on_from(run):
    (run / "checkpoint.pt").unlink()
    (run / "recipe.toml").unlink()
    before = content(run)
    with pytest.raises(UsageError, match=r"holds a run with lr=0\.1, and this one has lr=0\.2"):
        train(dataclasses.replace(RECIPE, lr=0.2), output=run)
    assert content(run) == before


@pytest.mark.parametrize("damage", ["no checkpoints", "all damaged"])
def test_a_run_that_cannot_go_on_is_refused_and_nothing_of_it_is_lost(run, damage):
    (run / "checkpoint.pt").unlink()
    if damage == "no checkpoints":
        shutil.rmtree(run / "checkpoints")
    else:
        for file in (run / "checkpoints").iterdir():
            file.write_bytes(file.read_bytes()[:-100])
    before = content(run)
    with pytest.raises(
        InputError, match=r"has a history of 4 epochs and no|has no checkpoint\.pt, and none of the 4"
    ):
        again(run)
    assert content(run) == before
    assert len(again(run, overwrite=True).history) == 4


def test_overwriting_deletes_what_is_of_the_run_and_nothing_else(run):
    (run / "measures.jsonl").write_text("{}\n")
    for name in ("notes.txt", "checkpoints/best.pt"):
        (run / name).write_text("mine")
    (run / ".lock").write_text("123\n")  # as a killed process leaves it
    train(dataclasses.replace(RECIPE, epochs=1), output=run, overwrite=True)
    assert sorted(content(run)) == sorted(
        ["checkpoint.pt", "checkpoints", "checkpoints/best.pt", "history.jsonl", "notes.txt", "recipe.toml"]
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line.replace(b'"train_loss"', b'"train_lass"'),
        lambda line: line.replace(b'"step": 6', b'"step": 7'),
        lambda line: b"\xff" + line[1:],
        lambda line: line[:40],
        lambda line: b"[" * 100_000,
        lambda line: line.replace(b'"seconds": ', b'"seconds": 1' + b"0" * 400),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_a_damaged_line_of_the_history_is_restored_from_the_checkpoint(run, undisturbed, damage, finished):
    if not finished:
        shutil.copy(run / "checkpoints/epoch-0003.pt", run / "checkpoint.pt")
    lines = (run / "history.jsonl").read_bytes().splitlines()
    lines[1] = damage(lines[1])
    (run / "history.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    with pytest.warns(Remark, match=r"history\.jsonl was damaged: what it says of epoch 2 is restored"):
        found = again(run)
    for entry, expected in zip(found.history, undisturbed.history, strict=True):
        lacking = {"seconds"} if entry["epoch"] == 2 else set()
        assert expected.keys() - entry.keys() == lacking
        assert {**expected, "seconds": 0} == {**entry, "seconds": 0}
    assert found.history == tuple(entries(run))


def test_a_history_that_was_removed_is_there_again(run, undisturbed):
    (run / "history.jsonl").unlink()
    with pytest.warns(Remark, match="of epoch 1, 2, 3, 4 is restored"):
        found = again(run)
    assert [entry["test_loss"] for entry in found.history] == [e["test_loss"] for e in undisturbed.history]


def test_lines_of_measures_that_cannot_be_read_stay_and_are_said(run):
    shutil.copy(run / "checkpoints/epoch-0003.pt", run / "checkpoint.pt")
    lines = (run / "measures-history.jsonl").read_bytes().splitlines(keepends=True)
    lines[2] = b"\xff" + lines[2][1:]
    (run / "measures-history.jsonl").write_bytes(b"".join(lines))
    with pytest.warns(Remark, match=r"measures-history\.jsonl has 1 lines that cannot be read; they stay"):
        again(run, measuring=Measuring(1, names=("loss",), limit=20))
    assert (run / "measures-history.jsonl").read_bytes().splitlines(keepends=True)[:6] == lines[:6]
    assert len((run / "measures-history.jsonl").read_bytes().splitlines()) == 8


@pytest.mark.parametrize("finished", [False, True])
def test_what_killed_processes_left_is_removed_and_only_that(run, finished):
    if not finished:
        shutil.copy(run / "checkpoints/epoch-0003.pt", run / "checkpoint.pt")
    left = [
        ".lock",
        ".checkpoint.pt.abcdefgh.part",
        ".recipe.toml.a_cdefgh.part",
        "checkpoints/.epoch-0004.pt.ab12efgh.part",
    ]
    mine = [".thesis.part", ".checkpoint.pt.part", "checkpoints/.best.pt.abcdefgh.part"]
    for name in left + mine:
        (run / name).write_text("?")
    again(run)
    assert [name for name in left + mine if (run / name).exists()] == mine


def test_a_difference_of_threads_or_versions_is_said_at_the_resume(run, monkeypatch):
    shutil.copy(run / "checkpoints/epoch-0003.pt", run / "checkpoint.pt")
    import landscape.training.determinism as place

    monkeypatch.setattr(place, "__version__", "9.9")
    expected = (
        r"was computed with landscape=.*, and continues with landscape=9\.9: the last digits can differ"
    )
    with pytest.warns(Remark, match=expected):
        again(run)
    saved = checkpoint.read(run / "checkpoint.pt")["training"]["environments"]
    assert [one["landscape"] == "9.9" for one in saved] == [False, True]
    assert saved[0].keys() >= {"threads", "processor", "torch", "numpy", "scikit-learn", "torchvision"}


def test_a_checkpoint_of_before_it_held_the_history_goes_on_with_the_file(run, undisturbed):
    for name in ("checkpoint.pt", "checkpoints/epoch-0003.pt"):
        old = checkpoint.read(run / name)
        del old["training"]["history"]
        del old["training"]["environments"]
        checkpoint.write(run / name, {key: value for key, value in old.items() if key != "format"})
    before = sha256(run / "checkpoint.pt")
    assert again(run).history == undisturbed.history
    assert sha256(run / "checkpoint.pt") == before
    shutil.copy(run / "checkpoints/epoch-0003.pt", run / "checkpoint.pt")
    found = again(run)
    assert found.history[:3] == undisturbed.history[:3]
    assert [entry["test_loss"] for entry in found.history] == [e["test_loss"] for e in undisturbed.history]
