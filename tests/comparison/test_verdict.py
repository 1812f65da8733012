"""The verdict of a paired difference: lower, higher, or undecided and why."""

import math

import numpy as np
import pytest
from records_made import run
from scipy import stats

from landscape.comparison import Cell, compare
from landscape.comparison.paired import paired_difference, verdict


def cell(*values, seeds=None, errors=(), converged=True):
    return Cell(values, errors, tuple(range(len(values))) if seeds is None else seeds, converged)


def said(ours, theirs, method="t"):
    return verdict(paired_difference(ours, theirs, method=method))


def test_the_difference_is_the_paired_t_test_of_scipy():
    rng = np.random.default_rng(0)
    level = rng.normal(size=6) * 10
    a, b = level + rng.normal(1.0, 0.3, 6), level
    found = paired_difference(cell(*a), cell(*b))
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.low, expected.high))
    assert verdict(found).kind == "higher"
    # Unpaired, the level of the seeds would hide it.
    assert stats.ttest_ind(a, b).pvalue > 0.5


def test_pairs_are_made_by_seed_whatever_the_order_and_only_of_common_ones():
    found = paired_difference(cell(3.0, 1.0, 9.0, seeds=(2, 0, 7)), cell(0.5, 0.25, 2.0, seeds=(0, 5, 2)))
    assert found.seeds == (2, 0)
    assert found.values == (1.0, 0.5)


def test_the_sampling_error_of_the_difference_adds_in_squares():
    found = paired_difference(cell(2.0, 3.0, errors=(0.3, None)), cell(1.0, 1.0, errors=(0.4, 1.2)))
    assert found.monte_carlo == pytest.approx(math.hypot(0.3, 0.4, 1.2) / 2)


@pytest.mark.parametrize(
    ("ours", "theirs", "kind", "words"),
    [
        (cell(1.0), cell(2.0), "too few", "one seed: no verdict"),
        (cell(1.0, 1.1), cell(2.0, 2.2), "too few", "2 seeds are too few, take 3 or more"),
        (cell(1.0, 1.1, 1.2), cell(2.0, 2.2, 2.5), "lower", "lower"),
        (cell(1.0, 2.0, 3.0), cell(2.0, 1.0, 3.5), "undecided", "indistinguishable; about"),
        (cell(1.0, 2.0, 3.0), cell(1.0, 2.0, 3.0), "equal", "no difference at any seed"),
        (cell(0.75, 0.75, 0.75), cell(0.5, 0.5, 0.5), "equal", "equal at all 3 seeds: no verdict"),
        (cell(1.0, math.nan, 1.0), cell(2.0, 2.0, 2.0), "undefined", "not finite in a run"),
        (cell(1.0, seeds=(1,)), cell(2.0, seeds=(2,)), "undefined", "no seed in common"),
        (
            cell(1.0, 1.1, 1.2, errors=(2.0, 2.0, 2.0)),
            cell(2.0, 2.2, 2.5, errors=(2.0, 2.0, 2.0)),
            "sampling",
            "within twice the sampling error 1.6",
        ),
    ],
)
def test_the_verdict(ours, theirs, kind, words):
    found = said(ours, theirs)
    assert found.kind == kind
    assert found.words.startswith(words)
    assert found.is_decided == (kind == "lower")


@pytest.mark.parametrize(
    ("ours", "theirs", "mark"),
    [
        (cell(1.0, 1.1, 1.2), cell(2.0, 2.2, 2.5), "↓"),
        (cell(2.0, 2.2, 2.5), cell(1.0, 1.1, 1.2), "↑"),
        (cell(1.0, 2.0, 3.0), cell(2.0, 1.0, 3.5), "≈"),
        (cell(1.0, 2.0, 3.0), cell(1.0, 2.0, 3.0), "="),
        (cell(0.75, 0.75, 0.75), cell(0.5, 0.5, 0.5), "?"),
        (cell(1.0, 1.1), cell(2.0, 2.2), "?"),
        (cell(1.0, math.nan, 1.0), cell(2.0, 2.0, 2.0), "?"),
    ],
)
def test_the_mark_of_a_verdict(ours, theirs, mark):
    assert said(ours, theirs).mark == mark


