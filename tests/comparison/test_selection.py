"""Runs are found on disk, and only records of the same measures, settings and examples are selected from them."""

import json

import pytest
from records_made import estimate, provenance, recipe

from landscape.comparison import compare
from landscape.comparison.runs import find_runs, from_history, require_fields
from landscape.comparison.selection import Conditions, select
from landscape.errors import InputError
from landscape.records.json_lines import append
from landscape.records.storage import sha256


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


@pytest.mark.parametrize(
    ("asked", "fits"),
    [
        ({}, True),
        ({"batch_size": 50}, True),
        ({"batch_size": 128}, True),  # all examples in one batch
        ({"batch_size": 49}, False),
        ({"limit": 50, "split": "train", "batch_norm": "stored", "dtype": "float32"}, True),
        ({"limit": 51}, False),
        ({"split": "test"}, False),
        ({"batch_norm": "batch"}, False),
        ({"dtype": "float64"}, False),
    ],
)
def test_a_record_fits_where_every_condition_that_is_asked_for_is_its_own(asked, fits):
    origin = provenance(num_examples=50, batch_size=50)
    assert Conditions(**asked).fit(origin) == fits
    assert Conditions.of(origin).fit(origin)


def test_what_is_there_for_all_runs_is_chosen_and_nothing_is_missing(made):
    runs = [made("a", {}, {"measure": "accuracy"}), made("b", {}, {"measure": "accuracy"}, seed=1)]
    found = chosen(runs)
    assert [e.measure for e in found.records] == ["loss", "loss", "accuracy", "accuracy"]
    assert found.missing == ()


def test_what_a_run_lacks_is_to_be_taken_in_the_settings_and_on_the_examples_of_the_others(made):
    gap = {"measure": "surrogate-gap", "settings": {"rho": 0.1}, "num_examples": 50, "batch_size": 10}
    found = chosen([made("a", gap), made("b")])
    [lack] = found.missing
    assert (lack.run.path.name, str(lack.measure)) == ("b", "surrogate-gap:rho=0.1")
    assert lack.conditions == Conditions("train", 50, 10, "stored", "float32")


def test_options_choose_among_settings_and_several_settings_without_one_for_all_are_refused(made):
    settings = [{"measure": "surrogate-gap", "settings": {"rho": rho}} for rho in (0.1, 0.2)]
    a, b = made("a", settings[0]), made("b", settings[1])
    with pytest.raises(InputError, match=r"differ in rho \(0.1 and 0.2\).*--measure surrogate-gap:rho=0.1"):
        chosen([a, b])
    found = chosen([a, b], ["surrogate-gap:rho=0.20"])
    assert [lack.run.path.name for lack in found.missing] == ["a"]
    assert len(found.records) == 1


@pytest.mark.parametrize(
    ("option", "fits"),
    [
        ("rho=0.10", True),
        ("rho=1e-1", True),
        ("rho=0.2", False),
        ("rho=x", False),
        ("adaptive=true", True),
        ("adaptive=True", True),
        ("adaptive=false", False),
        ("adaptive=1", False),
        ("operator=hessian", True),
        ("operator=fisher", False),
        ("max-pairs=8", True),
        ("seed=0", False),
    ],
)
def test_an_option_fits_a_setting_of_the_same_value_however_it_is_written(made, option, fits):
    settings = {"rho": 0.1, "adaptive": True, "operator": "hessian", "max_pairs": 8}
    selected = chosen(
        [made("a", {"measure": "average-sharpness", "settings": settings})], [f"average-sharpness:{option}"]
    )
    assert (len(selected.records), len(selected.missing)) == ((1, 0) if fits else (0, 1))


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
    assert {e.provenance.num_examples for e in found.records} == {200}
    assert found.remarks[0].startswith("1 records on other data")


def test_the_limit_that_is_asked_for_decides(made):
    runs = [made(name, {}, {"num_examples": 50, "subset": "other"}) for name in "ab"]
    assert {e.provenance.num_examples for e in chosen(runs, limit=50).records} == {50}
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


