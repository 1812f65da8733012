"""Columns of several splits: which are measured, what is derived, and that records agree within each split only."""

import pytest
from records_made import estimate, provenance, recipe, run

from landscape.comparison import compare
from landscape.comparison.predictors import predictors
from landscape.comparison.request import DEFAULT, Column, columns, derived, measured, of_columns
from landscape.comparison.selection import Conditions, recorded_for_all, select
from landscape.errors import InputError, UsageError


def test_a_measure_is_on_its_own_split_or_on_those_that_are_the_default():
    texts = ("test:accuracy", "surrogate-gap:rho=0.1", "sam-share", "generalization-gap", "test:accuracy")
    assert columns(texts, ["train"]) == (
        Column("accuracy", "test"),
        Column("surrogate-gap:rho=0.1", "train"),
        Column("sam-share", None),
        Column("generalization-gap", None),
    )
    assert columns(["loss"], ["train", "test"]) == (Column("loss", "train"), Column("loss", "test"))
    for name in ("generalization-gap", "sam-share"):
        with pytest.raises(UsageError, match=f"{name} does not belong to one split; leave out the 'train:'"):
            columns([f"train:{name}"], ["train"])


def test_what_a_difference_of_splits_needs_is_measured_once():
    assert measured(columns(DEFAULT, ["train"]))["test"] == ("accuracy",)
    assert "accuracy" in measured(columns(DEFAULT, ["train"]))["train"]
    assert measured(columns(["loss-gap", "test:loss"], ["train"])) == {"train": ("loss",), "test": ("loss",)}
    assert measured(columns(["sam-share"], ["train"])) == {}


def both(seed, train=0.9, test=0.8, **fields):
    return [
        run(value, seed=seed, measure="accuracy", split=part, num_examples=size, **fields)
        for part, value, size in (("train", train, 200), ("test", test, 50))
    ]


def test_the_gap_is_train_minus_test_of_the_runs_that_have_both():
    records = [*both(0), *both(1, 1.0, 0.5), *both(2)[:1]]
    gaps = derived("generalization-gap", records)
    assert [gap.value for gap in gaps] == pytest.approx([0.1, 0.5])
    assert {gap.provenance.split for gap in gaps} == {None}
    table = compare([*records[:4], *gaps])
    assert table.columns == ("train:accuracy", "test:accuracy", "generalization-gap")
    assert table.cells["sgd", "generalization-gap"].seeds == (0, 1)
    kept = of_columns([*records, *gaps], columns(["generalization-gap", "test:accuracy"], ["train"]))
    assert [(r.measure, r.provenance.split) for r in kept] == [("generalization-gap", None)] * 2 + [
        ("accuracy", "test")
    ] * 2


def test_one_split_needs_no_word_in_front_and_the_data_are_named_by_split():
    table = compare([r for seed in (0, 1) for r in both(seed)])
    assert table.measured_on == "digits train, 200 examples; test, 50 examples"
    alone = compare([both(seed)[1] for seed in (0, 1)])
    assert (alone.columns, alone.measured_on) == (("accuracy",), "digits test, 50 examples")


@pytest.mark.parametrize(
    ("field", "value"), [("num_examples", 40), ("subset", "x"), ("dtype", "float64"), ("data", "moons")]
)
def test_records_agree_within_a_split_and_in_what_is_of_both(field, value):
    def records(changes):
        origins = [
            provenance(
                split=part,
                checkpoint=str(seed) * 64,
                recipe=recipe(seed=seed),
                **{
                    "num_examples": 200 if part == "train" else 50,
                    "subset": part,
                    **(changes if part == "test" else {}),
                },
            )
            for part in ("train", "test")
            for seed in (0, 1)
        ]
        return [estimate(1.0, measure="loss", origin=origin) for origin in origins]

    compare(records({}))
    other = [*records({})[:3], records({field: value})[3]]  # one run on test
    with pytest.raises(InputError, match=f"differ in {field}"):
        compare(other)
    with pytest.raises(InputError, match=f"differ in {field}"):
        predictors(other, "test-accuracy", [])
    if field in ("dtype", "data"):  # all runs on test
        with pytest.raises(InputError, match=f"differ in {field}"):
            compare(records({field: value}))


def test_pairs_are_of_one_split():
    rows = [*both(0), *both(1), *both(0, 0.7, 0.6, optimizer="sam"), *both(1, 0.8, 0.5, optimizer="sam")]
    table = compare(rows)
    values = {column: d.values for column, row, d in table.differences() if row == "sam"}
    assert values["train:accuracy"] == pytest.approx((-0.2, -0.1))
    assert values["test:accuracy"] == pytest.approx((-0.2, -0.3))


def test_a_limit_above_the_size_of_the_data_fits_their_records_and_no_others():
    import torch

    from landscape.data.subset import subset

    class Fifty:
        def __len__(self):
            return 50

    digest = subset(Fifty(), None)[1]
    everything = provenance(num_examples=50, subset=digest)
    assert Conditions(limit=5000).fit(everything)
    assert Conditions(limit=50).fit(everything)
    assert not Conditions(limit=49).fit(everything)
    assert not Conditions(limit=5000).fit(provenance(num_examples=50, subset=subset(torch.zeros(60), 50)[1]))


def test_what_every_run_has_is_added_with_its_settings(tmp_path):
    from landscape.comparison.runs import find_runs
    from landscape.records.json_lines import append

    for seed in (0, 1):
        origin = provenance(checkpoint=str(seed) * 64, recipe=recipe(seed=seed), batch_size=128)
        for measure, settings in (("loss", {}), ("spectral-density", {"probes": 2, "method": None})):
            append(tmp_path / "all.jsonl", estimate(1.0, measure=measure, settings=settings, origin=origin))
        if seed:
            append(tmp_path / "all.jsonl", estimate(1.0, measure="accuracy", origin=origin))
    runs = find_runs([tmp_path / "all.jsonl"]).runs
    recorded = recorded_for_all(runs, Conditions("train"))
    assert [str(each) for each in recorded] == ["loss", "spectral-density:probes=2,method=None"]
    assert recorded_for_all(runs, Conditions("test")) == []
    selection = select(runs, [str(each) for each in recorded], Conditions("train"))
    assert (len(selection.records), selection.missing) == (4, ())