@pytest.mark.parametrize(("ours", "theirs"), [(True, False), (False, True), (False, False), (True, True)])
def test_a_difference_has_converged_where_both_rows_have(ours, theirs):
    difference = paired_difference(cell(1.0, 2.0, converged=ours), cell(3.0, 5.0, converged=theirs))
    assert difference.converged == (ours and theirs)


@pytest.mark.parametrize(("error", "kind"), [(0.999, "lower"), (1.001, "sampling")])
def test_a_difference_is_decided_only_beyond_twice_its_sampling_error(error, kind):
    """The mean difference is −2; three seeds, an error of ``e √(3/2)`` in each number make one of e in the mean."""
    each = (error * math.sqrt(1.5),) * 3
    assert said(cell(1.0, 2.0, 3.0, errors=each), cell(3.1, 3.9, 5.0, errors=each)).kind == kind


def test_the_seeds_that_an_undecided_difference_needs_are_said():
    """Of the differences 1, −1 and 3 the mean is a half of the spread: 34 seeds by Cohen's tables."""
    undecided = said(cell(1.0, -1.0, 3.0), cell(0.0, 0.0, 0.0))
    assert undecided.words == "indistinguishable; about 34 seeds needed"
    assert undecided.seeds_needed == 34
    near = said(cell(1.0, 2.0, 3.9), cell(0.0, 0.0, 0.0))
    assert (near.kind, near.words) == ("undecided", "indistinguishable; about 6 seeds needed")


def test_the_bootstrap_needs_more_seeds():
    ours, theirs = cell(*np.linspace(1, 1.1, 7)), cell(*np.linspace(2, 2.3, 7))
    assert said(ours, theirs).kind == "lower"
    assert said(ours, theirs, "bootstrap").words == "7 seeds are too few, take 8 or more"
    ours, theirs = cell(*np.linspace(1, 1.1, 8)), cell(*np.linspace(2, 2.3, 8))
    assert said(ours, theirs, "bootstrap").kind == "lower"


def two_rows(shift, *, measure="hessian-trace", **fields):
    rng = np.random.default_rng(3)
    return [
        run(
            10 + shift * (optimizer == "sam") + rng.normal() * 0.1,
            seed=s,
            optimizer=optimizer,
            measure=measure,
            **fields,
        )
        for optimizer in ("sgd", "sam")
        for s in range(4)
    ]


def test_bold_is_only_the_row_whose_interval_excludes_the_runner_up():
    clear = compare(two_rows(-3.0))
    assert clear.leads()[0].is_clear
    assert clear.latex().count(r"\mathbf{") == 1
    assert r"SAM & $\mathbf{6.9" in clear.latex()
    assert clear.markdown().count("**") == 2
    close = compare(two_rows(0.0))
    assert not close.leads()[0].is_clear
    assert r"\mathbf" not in close.latex()
    assert "**" not in close.markdown()


def test_accuracy_leads_from_above_and_a_measure_without_a_better_end_has_no_lead():
    assert compare(two_rows(-3.0, measure="accuracy")).leads()[0].row == "sgd"
    assert compare(two_rows(-3.0, measure="approximation-ratio")).leads() == []


def test_who_leads_is_decided_among_finite_means_of_which_there_are_two():
    def rows(**means):
        return compare([run(mean, optimizer=o, seed=s) for o, mean in means.items() for s in range(3)])

    [lead] = rows(sgd=3.0, sam=math.inf, asam=2.0, gsam=4.0).leads()
    assert (lead.row, lead.runner_up) == ("asam", "sgd")
    assert rows(sgd=3.0, sam=math.nan).leads() == []
    assert rows(sgd=3.0).leads() == []


def test_what_has_not_converged_is_never_bold():
    table = compare(two_rows(-3.0, converged=False))
    assert not table.leads()[0].is_clear
    assert r"\mathbf" not in table.latex()
    assert "but not all runs have converged" in table.text(verbose=True)


def test_rows_are_compared_with_the_plain_optimizer_or_the_one_that_is_named():
    records = [
        run(1.0 + s, seed=s, optimizer=o, base="sgd") for o in ("asam", "sgd", "sam") for s in range(3)
    ]
    assert compare(records).rows == ("sgd", "asam", "sam")
    assert compare(records).reference == "sgd"
    assert {row for _, row, _ in compare(records, baseline="sam").differences()} == {"sgd", "asam"}
