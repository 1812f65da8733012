"""The verdict of a correlation study on orders whose τ is known, and what its forms make of it."""

import csv
import io
import math

import pytest
from records_made import run

from landscape.comparison.predictors import predictors
from landscape.comparison.rank_correlation import rank_correlation
from landscape.errors import InputError

NEARLY = [1, 0, *range(2, 12)]  # one of 66 pairs reversed
MIXED = [5, 0, 11, 3, 8, 1, 10, 2, 7, 4, 9, 6]
ORDERS = {
    "same": range(12),
    "reverse": range(11, -1, -1),
    "higher": NEARLY,
    "lower": [-k for k in NEARLY],
    "mixed": MIXED,
    "constant": [1] * 12,
}


def study(orders=ORDERS, count=12, same_recipe=False):
    """The test loss of run k is k; a recipe differs in its learning rate, or in its seed alone."""
    about = [{"seed": k} if same_recipe else {"lr": k} for k in range(count)]
    measured = [
        run(float(values[k]), measure=name, **about[k])
        for name, values in orders.items()
        for k in range(count)
    ]
    outcomes = [run(float(k), measure="loss", split="test", **about[k]) for k in range(count)]
    return predictors(measured, "test-loss", outcomes)


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("same", "the same order in every pair"),
        ("reverse", "the reverse order in every pair"),
        ("higher", "higher where the target is higher"),
        ("lower", "lower where the target is higher"),
        ("mixed", "no order distinguishable from chance"),
        ("constant", "constant or not finite: no order"),
    ],
)
def test_the_verdict_follows_from_the_interval(name, verdict):
    [predictor] = study({name: ORDERS[name]}).predictors
    assert predictor.verdict == verdict
    tau = rank_correlation(ORDERS[name], range(12))
    assert predictor.overall.n == tau.n == 12
    assert [predictor.overall.tau, predictor.overall.low] == pytest.approx([tau.tau, tau.low], nan_ok=True)


def test_a_verdict_needs_eight_runs():
    assert study({"higher": NEARLY}, 7).predictors[0].verdict == "7 runs are too few, take 8 or more"
    assert study({"same": range(12)}, 8).predictors[0].verdict == "the same order in every pair"


def test_only_an_interval_without_zero_is_bold_and_a_missing_one_is_a_dash():
    lines = {line.partition(" & ")[0]: line for line in study().latex().splitlines()}
    assert (
        lines["higher"]
        == r"higher & 12 & $\mathbf{0.97}$ & $[0.93, 0.99]$ & $\mathbf{0.97}$ & $[0.86, 1.00]$ \\"
    )
    assert (
        lines["lower"]
        == r"lower & 12 & $\mathbf{-0.97}$ & $[-0.99, -0.93]$ & $\mathbf{-0.97}$ & $[-1.00, -0.86]$ \\"
    )
    assert [name for name, line in lines.items() if "mathbf" in line] == ["higher", "lower"]
    rows = {line.split()[0]: line.split() for line in study().text().splitlines()[:7]}
    assert rows["same"] == ["same", "12", "1.00", "–", "1.00", "–"]
    assert rows["constant"] == ["constant", "12", "–", "–", "–", "–"]


def test_runs_that_differ_in_more_than_their_seed_are_taken_as_independent():
    assert "independent" not in study().text()
    assert (study().runs, study().recipes) == (12, 12)
    repeated = study(same_recipe=True)
    assert "the 12 runs are of 1 recipes" in " ".join(repeated.text().split())
    assert repeated.recipes == 1


def test_the_notes_say_the_range_of_the_target_and_how_many_intervals_exclude_zero_by_chance():
    words = " ".join(study().text().split())
    assert "against test-loss (loss on test, 0 to 11) over 12 runs; 95 % intervals, Fisher's scale" in words
    assert "of 6 intervals, about 0.3 exclude 0 by chance alone" in words
    assert "higher: higher where the target is higher (ψ by lr 0.97)" in words


def test_csv_and_json_are_unrounded():
    rows = {row["measure"]: row for row in csv.DictReader(io.StringIO(study().csv()))}
    assert float(rows["higher"]["tau"]) == pytest.approx(64 / 66, rel=1e-12)
    assert rows["higher"]["target"] == "test-loss"
    fields = {row["measure"]: row for row in study().as_dict()["predictors"]}
    assert fields["higher"]["granulated"] == {"lr": pytest.approx(64 / 66)}
    assert fields["constant"]["psi"] == "NaN"
    assert study().as_dict()["interval"] == {"level": 0.95, "method": "t"}


def test_psi_is_the_mean_over_the_fields_that_have_a_coefficient():
    """Two learning rates by two widths: the first orders the runs as the loss does, the second against it."""
    places = [(lr, model) for lr in (1, 2) for model in ("a", "b")]
    measured = [run(10.0 * lr + (model == "a"), lr=lr, model=model) for lr, model in places]
    outcomes = [
        run(10.0 * lr + (model == "b"), lr=lr, model=model, measure="loss", split="test")
        for lr, model in places
    ]
    [predictor] = predictors(measured, "test-loss", outcomes).predictors
    assert predictor.within.by_field == {"lr": 1.0, "model": -1.0}
    assert predictor.within.psi.tau == 0.0


def test_outcomes_on_unlike_data_are_refused_split_by_split():
    about = [{"lr": k, "num_examples": 100 + (k == 2)} for k in range(3)]
    measured = [run(float(k), lr=k) for k in range(3)]
    outcomes = [run(float(k), measure="loss", split="test", **about[k]) for k in range(3)]
    with pytest.raises(InputError, match=r"differ in num_examples \(100 and 101\)"):
        predictors(measured, "test-loss", outcomes)
    # The two splits of a gap may have as many examples as they like.
    parts = [
        run(float(k), measure="loss", split=split, lr=k, num_examples=n)
        for k in range(3)
        for split, n in (("train", 200), ("test", 100))
    ]
    assert predictors(measured, "loss-gap", parts).runs == 3


def test_a_run_whose_outcome_is_missing_on_a_split_or_not_finite_is_left_out():
    measured = [run(float(k), lr=k) for k in range(5)]
    outcomes = [run(1.0, measure="loss", lr=k) for k in range(5)]
    values = [2.0, 3.0, 4.0, math.inf]
    outcomes += [run(v, measure="loss", split="test", lr=k) for k, v in enumerate(values)]
    study = predictors(measured, "loss-gap", outcomes)
    assert (study.runs, study.spread) == (3, (1.0, 3.0))
    assert study.predictors[0].overall.n == 3