def records_of(file, checkpoints, measures=("loss", "accuracy"), **fields):
    """Records of several checkpoints in one file, as ``measure -o FILE`` writes them."""
    for name, seed in checkpoints.items():
        for measure in measures:
            origin = provenance(checkpoint=name, recipe=recipe(seed=seed), **fields)
            append(file, estimate(float(seed), measure=measure, origin=origin))


def test_a_file_with_the_records_of_several_checkpoints_stands_for_as_many_runs(tmp_path):
    records_of(tmp_path / "all.jsonl", {character * 64: seed for seed, character in enumerate("abcdef")})
    found = find_runs([tmp_path / "all.jsonl"])
    assert [run.digest[0] for run in found.runs] == list("abcdef")
    chosen = select(found.runs, None, Conditions("train"))
    assert len(chosen.records) == 12
    assert (chosen.missing, found.remarks) == ((), ())
    assert compare(chosen.records).cells["sgd", "loss"].values == (0, 1, 2, 3, 4, 5)


def test_records_that_name_no_checkpoint_are_of_the_run_of_their_recipe(tmp_path):
    for seed in range(3):
        origin = provenance(checkpoint=None, checkpoint_file=None, recipe=recipe(seed=seed))
        append(tmp_path / "own.jsonl", estimate(float(seed), measure="loss", origin=origin))
    found = find_runs([tmp_path / "own.jsonl"])
    assert len(found.runs) == 3
    assert compare(select(found.runs, None, Conditions("train")).records).cells["sgd", "loss"].values == (
        0,
        1,
        2,
    )


def test_of_a_quantity_recorded_twice_the_last_record_counts_and_it_is_said(tmp_path):
    for value in (1.0, 2.0, 3.0):
        append(tmp_path / "all.jsonl", estimate(value, measure="loss"))
    append(tmp_path / "all.jsonl", estimate(9.0, measure="loss", settings={"rho": 1}))
    append(tmp_path / "all.jsonl", estimate(8.0, measure="loss", origin=provenance(split="test")))
    found = find_runs([tmp_path / "all.jsonl"])
    [run] = found.runs
    assert [e.value for e in run.estimates] == [3.0, 9.0, 8.0]
    [remark] = found.remarks
    assert remark.startswith("2 records of which a later one is there, of the same checkpoint, measure and")


@pytest.fixture
def beside(tmp_path):
    """A folder with two checkpoints and the records of both in one file."""
    seeds = {}
    for seed, name in enumerate(("a.pt", "b.safetensors")):
        (tmp_path / name).write_bytes(name.encode())
        seeds[name] = {sha256(tmp_path / name): seed}
        records_of(tmp_path / "measures.jsonl", seeds[name], checkpoint_file=name)
    return tmp_path


def runs_of(*paths):
    found = find_runs(paths)
    return {
        (run.checkpoint or run.path).name: [e.measure for e in run.estimates] for run in found.runs
    }, found.remarks


def test_checkpoints_in_one_folder_are_runs_of_their_own_and_can_be_measured(beside):
    both = {"a.pt": ["loss", "accuracy"], "b.safetensors": ["loss", "accuracy"]}
    for paths in ([beside], [beside / "a.pt", beside / "b.safetensors"], [beside, beside / "measures.jsonl"]):
        assert runs_of(*paths) == (both, ())
    assert runs_of(beside / "b.safetensors") == ({"b.safetensors": ["loss", "accuracy"]}, ())
    named = find_runs([beside / "measures.jsonl"])  # who names the records wants these, and nothing measured
    assert [(run.checkpoint, len(run.estimates)) for run in named.runs] == [(None, 2), (None, 2)]


def test_records_of_a_checkpoint_that_has_changed_since_are_not_used(beside):
    (beside / "a.pt").write_bytes(b"trained on")
    said = ("2 records of other checkpoints than the runs' last are left out",)
    assert runs_of(beside) == ({"b.safetensors": ["loss", "accuracy"]}, said)
    assert runs_of(beside / "measures.jsonl") == ({"measures.jsonl": ["loss", "accuracy"]}, said)
    assert runs_of(beside / "a.pt") == ({"a.pt": []}, said)
    (beside / "a.pt").unlink()  # what is not there any more has not changed
    both = {beside.name: ["loss", "accuracy"], "b.safetensors": ["loss", "accuracy"]}
    assert runs_of(beside) == (both, ())


