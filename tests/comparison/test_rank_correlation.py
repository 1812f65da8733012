"""Kendall's τ agrees with scipy and its interval covers; a correlation study claims no more than its data allow."""

import dataclasses
import json
import math

import numpy as np
import pytest
from records_made import run
from scipy import stats

from landscape.comparison.forms import FORMS, rendered
from landscape.comparison.predictors import predictors
from landscape.comparison.rank_correlation import rank_correlation
from landscape.errors import InputError


@pytest.mark.parametrize("levels", [3, 1000])
def test_tau_is_scipys_with_and_without_ties(levels):
    x, y = np.random.default_rng(levels).integers(levels, size=(2, 30)).astype(float)
    assert rank_correlation(x, y).tau == pytest.approx(stats.kendalltau(x, y).statistic, rel=1e-12)


@pytest.mark.parametrize("rho", [0.0, 0.7])
def test_the_interval_covers_tau_of_normal_pairs(rho):
    tau = 2 / math.pi * math.asin(rho)
    rng = np.random.default_rng(5)
    hits, times = 0, 400
    for _ in range(times):
        x, e = rng.normal(size=(2, 15))
        found = rank_correlation(list(x), list(rho * x + math.sqrt(1 - rho**2) * e))
        hits += found.low <= tau <= found.high
    assert abs(hits / times - 0.95) < 4 * math.sqrt(0.95 * 0.05 / times)


def test_the_interval_is_fishers_with_the_variance_of_fieller_and_others():
    """n = 12 and one of 66 pairs reversed: artanh τ ± 1.95996 √(0.437/8)."""
    order = [1, 0, *range(2, 12)]
    found = rank_correlation(order, range(12))
    assert found.tau == pytest.approx(64 / 66)
    half = 1.959963984540054 * math.sqrt(0.437 / 8)
    assert math.atanh(found.high) - math.atanh(found.tau) == pytest.approx(half, rel=1e-9)
    assert math.atanh(found.tau) - math.atanh(found.low) == pytest.approx(half, rel=1e-9)


def test_the_bootstrap_interval_is_near_the_other():
    x, e = np.random.default_rng(1).normal(size=(2, 60))
    one, other = rank_correlation(x, x + e), rank_correlation(x, x + e, method="bootstrap")
    assert (other.low, other.high) == pytest.approx((one.low, one.high), abs=0.06)


def test_the_bootstrap_interval_has_the_quantiles_of_scipys_tau_over_resampled_runs():
    x, y = np.random.default_rng(2).integers(5, size=(2, 9)).astype(float)
    found = rank_correlation(x, y, method="bootstrap", seed=7)
    rows = np.random.default_rng(7).integers(9, size=(2000, 9))
    taus = [stats.kendalltau(x[chosen], y[chosen]).statistic for chosen in rows]
    assert (found.low, found.high) == pytest.approx(tuple(np.nanquantile(taus, [0.025, 0.975])), rel=1e-12)


def test_eight_runs_have_an_interval_and_seven_have_none():
    assert math.isnan(rank_correlation(range(7), [1, 0, 2, 3, 4, 5, 6]).low)
    assert rank_correlation(range(8), [1, 0, 2, 3, 4, 5, 6, 7]).low < 1


def test_few_runs_perfect_orders_and_constants_have_no_interval():
    assert math.isnan(rank_correlation([1, 2, 3, 4], [1, 2, 4, 3]).low)
    perfect = rank_correlation(range(12), range(12))
    assert (perfect.tau, math.isnan(perfect.low)) == (1.0, True)
    assert math.isnan(rank_correlation([1.0] * 12, range(12)).tau)
    assert rank_correlation([*range(11), math.nan], range(12)).n == 11


