"""One process to a folder, for as long as it lives."""

import dataclasses
import os
import threading

import pytest
from started import hold, started

from landscape.errors import UsageError
from landscape.training import Job, Recipe, plan_runs, train, train_several
from landscape.training.lock import locked, refuse_locked

RECIPE = Recipe(model="mlp:width=4", data="moons:samples=100", epochs=3, batch_size=32)


def test_a_second_process_in_the_folder_is_refused_by_name_and_changes_nothing(tmp_path):
    refused = []

    def second(progress):
        if progress.step != 5:
            return
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        for options in ({}, {"overwrite": True}):
            with pytest.raises(
                UsageError, match=f"is being trained by process {os.getpid()}; wait"
            ) as caught:
                train(RECIPE, output=tmp_path, **options)
            refused.append(str(caught.value))
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before

    run = train(RECIPE, output=tmp_path, progress=second)
    assert len(refused) == 2
    assert [entry["epoch"] for entry in run.history] == [1, 2, 3]
    assert {path.name for path in tmp_path.iterdir()} == {"recipe.toml", "history.jsonl", "checkpoint.pt"}
    assert run.checkpoint.read_bytes() == train(RECIPE, output=tmp_path / "alone").checkpoint.read_bytes()


def test_a_plan_with_a_run_that_is_being_trained_is_refused_before_anything_is_begun(tmp_path):
    recipes = [RECIPE, dataclasses.replace(RECIPE, seed=1)]
    folders = [tmp_path / "0", tmp_path / "1"]
    plan = plan_runs(recipes, folders, jobs=1)
    folders[1].mkdir()
    with locked(folders[1]), pytest.raises(UsageError, match="1 is being trained by process"):
        train_several(plan, [Job(run.recipe, run.folder) for run in plan.runs])
    assert not folders[0].exists()
    outcome = train_several(plan, [Job(run.recipe, run.folder) for run in plan.runs])
    assert len(outcome.runs) == 2


def test_a_killed_process_holds_no_lock(tmp_path):
    folder, begun = tmp_path / "run", tmp_path / "begun"
    folder.mkdir()
    process = started(hold, folder, begun)
    waiting = threading.Event()
    for _ in range(6000):
        if begun.exists():
            break
        waiting.wait(0.01)
    with pytest.raises(UsageError, match=f"is being trained by process {process.pid}"):
        refuse_locked(folder)
    process.kill()
    process.join()
    assert (folder / ".lock").exists()
    refuse_locked(folder)
    with locked(folder):
        pass
    assert list(folder.iterdir()) == []


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_not_taken_for_the_lock(tmp_path, monkeypatch):
    """Two processes could each have one then, of different files."""
    import landscape.training.lock as place

    good, opened = place.open_to_append, []

    def removed(path):
        file = good(path)
        if not opened:
            path.unlink()
        opened.append(file)
        return file

    monkeypatch.setattr(place, "open_to_append", removed)
    with locked(tmp_path):
        assert len(opened) == 2
        assert opened[0].closed
        with pytest.raises(UsageError):
            refuse_locked(tmp_path)
