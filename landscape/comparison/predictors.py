"""Which measure predicts a quantity such as the generalisation gap, over a set of runs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from landscape.comparison.alike import (
    REPEATED,
    belongs_to,
    column_labels,
    differing,
    refuse_unlike,
    refuse_unlike_in_a_split,
)
from landscape.comparison.granulated import Granulated, granulated
from landscape.comparison.intervals import Method
from landscape.comparison.rank_correlation import FEWEST, RankCorrelation, rank_correlation
from landscape.errors import InputError
from landscape.records.estimate import Estimate
from landscape.records.json_lines import plain
from landscape.registry.venues import venue as page_of
from landscape.tables import WIDTH, Content, Grid, Number, folded
from landscape.tables.latex import breakable
from landscape.tables.typesetting import signed


@dataclass(frozen=True)
class Target:
    """The quantity to be predicted: a measure on split a minus the same on split b, or a measure on one split."""

    measure: str
    splits: tuple[str, ...]
    summary: str


TARGETS: Mapping[str, Target] = {
    "generalization-gap": Target("accuracy", ("train", "test"), "accuracy on train − accuracy on test"),
    "loss-gap": Target("loss", ("test", "train"), "loss on test − loss on train"),
    "test-accuracy": Target("accuracy", ("test",), "accuracy on test"),
    "test-loss": Target("loss", ("test",), "loss on test"),
}
"""Targets by the names of ``--against``."""


@dataclass(frozen=True)
class Predictor:
    """How well a measure orders the runs as the target does.

    Attributes:
        name: The measure, with the settings in which its records differ.
        overall: Correlation over all runs, which a third quantity that both follow can explain.
        within: τ over runs that differ in one field of the recipe alone.
    """

    name: str
    overall: RankCorrelation
    within: Granulated

    @property
    def verdict(self) -> str:
        """What the correlation says, in words."""
        tau, low, high, n = self.overall.tau, self.overall.low, self.overall.high, self.overall.n
        if math.isnan(tau):
            return "constant or not finite: no order"
        if n < FEWEST:
            return f"{n} runs are too few, take {FEWEST} or more"
        if math.isnan(low):
            return "the same order in every pair" if tau > 0 else "the reverse order in every pair"
        if low > 0:
            return "higher where the target is higher"
        return "lower where the target is higher" if high < 0 else "no order distinguishable from chance"


@dataclass(frozen=True)
class Study:
    """Predictors of one target, and how they are rendered.

    Attributes:
        target: Name of the target.
        predictors: The predictors, strongest correlation first.
        runs: Number of runs.
        recipes: Number of recipes, that is, without repetitions with another seed.
        spread: Lowest and highest value of the target.
        method: How intervals are computed.
    """

    target: str
    predictors: tuple[Predictor, ...]
    runs: int
    recipes: int
    spread: tuple[float, float]
    method: Method

    def text(self) -> str:
        """The table and its notes for a terminal of 80 columns."""
        verdicts = []
        for p in self.predictors:
            by_field = ", ".join(f"{name} {_number(tau)}" for name, tau in p.within.by_field.items())
            verdicts.append(f"{p.name}: {p.verdict}{f' (ψ by {by_field})' if by_field else ''}")
        return "\n\n".join([self._grid().text(), folded(self._notes(), WIDTH), folded(verdicts, WIDTH)])

    def markdown(self) -> str:
        """A pipe table and the notes."""
        grid = self._grid(self._notes())
        rows = [[*map(str, row), p.verdict] for row, p in zip(grid.rows, self.predictors, strict=True)]
        return Grid([*grid.head, "verdict"], rows, grid.notes).markdown()

    def latex(self, *, venue: str = "neurips") -> str:
        """A float that fits the page of a venue in :data:`VENUES`, with a ``booktabs`` tabular and the notes."""
        about, *notes = self._notes()
        page = page_of(venue)
        return self._grid(notes).latex(breakable(f"{about}."), column=page.column, text=page.text)

    def csv(self) -> str:
        """One line per measure, unrounded."""
        rows: list[list[Content]] = [
            [
                p.name,
                self.target,
                p.overall.n,
                p.overall.tau,
                p.overall.low,
                p.overall.high,
                *_ends(p.within.psi),
            ]
            for p in self.predictors
        ]
        return Grid(
            ["measure", "target", "n", "tau", "low", "high", "psi", "psi_low", "psi_high"], rows
        ).csv()

    def as_dict(self) -> dict[str, object]:
        """Everything in JSON's types."""
        rows = []
        for p in self.predictors:
            tau = {"n": p.overall.n, "tau": p.overall.tau, "low": p.overall.low, "high": p.overall.high}
            psi, low, high = _ends(p.within.psi)
            fields = {"granulated": p.within.by_field, "psi": psi, "psi_low": low, "psi_high": high}
            rows.append(plain({"measure": p.name, **tau, **fields, "verdict": p.verdict}))
        interval = {"level": 0.95, "method": self.method}
        known = {"target": self.target, "runs": self.runs, "recipes": self.recipes, "interval": interval}
        return {**known, "predictors": rows, "notes": self._notes()}

    def _grid(self, notes: Sequence[str] = ()) -> Grid:
        rows: list[list[str | Number]] = []
        for p in self.predictors:
            o = p.overall
            tau = Number(_number(o.tau), bold=o.low > 0 or o.high < 0)
            psi = p.within.psi
            within = Number(_number(psi.tau), bold=psi.low > 0 or psi.high < 0)
            rows.append([p.name, str(o.n), tau, Number(_interval(o)), within, Number(_interval(psi))])
        head = ["measure", "n", "τ", "95 % interval", "ψ", "interval"]
        latex = ["measure", "$n$", r"$\tau$", r"95\,\% interval", r"$\Psi$", "interval"]
        return Grid(head, rows, notes, latex)

    def _notes(self) -> list[str]:
        """What the numbers are, and what limits them."""
        low, high = self.spread
        kind = {"t": "Fisher's scale", "bootstrap": "bootstrap"}[self.method]
        notes = [
            f"τ: Kendall's τ-b against {self.target} ({TARGETS[self.target].summary}, {signed(low)} to "
            f"{signed(high)}) over {self.runs} runs; 95 % intervals, {kind}",
            "ψ: mean over the fields of the recipe of τ over runs that differ in this field alone (Jiang et al. 2020); "
            "its interval over resampled runs",
        ]
        if self.recipes < self.runs:
            notes.append(
                f"the {self.runs} runs are of {self.recipes} recipes: runs that differ in their seed alone are not "
                "independent, and the intervals are narrower than they should be"
            )
        count = len(self.predictors)
        chance = f"of {count} intervals, about {0.05 * count:.1f} exclude 0 by chance alone"
        return [*notes, f"{chance}; in LaTeX and Markdown, τ and ψ are bold where theirs do"]