def study_records(gap):
    """Runs of 2 optimizers × 2 learning rates × 3 seeds whose gap is a function of the trace."""
    measured, outcomes = [], []
    rng = np.random.default_rng(0)
    for o, optimizer in enumerate(("sgd", "sam")):
        for lr in (0.1, 0.2):
            for seed in range(3):
                trace = 10.0 + o + 3 * lr + 0.1 * seed
                about = {"seed": seed, "optimizer": optimizer, "lr": lr}
                measured += [run(trace, **about), run(float(rng.normal()), measure="noise", **about)]
                outcomes += [
                    run(1.0, measure="accuracy", **about),
                    run(1.0 - gap(trace), measure="accuracy", split="test", **about),
                ]
    return measured, outcomes


def test_a_measure_that_orders_the_runs_as_the_gap_does_is_first():
    measured, outcomes = study_records(lambda t: t / 100)
    study = predictors(measured, "generalization-gap", outcomes)
    best, noise = study.predictors
    assert (best.name, best.overall.tau, best.within.psi.tau) == ("hessian-trace", 1.0, 1.0)
    assert set(best.within.by_field) == {"optimizer", "lr"}
    assert (noise.name, abs(noise.overall.tau) < 0.5) == ("noise", True)
    assert (study.runs, study.recipes) == (12, 4)
    text = rendered(study)
    assert "of 4 recipes: runs that differ in their seed alone are not\n  independent" in text
    assert max(map(len, text.splitlines())) <= 80


def test_predictors_are_in_the_order_of_their_strength_and_what_is_constant_is_last():
    measured, outcomes = study_records(lambda t: -t / 100)
    constant = [dataclasses.replace(record, measure="constant", value=1.0) for record in measured[::2]]
    study = predictors([*constant, *measured[::-1]], "generalization-gap", outcomes)
    assert [p.name for p in study.predictors] == ["hessian-trace", "noise", "constant"]
    assert study.predictors[0].overall.tau == -1.0
    assert [p.overall.n for p in study.predictors] == [12, 12, 12]
    assert math.isnan(study.predictors[2].within.psi.tau)


def test_what_a_third_quantity_explains_shows_in_the_granulated_coefficient():
    # Between optimizers the gap falls with the trace, within each it rises.
    measured, outcomes = study_records(lambda t: (t - 10) / 100 if t < 11 else (t - 20) / 100)
    [trace] = [
        p for p in predictors(measured, "generalization-gap", outcomes).predictors if p.name != "noise"
    ]
    assert trace.overall.tau < 0.5
    assert (trace.within.by_field["lr"], trace.within.by_field["optimizer"]) == (1.0, -1.0)


@pytest.mark.parametrize("form", list(FORMS))
def test_every_form_says_the_same(form):
    measured, outcomes = study_records(lambda t: t % 0.7)
    study = predictors(measured, "generalization-gap", outcomes)
    text = rendered(study, form)
    assert "hessian-trace" in text
    assert f"{study.predictors[-1].overall.n}" in text
    if form == "json":
        assert json.loads(text)["runs"] == 12
    if form == "latex":
        assert text.count(r"\\") == 1 + len(study.predictors) + text.count(r"\\%")


def test_the_parts_of_the_target_do_not_predict_it_and_two_runs_are_too_few():
    measured, outcomes = study_records(lambda t: t / 100)
    names = {
        p.name for p in predictors([*measured, *outcomes[::2]], "generalization-gap", outcomes).predictors
    }
    assert names == {"hessian-trace", "noise"}
    with pytest.raises(InputError, match="known of 2 runs; an order needs at least 3"):
        predictors(measured, "generalization-gap", outcomes[:4])
    assert predictors(measured, "generalization-gap", outcomes[:6]).runs == 3


def test_the_target_is_the_difference_of_its_splits_or_the_value_of_one():
    measured, outcomes = study_records(lambda t: t / 100)
    assert predictors(measured, "generalization-gap", outcomes).spread == pytest.approx((0.103, 0.118))
    assert predictors(measured, "test-accuracy", outcomes).spread == pytest.approx((0.882, 0.897))