def test_a_file_elsewhere_stands_by_itself_whatever_lies_beside_it(beside):
    (beside / "measures.jsonl").rename(beside / "all.jsonl")
    (beside / "a.pt").write_bytes(b"trained on")
    found = find_runs([beside / "all.jsonl"])
    assert [len(run.estimates) for run in found.runs] == [2, 2]
    assert [run.checkpoint for run in found.runs] == [None, None]
    assert len({run.name for run in found.runs}) == 2


def test_a_record_cannot_name_a_file_of_another_folder(tmp_path):
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "run").mkdir()
    records_of(tmp_path / "run/measures.jsonl", {"a" * 64: 0}, checkpoint_file="../secret")
    [run] = find_runs([tmp_path / "run"]).runs
    assert run.checkpoint is None


def test_raw_and_averaged_weights_of_one_file_are_not_mixed(made):
    folder = made("a", {})
    digest = sha256(folder / "checkpoint.pt")
    records_of(folder / "measures.jsonl", {f"{digest}:raw": 0}, ["accuracy"])
    found = find_runs([folder])
    assert [[e.measure for e in run.estimates] for run in found.runs] == [["loss"]]
    assert found.remarks == ("1 records of other weights in the same file (raw or averaged) are left out",)


def test_a_checkpoint_in_shards_has_the_hash_that_its_records_have(tmp_path):
    import safetensors.torch as safetensors
    import torch

    from landscape.checkpoints import read_checkpoint

    for name in ("one", "two"):
        safetensors.save_file({name: torch.ones(2)}, tmp_path / f"{name}.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    places = {"two": "two.safetensors", "one": "one.safetensors"}
    index.write_text(json.dumps({"weight_map": places}))
    identity = read_checkpoint(tmp_path).identity
    records_of(tmp_path / "measures.jsonl", {identity: 0}, checkpoint_file=index.name)
    [run] = find_runs([tmp_path]).runs
    assert (run.checkpoint, run.digest) == (index, identity)
    safetensors.save_file({"one": torch.zeros(2)}, tmp_path / "one.safetensors")
    with pytest.raises(InputError, match="there is nothing to compare"):
        find_runs([tmp_path])


def test_records_of_one_checkpoint_in_two_files_are_of_one_run(made, tmp_path):
    folder = made("a", {})
    records_of(tmp_path / "all.jsonl", {sha256(folder / "checkpoint.pt"): 0, "f" * 64: 1}, ["accuracy"])
    for paths in ([folder, tmp_path / "all.jsonl"], [tmp_path / "all.jsonl", folder]):
        found = find_runs(paths)
        assert sorted(sorted(e.measure for e in run.estimates) for run in found.runs) == [
            ["accuracy"],
            ["accuracy", "loss"],
        ]
        [run] = [run for run in found.runs if run.checkpoint is not None]
        assert (run.file, len(run.history)) == (folder / "measures.jsonl", 2)
        assert run.recipe["optimizer"] == "sgd"


def test_examples_that_do_not_hold_the_same_bytes_are_said(tmp_path):
    def remarks(*fields):
        records = [
            estimate(1.0, origin=provenance(checkpoint=str(seed), recipe=recipe(seed=seed, **more), **origin))
            for seed, (origin, more) in enumerate(fields)
        ]
        return [r for r in compare(records, ["optimizer", "label_noise"]).remarks if "same bytes" in r]

    clean = {"label_noise": 0.0}
    assert remarks(({"examples": "a"}, clean), ({"examples": "a"}, clean)) == []
    assert remarks(({"examples": "a"}, clean), ({"examples": None}, clean)) == []
    assert len(remarks(({"examples": "a"}, clean), ({"examples": "b"}, clean))) == 1
    assert remarks(({"examples": "a"}, clean), ({"examples": "b"}, {"label_noise": 0.2})) == []


WRONG = [
    "epochs = []",
    "epochs = 'many'",
    f"epochs = {10**400}",
    "epochs = 1979-05-27",
    "epochs = true",
    "= [",
]


@pytest.mark.parametrize("text", WRONG)
def test_a_recipe_of_other_types_does_not_say_that_a_run_is_unfinished(made, text):
    folder = made("a", {})
    (folder / "recipe.toml").write_text(text)
    [run] = find_runs([folder]).runs
    assert len(run.estimates) == 1


def test_a_history_of_other_types_says_nothing(made):
    folder = made("a", {})
    good = (folder / "history.jsonl").read_text()
    bad = [[], "x", {}, 10**400, True, None]
    lines = [json.dumps({"epoch": 2, "sam_fraction": v, "gradients": v, "seconds": v}) for v in bad]
    lines += [json.dumps({"epoch": v}) for v in bad] + ["[" * 100_000, "\x00"]
    (folder / "history.jsonl").write_text(good + "\n".join(lines))
    [run] = find_runs([folder]).runs
    assert from_history(run, "seconds", None) is None
    assert from_history(run, "gradients", None) is None


def test_records_of_an_earlier_version_are_compared(made, tmp_path):
    before = {"examples": None, "checkpoint_file": None, "loss_value": None}
    folders = [made(name, before, seed=seed) for seed, name in enumerate("ab")]
    records_of(tmp_path / "all.jsonl", {"c" * 64: 2}, ["loss"], **before)
    found = find_runs([*folders, tmp_path / "all.jsonl"])
    assert (len(found.runs), found.remarks) == (3, ())
    table = compare(select(found.runs, None, Conditions("train")).records)
    assert table.cells["sgd", "loss"].values == (1.0, 1.0, 2.0)


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


def test_seconds_of_which_some_are_not_known_are_not_summed(made):
    folder = made("a", {})
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    del lines[0]["seconds"]  # as of a line that was restored from the checkpoint
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    [run] = find_runs([folder]).runs
    assert from_history(run, "seconds", None) is None
    assert from_history(run, "gradients", None).value == 10


def test_a_field_that_no_recipe_has_is_answered_with_the_nearest(made):
    runs = find_runs([made("a", {})]).runs
    require_fields(runs, ["optimizer", "lr"])
    with pytest.raises(InputError, match=r"no recipe field 'optimiser' \(did you mean 'optimizer'\?\)"):
        require_fields(runs, ["optimiser"])


def test_without_other_records_a_number_of_the_history_is_on_no_data_and_of_the_checkpoint(made):
    [run] = find_runs([made("a", {})]).runs
    origin = from_history(run, "gradients", None).provenance
    assert (origin.dimension, origin.num_examples, origin.checkpoint) == (0, 0, run.digest)
    assert from_history(run, "gradients", run.estimates[0].provenance).provenance.num_examples == 200


def test_a_number_of_the_history_is_the_last_of_its_lines(made):
    folder = made("a", {})
    lines = [json.dumps({"epoch": k, "sam_fraction": k / 10, "gradients": 10 * k}) for k in (1, 2)]
    (folder / "history.jsonl").write_text("\n".join(lines) + "\n")
    [run] = find_runs([folder]).runs
    assert from_history(run, "sam-share", None).value == 0.2
    assert from_history(run, "gradients", None).value == 20


def test_a_run_of_a_file_is_named_by_twelve_digits_of_its_checkpoint(tmp_path):
    file = tmp_path / "all.jsonl"
    records_of(file, {"0123456789abcdef" * 4: 0})
    [run] = find_runs([file]).runs
    assert run.name == f"{file} (checkpoint 0123456789ab)"


@pytest.mark.parametrize("name", ["a.jsonl", "a.pt", "a"])
def test_a_path_that_does_not_exist_is_said(tmp_path, name):
    with pytest.raises(InputError, match=f"{name} does not exist; train it first"):
        find_runs([tmp_path / name])


def test_a_folder_without_runs_and_a_file_without_records_are_said(tmp_path):
    with pytest.raises(InputError, match="holds no run; train one there first"):
        find_runs([tmp_path])
    (tmp_path / "none.jsonl").write_text("")
    with pytest.raises(InputError, match="there is nothing to compare"):
        find_runs([tmp_path / "none.jsonl"])
