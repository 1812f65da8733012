"""What is on disk of runs, and which of it may be compared: the same measures, settings and examples of every run."""

import json

import pytest
from records_made import estimate, provenance, recipe

from landscape.comparison.runs import find_runs, from_history, require_fields
from landscape.comparison.selection import Conditions, select
from landscape.errors import InputError
from landscape.records import append
from landscape.storage import sha256


@pytest.fixture
def made(tmp_path):
    """A function that makes the folder of a run with records of its checkpoint."""

    def make(name, *records, epochs=2, done=2, seed=0):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "recipe.toml").write_text(f'optimizer = "sgd"\nepochs = {epochs}\nseed = {seed}\n')
        (folder / "checkpoint.pt").write_bytes(name.encode())
        lines = [{"epoch": e + 1, "sam_fraction": 0.25, "gradients": 10, "seconds": 1.5} for e in range(done)]
        (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        for fields in records:
            known = {
                "measure": "loss",
                "settings": {},
                "checkpoint": sha256(folder / "checkpoint.pt"),
                **fields,
            }
            taken = {key: known.pop(key) for key in ("measure", "settings")}
            origin = provenance(recipe=recipe(seed=seed), **known)
            append(folder / "measures.jsonl", estimate(1.0, origin=origin, **taken))
        return folder

    return make


def chosen(runs, names=None, **asked):
    return select(find_runs(runs).runs, names, Conditions("train", **asked))


def test_what_is_there_for_all_runs_is_chosen_and_nothing_is_missing(made):
    runs = [made("a", {}, {"measure": "accuracy"}), made("b", {}, {"measure": "accuracy"}, seed=1)]
    found = chosen(runs)
    assert [e.measure for e in found.chosen] == ["loss", "loss", "accuracy", "accuracy"]
    assert found.missing == ()


def test_what_a_run_lacks_is_to_be_taken_in_the_settings_and_on_the_examples_of_the_others(made):
    gap = {"measure": "surrogate-gap", "settings": {"rho": 0.1}, "num_examples": 50, "batch_size": 10}
    found = chosen([made("a", gap), made("b")])
    [lack] = found.missing
    assert (lack.run.path.name, str(lack.wanted)) == ("b", "surrogate-gap:rho=0.1")
    assert found.conditions == Conditions("train", 50, 10, "stored", "float32")


def test_options_choose_among_settings_and_several_settings_without_one_for_all_are_refused(made):
    settings = [{"measure": "surrogate-gap", "settings": {"rho": rho}} for rho in (0.1, 0.2)]
    a, b = made("a", settings[0]), made("b", settings[1])
    with pytest.raises(InputError, match=r"differ in rho \(0.1 and 0.2\).*--measure surrogate-gap:rho=0.1"):
        chosen([a, b])
    found = chosen([a, b], ["surrogate-gap:rho=0.20"])
    assert [lack.run.path.name for lack in found.missing] == ["a"]
    assert len(found.chosen) == 1


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("subset", ("x", "y")),
        ("batch_size", (8, 16)),
        ("dtype", ("float32", "float64")),
        ("code", ("1", "2")),
        ("batch_norm", ("stored", "batch")),
        ("loss", ("mse", "cross-entropy")),
        ("data", ("moons", "digits")),
    ],
)
def test_records_under_two_conditions_are_refused_and_the_field_is_named(made, field, values):
    runs = [made("a", {field: values[0]}), made("b", {field: values[1]})]
    with pytest.raises(InputError, match=rf"differ in {field} \({values[0]} and {values[1]}\)"):
        chosen(runs)


def test_the_one_condition_that_is_there_for_all_runs_is_taken_and_it_is_said(made):
    runs = [made("a", {}, {"num_examples": 50, "subset": "other"}), made("b", {})]
    found = chosen(runs)
    assert {e.provenance.num_examples for e in found.chosen} == {200}
    assert found.remarks[0].startswith("1 records on other data")


def test_the_limit_that_is_asked_for_decides(made):
    runs = [made(name, {}, {"num_examples": 50, "subset": "other"}) for name in "ab"]
    assert {e.provenance.num_examples for e in chosen(runs, limit=50).chosen} == {50}
    with pytest.raises(InputError, match=r"differ in subset .*--limit"):
        chosen(runs)


def test_a_run_still_going_on_is_left_out_and_said(made):
    found = find_runs([made("a", {}), made("b", {}, done=1)])
    assert [run.path.name for run in found.runs] == ["a"]
    assert "left out: its training is at epoch 1 of 2" in found.remarks[0]
    with pytest.raises(InputError, match=r"no run is finished: .*epoch 0 of 2"):
        find_runs([made("c", done=0)])


def test_records_of_an_earlier_checkpoint_are_left_out_and_counted(made):
    folder = made("a", {}, {"measure": "accuracy", "checkpoint": "f" * 64})
    found = find_runs([folder])
    assert [e.measure for e in found.runs[0].estimates] == ["loss"]
    assert found.remarks == ("1 records of other checkpoints than the runs' last are left out",)


def test_corrupt_lines_are_skipped_and_counted(made):
    folder = made("a", {})
    with (folder / "measures.jsonl").open("a") as file:
        file.write('{"schema": "landscape.meas\nnot json\n')
    assert find_runs([folder]).unreadable == 2


def test_a_path_that_is_there_twice_counts_once(made, tmp_path):
    folder = made("a", {})
    assert len(find_runs([folder, folder / "checkpoint.pt", tmp_path]).runs) == 1


def test_the_history_gives_numbers_of_the_training(made):
    [run] = find_runs([made("a", {})]).runs
    assert from_history(run, "sam-share", run.estimates[0].provenance).value == 0.25
    assert from_history(run, "seconds", None).value == 3.0
    assert from_history(run, "gradients", None).provenance.recipe["optimizer"] == "sgd"


def test_a_field_that_no_recipe_has_is_answered_with_the_nearest(made):
    runs = find_runs([made("a", {})]).runs
    require_fields(runs, ["optimizer", "lr"])
    with pytest.raises(InputError, match=r"no recipe field 'optimiser' \(did you mean 'optimizer'\?\)"):
        require_fields(runs, ["optimiser"])