def predictors(
    measured: Sequence[Estimate], against: str, outcomes: Sequence[Estimate], *, method: Method = "t"
) -> Study:
    """Kendall's τ of every measure against a target, over runs.

    Args:
        measured: Records of the measures, those of a split all on the same data. Parts of the target are left out.
        against: One of :data:`TARGETS`.
        outcomes: Records from which the target is computed, on the splits that it needs.
        method: How intervals are computed; see :func:`rank_correlation`.

    Raises:
        InputError: The target is known of fewer than three runs, or records cannot be compared.

    Reference:
        Jiang et al. 2020, Fantastic generalization measures and where to find them, arXiv 1912.02178 (§ 2.2).
    """
    target = TARGETS[against]
    # A part of the target would predict it for the wrong reason.
    parts = [r for r in measured if r.measure == target.measure and r.provenance.split in target.splits]
    measured = [r for r in measured if r not in parts]
    refuse_unlike_in_a_split(measured)
    for split in target.splits:
        refuse_unlike(r for r in outcomes if r.provenance.split == split)
    values = _targets(outcomes, target)
    if len(values) < 3:
        raise InputError(
            f"{against} is known of {len(values)} runs; an order needs at least 3, and {FEWEST} for an interval"
        )
    by_label: dict[str, dict[str, Estimate]] = {}
    for record, label in zip(measured, column_labels(measured), strict=True):
        runs = by_label.setdefault(label, {})
        if belongs_to(record) in values:
            runs[belongs_to(record)] = record
    rows = []
    for label, runs in by_label.items():
        x, y = [record.value for record in runs.values()], [values[run] for run in runs]
        recipes = [dict(record.provenance.recipe or {}) for record in runs.values()]
        overall = rank_correlation(x, y, method=method)
        rows.append(Predictor(label, overall, granulated(x, y, _counted(recipes))))
    recipe_of = {
        belongs_to(r): str(
            sorted((k, str(v)) for k, v in (r.provenance.recipe or {}).items() if k not in REPEATED)
        )
        for r in measured
    }
    return Study(
        target=against,
        # Predictors without a τ come last.
        predictors=tuple(sorted(rows, key=lambda p: 1 if math.isnan(p.overall.tau) else -abs(p.overall.tau))),
        runs=len(values),
        recipes=len({recipe_of[run] for run in values if run in recipe_of}),
        spread=(min(values.values()), max(values.values())),
        method=method,
    )


def _targets(records: Sequence[Estimate], target: Target) -> dict[str, float]:
    """The target by run, for runs that have it on all splits."""
    by_run: dict[str, dict[str | None, float]] = {}
    for record in records:
        if record.measure == target.measure:
            by_run.setdefault(belongs_to(record), {})[record.provenance.split] = record.value
    first, *second = target.splits
    return {
        run: values[first] - (values[second[0]] if second else 0.0)
        for run, values in by_run.items()
        if all(split in values and math.isfinite(values[split]) for split in target.splits)
    }


def _counted(recipes: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """The fields in which runs differ, without the seed, what follows from another field and what changes rounding."""
    names = [name for name in differing(recipes) if name not in (*REPEATED, "base")]
    return [{name: recipe.get(name) for name in names} for recipe in recipes]


def _ends(found: RankCorrelation) -> tuple[float, float, float]:
    return found.tau, found.low, found.high


def _interval(found: RankCorrelation) -> str:
    return "–" if math.isnan(found.low) else f"[{_number(found.low)}, {_number(found.high)}]"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}".replace("-", "−")
