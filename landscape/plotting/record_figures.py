"""Figures of runs and their records: curves over training, dots, spectra and Q–Q plots."""

from collections.abc import Mapping, Sequence
from typing import cast

from landscape.comparison import Cell, Table, belongs_to, compare, refuse_unlike, setting_labels
from landscape.errors import InputError, UsageError
from landscape.plotting.dots import dot_panels
from landscape.plotting.history import history_panels
from landscape.plotting.page import legend_above, page, settle
from landscape.plotting.quantiles import quantile_plot
from landscape.plotting.record_caption import history_caption, record_caption
from landscape.plotting.run_curves import OVER, curves, quantities
from landscape.plotting.series import Series
from landscape.plotting.sources import Run
from landscape.plotting.spectrum import spectrum
from landscape.plotting.style import paper
from landscape.plotting.wish import Drawing, Wish
from landscape.records.estimate import Estimate

_MOST_PANELS = 4
# Their value is the mean of something that has a figure of its own.
_NOT_DOTS = ("spectral-density",)


def draw_history(runs: Sequence[Run], wish: Wish) -> Drawing:
    """Curves over training: loss and accuracy, or what was asked for.

    Raises:
        UsageError: No run has a quantity that was asked for, or nothing over training at all.
    """
    known = quantities(runs)
    if not known:
        raise UsageError("the files hold nothing over training; draw them with --kind dots")
    usual = [name for name in ("loss", "accuracy") if name in known]
    chosen = list(wish.measures) or usual or known[:_MOST_PANELS]
    drawn = dict(curves(runs, name, over=wish.over) for name in chosen)
    figure = history_panels(drawn, xlabel=OVER[wish.over], venue=wish.venue, width=wish.width_for(len(drawn)))
    return Drawing(figure, history_caption(runs, drawn=_sentence(drawn), command=wish.command))


def draw_dots(runs: Sequence[Run], wish: Wish) -> Drawing:
    """Optimizers side by side, a panel a measure."""
    found = [r for r in _records(runs, wish) if r.measure not in _NOT_DOTS or r.measure in wish.measures]
    if not found:
        raise InputError("there are no numbers to compare; draw these records with --kind spectrum")
    table, units = _table(runs, found)
    figure = dot_panels(table, units, venue=wish.venue, width=wish.width_for(len(table.columns)))
    drawn = f"{_sentence(table.columns)}: a dot a run, a bar at the mean"
    return Drawing(figure, record_caption(found, drawn=drawn, command=wish.command))


def draw_spectrum(runs: Sequence[Run], wish: Wish) -> Drawing:
    """Spectral densities of all records on one pair of axes."""
    found = _only(runs, wish, "spectral-density")
    looks = Series(name for name, _ in found)
    with paper():
        figure, (ax,) = page(1, venue=wish.venue, width=wish.width or "column", shape=0.62)
        for name, estimate in found:
            details = estimate.details
            spectrum(
                details["grid"],  # type: ignore[arg-type]
                details["density"],  # type: ignore[arg-type]
                details.get("density_error"),  # type: ignore[arg-type]
                ax=ax,
                colour=looks.colour(name),
                unit=estimate.unit,
            )
        legend_above(figure, looks.lines() if len(found) > 1 else [])
        settle(figure)
    drawn = (
        "Density of the Hessian eigenvalues by stochastic Lanczos quadrature, bands of two standard errors"
    )
    return Drawing(figure, record_caption([e for _, e in found], drawn=drawn, command=wish.command))


