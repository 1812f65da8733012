"""A byte changed in the folder of a run: noticed, restored, or without effect; never another run, never a traceback."""

import json
import warnings

import pytest
from byte_edits import byte_edits

from landscape.errors import InputError, Remark, UsageError
from landscape.records.history import without_seconds
from landscape.training import Recipe, checkpoint, train

RECIPE = Recipe(model="mlp:width=4", data="moons:samples=50", epochs=3, batch_size=32)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(RECIPE, output=tmp_path_factory.mktemp("run"))


def refused(action, *arguments, **options):
    """What the action returns, or ``None`` if it refuses in one line."""
    result, said = None, ""
    try:
        result = action(*arguments, **options)
    except (InputError, UsageError) as failure:
        said = str(failure)
    assert len(said.splitlines()) == (result is None)
    return result


def test_byte_edits_of_a_checkpoint_are_noticed_or_change_nothing_of_what_is_resumed(run, tmp_path):
    good, path = run.checkpoint.read_bytes(), tmp_path / "checkpoint.pt"
    noticed = 0
    for content in byte_edits(good):
        path.write_bytes(content)
        read = refused(checkpoint.read, path)
        if read is None:
            noticed += 1
            continue
        del read["format"]
        checkpoint.write(tmp_path / "again.pt", read)
        assert (tmp_path / "again.pt").read_bytes() == good
    print("noticed", noticed)
    assert noticed > 0


def test_byte_edits_of_a_history_are_restored(run, tmp_path):
    good = run.history
    folder, restored = tmp_path / "run", 0
    folder.mkdir()
    for name in ("checkpoint.pt", "recipe.toml"):
        (folder / name).write_bytes((run.path / name).read_bytes())
    for content in byte_edits((run.path / "history.jsonl").read_bytes(), share=3):
        (folder / "history.jsonl").write_bytes(content)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", Remark)
            found = train(RECIPE, output=folder)
        assert list(map(without_seconds, found.history)) == list(map(without_seconds, good))
        assert [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()] == list(
            found.history
        )
        restored += any("is restored from the checkpoint" in str(one.message) for one in said)
    print("restored", restored)
    assert restored > 0


def test_byte_edits_of_a_recipe_are_named_and_the_run_stays_what_it_is(run, tmp_path):
    """Nothing vouches for this file; what it says is held against the checkpoint and the command."""
    folder, noticed = tmp_path / "run", 0
    folder.mkdir()
    for name in ("checkpoint.pt", "history.jsonl"):
        (folder / name).write_bytes((run.path / name).read_bytes())
    for content in byte_edits((run.path / "recipe.toml").read_bytes(), share=2):
        (folder / "recipe.toml").write_bytes(content)
        found = refused(train, RECIPE, output=folder)
        noticed += found is None
        assert found is None or (found.recipe, found.history) == (run.recipe, run.history)
        assert (folder / "checkpoint.pt").read_bytes() == run.checkpoint.read_bytes()
    print("noticed", noticed)
    assert noticed > 0
