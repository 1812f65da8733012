"""Which measure predicts a quantity such as the generalisation gap, over a set of runs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from landscape.comparison.alike import REPEATED, belongs_to, differing, refuse_unlike, setting_labels
from landscape.comparison.intervals import Method
from landscape.comparison.rank_correlation import FEWEST, RankCorrelation, rank_correlation
from landscape.errors import InputError
from landscape.records.estimate import Estimate


@dataclass(frozen=True)
class Target:
    """What is to be predicted: the difference of a measure on two splits, or a measure on one.

    Attributes:
        measure: Of the records.
        splits: ``a − b``; one alone for the value itself.
        summary: In a few words.
    """

    measure: str
    splits: tuple[str, ...]
    summary: str


TARGETS: Mapping[str, Target] = {
    "generalization-gap": Target("accuracy", ("train", "test"), "accuracy on train − accuracy on test"),
    "loss-gap": Target("loss", ("test", "train"), "loss on test − loss on train"),
    "test-accuracy": Target("accuracy", ("test",), "accuracy on test"),
    "test-loss": Target("loss", ("test",), "loss on test"),
}
"""By the names of ``--against``."""


@dataclass(frozen=True)
class Predictor:
    """How well a measure orders the runs as the target does.

    Attributes:
        name: Of the measure, with settings where they tell.
        overall: Over all runs.
        granulated: By recipe field: τ over runs that differ in this field alone, averaged; it cannot be had by a
            third quantity that both follow, as the overall one can.
        runs: How many were measured.
    """

    name: str
    overall: RankCorrelation
    granulated: Mapping[str, float]
    runs: int

    @property
    def psi(self) -> float:
        """The mean of the granulated ones; NaN if there is none."""
        found = [tau for tau in self.granulated.values() if math.isfinite(tau)]
        return sum(found) / len(found) if found else math.nan


@dataclass(frozen=True)
class Study:
    """Predictors of one target.

    Attributes:
        target: Its name.
        predictors: In order of how strong their correlation is.
        runs: How many runs there are.
        recipes: How many of them differ in more than the seed.
        spread: Of the target: lowest and highest value.
        method: Of the intervals.
    """

    target: str
    predictors: tuple[Predictor, ...]
    runs: int
    recipes: int
    spread: tuple[float, float]
    method: Method


def predictors(
    measured: Sequence[Estimate],
    against: str,
    outcomes: Sequence[Estimate],
    *,
    method: Method = "t",
) -> Study:
    """Kendall's τ of every measure against a target, over runs.

    Args:
        measured: The measures, one a run and quantity, all on the same data; parts of the target are left out.
        against: One of :data:`TARGETS`.
        outcomes: Records from which the target is made, on the splits that it needs.
        method: Of the intervals, see :func:`rank_correlation`.

    Raises:
        InputError: There are fewer than three runs with a target, or records that may not be set side by side.

    Reference:
        Jiang et al. 2020, Fantastic generalization measures and where to find them, arXiv 1912.02178 (§ 2.2).
    """
    target = TARGETS[against]
    # A part of the target would predict it for the wrong reason.
    own = [r for r in measured if r.measure == target.measure and r.provenance.split in target.splits]
    measured = [r for r in measured if r not in own]
    refuse_unlike(measured)
    for split in target.splits:
        refuse_unlike([r for r in outcomes if r.provenance.split == split])
    values = _targets(outcomes, target)
    if len(values) < 3:
        raise InputError(
            f"{against} is known of {len(values)} runs; an order needs 3 at least, and {FEWEST} for an interval"
        )
    labels = setting_labels(measured)
    found = []
    for label in dict.fromkeys(labels):
        held = {
            belongs_to(record): record
            for record, name in zip(measured, labels, strict=True)
            if name == label and belongs_to(record) in values
        }
        x = [record.value for record in held.values()]
        y = [values[checkpoint] for checkpoint in held]
        recipes = [dict(record.provenance.recipe or {}) for record in held.values()]
        overall = rank_correlation(x, y, method=method)
        found.append(Predictor(label, overall, _granulated(x, y, recipes), len(held)))
    recipes_of = {belongs_to(r): _fixed(r.provenance.recipe or {}) for r in measured}
    return Study(
        target=against,
        predictors=tuple(
            sorted(found, key=lambda p: -abs(p.overall.tau) if p.overall.tau == p.overall.tau else 1)
        ),
        runs=len(values),
        recipes=len({recipes_of[checkpoint] for checkpoint in values if checkpoint in recipes_of}),
        spread=(min(values.values()), max(values.values())),
        method=method,
    )


def _targets(records: Sequence[Estimate], target: Target) -> dict[str, float]:
    held: dict[str, dict[str | None, float]] = {}
    for record in records:
        if record.measure == target.measure:
            held.setdefault(belongs_to(record), {})[record.provenance.split] = record.value
    first, *second = target.splits
    return {
        checkpoint: of[first] - (of[second[0]] if second else 0.0)
        for checkpoint, of in held.items()
        if all(split in of and math.isfinite(of[split]) for split in target.splits)
    }


def _granulated(
    x: Sequence[float], y: Sequence[float], recipes: Sequence[Mapping[str, object]]
) -> dict[str, float]:
    """By field: the mean of τ over the groups of runs that differ in it alone."""
    found = {}
    fields = [name for name in differing(recipes) if name not in ("device", "base")]
    for name in fields:
        groups: dict[str, list[int]] = {}
        for k, recipe in enumerate(recipes):
            others = {key: value for key, value in recipe.items() if key in fields and key != name}
            groups.setdefault(str(sorted(others.items(), key=str)), []).append(k)
        taus = [
            rank_correlation([x[k] for k in group], [y[k] for k in group]).tau
            for group in groups.values()
            if len(group) > 1
        ]
        finite = [tau for tau in taus if math.isfinite(tau)]
        if finite:
            found[name] = sum(finite) / len(finite)
    return found


def _fixed(recipe: Mapping[str, object]) -> str:
    return str(sorted((key, str(value)) for key, value in recipe.items() if key not in REPEATED))