def draw_quantiles(runs: Sequence[Run], wish: Wish) -> Drawing:
    """Q–Q plots of stochastic gradient norms of all records on one pair of axes."""
    found = [
        (name, e, e.details["qq"]) for name, e in _only(runs, wish, "gradient-noise") if "qq" in e.details
    ]
    if not found:
        raise InputError(
            "the gradient norms are all equal or of one batch: there is nothing to plot; use smaller batches"
        )
    looks = Series(name for name, _, _ in found)
    with paper():
        figure, (ax,) = page(1, venue=wish.venue, width=wish.width or "column", shape=0.72)
        for name, estimate, points in found:
            held = cast(Mapping[str, Sequence[float]], points)
            quantile_plot(
                held["theoretical"],
                held["ordered"],
                ax=ax,
                colour=looks.colour(name),
                marker=looks.marker(name),
                quantity=f"‖∇L(B)‖² ({estimate.unit})",
            )
        legend_above(figure, looks.dots() if len(found) > 1 else [])
        settle(figure)
    tests = [f"{name} {e.details['normality_p']:.2g}" for name, e, _ in found if "normality_p" in e.details]
    drawn = "Q–Q plot of the squared gradient norms of batches against the normal distribution"
    text = record_caption([e for _, e, _ in found], drawn=drawn, command=wish.command)
    p_values = f" p of D'Agostino and Pearson's test: {', '.join(tests)}." if tests else ""
    return Drawing(figure, text + p_values)


def _records(runs: Sequence[Run], wish: Wish) -> list[Estimate]:
    every = [record for run in runs for record in run.records]
    splits = list(dict.fromkeys(record.provenance.split for record in every))
    split = wish.split or (splits[0] if len(splits) == 1 else "test")
    chosen = [record for record in every if record.provenance.split == split]
    names = {record.measure for record in chosen}
    absent = [name for name in wish.measures if name not in names]
    if not chosen or absent:
        what = f"no record of {absent[0]}" if absent else f"no record of the {split} split"
        there = ", ".join(sorted(names)) or ", ".join(map(str, splits)) or "none"
        raise InputError(f"{what} was found, only of {there}; measure it first: landscape measure RUN")
    return [record for record in chosen if not wish.measures or record.measure in wish.measures]


def _only(runs: Sequence[Run], wish: Wish, measure: str) -> list[tuple[str, Estimate]]:
    """The records of one measure, each with what its run is called."""
    held = _names(runs)
    asked = Wish(split=wish.split, measures=(measure,))
    found = [(held[id(record)], record) for record in _records(runs, asked)]
    counted = [name for name, _ in found]
    return [
        (f"{name} ({counted[: index + 1].count(name)})" if counted.count(name) > 1 else name, record)
        for index, (name, record) in enumerate(found)
    ]


def _names(runs: Sequence[Run]) -> dict[int, str]:
    """What each record is of: its run; where a file holds several, its optimizer or its checkpoint."""
    names = {}
    for run in runs:
        several = len({belongs_to(record) for record in run.records}) > 1
        for record in run.records:
            origin = record.provenance
            which = origin.checkpoint_file or (origin.checkpoint or "")[:12]
            own = (origin.recipe or {}).get("optimizer", f"{run.label} {which}".strip())
            names[id(record)] = str(own) if several else run.label
    return names


def _table(runs: Sequence[Run], found: Sequence[Estimate]) -> tuple[Table, dict[str, str]]:
    """The comparison, and the units of its columns; networks without a recipe are rows by their folder."""
    labels = setting_labels(found)
    units = {label: record.unit for label, record in zip(labels, found, strict=True)}
    if all("optimizer" in (record.provenance.recipe or {}) for record in found):
        return compare(found), units
    refuse_unlike(found)
    names = _names(runs)
    cells: dict[tuple[str, str], list[Estimate]] = {}
    for record, label in zip(found, labels, strict=True):
        cells.setdefault((names[id(record)], label), []).append(record)
    return Table(
        rows=tuple(dict.fromkeys(row for row, _ in cells)),
        columns=tuple(dict.fromkeys(labels)),
        cells={
            place: Cell(tuple(e.value for e in held), converged=all(e.converged is not False for e in held))
            for place, held in cells.items()
        },
        heading="run",
    ), units


def _sentence(names: Sequence[str] | Mapping[str, object]) -> str:
    text = ", ".join(names)
    return text[:1].upper() + text[1:]
