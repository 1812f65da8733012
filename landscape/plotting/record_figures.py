"""Figures of runs and their records with their captions: curves over training, dots, spectra and Q–Q plots."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landscape.comparison import Cell, Table, belongs_to, compare, refuse_unlike, setting_labels
from landscape.errors import InputError, UsageError
from landscape.plotting.blocks import block_panels, drawn_blocks
from landscape.plotting.caption import joined
from landscape.plotting.dots import dot_panels
from landscape.plotting.figure_options import Drawing, FigureOptions
from landscape.plotting.history import history_panels
from landscape.plotting.page import legend_above, page, settle
from landscape.plotting.quantiles import quantile_plot
from landscape.plotting.run_curves import axis_label, curves, quantities
from landscape.plotting.series import Series
from landscape.plotting.sources import Run
from landscape.plotting.spectrum import spectrum
from landscape.plotting.style import paper
from landscape.records.estimate import Estimate, free_parameters
from landscape.registry.titles import title

_MOST_PANELS = 4
_MOST_CHECKPOINTS = 6
_TOGETHER = (
    "loss",
    "dominant-eigenvalue",
    "top-eigenvalues",
    "preconditioned-sharpness",
    "critical-sharpness",
    "directional-sharpness",
    "noise-scale",
)
"""What a timeline shows by default, from top to bottom."""


def draw_history(runs: Sequence[Run], options: FigureOptions, *, stacked: bool = False) -> Drawing:
    """Curves over training: loss and accuracy, or the requested quantities.

    Raises:
        UsageError: No run has a requested quantity, or nothing over training at all.
    """
    known = quantities(runs)
    if not known:
        raise UsageError("the files hold nothing over training; draw them with --kind dots")
    usual = [name for name in ("loss", "accuracy") if name in known] or known[:_MOST_PANELS]
    if stacked:
        usual = sorted((name for name in known if name in _TOGETHER), key=_TOGETHER.index) or usual
    drawn = dict(curves(runs, name, over=options.over) for name in options.measures or usual)
    if not options.measures:  # what was undefined all the time
        drawn = {n: c for n, c in drawn.items() if any(np.isfinite(each.y).any() for each in c)} or drawn
    panels = 1 if stacked else len(drawn)
    label = axis_label(runs, options.over)
    figure = history_panels(drawn, xlabel=label, stacked=stacked, **options.page_for(panels))
    parts = [f"{_sentence(drawn)} during training, solid on train, dashed on test."]
    counts = Counter(run.label for run in runs)
    several = "; ".join(f"{label}: {count} runs" for label, count in counts.items() if count > 1)
    if several:
        parts.append(f"Mean of {several}; the band reaches from the lowest run to the highest.")
    measured = [each.estimate for run in runs for each in run.measured]
    return Drawing(figure, joined([*parts, *(_facts(measured) if measured else [])], options.command))


def draw_timeline(runs: Sequence[Run], options: FigureOptions) -> Drawing:
    """Curves over training, one panel below the other over one axis: what the geometry does while the loss falls."""
    return draw_history(runs, options, stacked=True)


def draw_dots(runs: Sequence[Run], options: FigureOptions) -> Drawing:
    """Rows side by side, a panel per measure."""
    records = [
        record
        for record in _records(runs, options)
        # The value of a spectral density is only its mean, and there is a figure of its own for it.
        if record.measure != "spectral-density" or record.measure in options.measures
    ]
    if not records:
        raise InputError("there are no numbers to compare; draw these records with --kind spectrum")
    table = _table(runs, records)
    units = {label: record.unit for label, record in zip(setting_labels(records), records, strict=True)}
    figure = dot_panels(table, units, **options.page_for(len(table.columns)))
    drawn = f"{_sentence(table.columns)}: a dot a run, a bar at the mean."
    return Drawing(figure, joined([drawn, *_facts(records)], options.command))


def draw_spectrum(runs: Sequence[Run], options: FigureOptions) -> Drawing:
    """Spectral densities of all records on one pair of axes."""
    records = _of_measure(runs, options, "spectral-density")
    looks = Series(records)

    def draw(ax: Axes, name: str, estimate: Estimate) -> None:
        d = cast(Mapping[str, Any], estimate.details)
        error = d.get("density_error")
        look = looks[name]
        style: dict[str, Any] = {"colour": look.colour, "linestyle": look.linestyle, "unit": estimate.unit}
        spectrum(d["grid"], d["density"], error, ax=ax, **style)

    figure = _overlaid(records, draw, looks.lines, options, shape=0.62)
    drawn = (
        "Density of the Hessian eigenvalues by stochastic Lanczos quadrature, bands of two standard errors."
    )
    return Drawing(figure, joined([drawn, *_facts(records.values())], options.command))


def draw_blocks(runs: Sequence[Run], options: FigureOptions) -> Drawing:
    """The spectra of the blocks of one network, and their distances.

    Raises:
        UsageError: There are several records.
    """
    records = _of_measure(runs, options, "block-spectra")
    if len(records) > 1:
        raise UsageError(
            f"--kind blocks draws one record, and there are {len(records)}: {'; '.join(records)}; name one file of one "
            "record, as landscape measure -M block-spectra -o FILE writes it"
        )
    ((_, estimate),) = records.items()
    details = cast(Mapping[str, Any], estimate.details)
    count = len(details["blocks"])
    shown = drawn_blocks(count)
    figure = block_panels(details, **options.page_for(len(shown) + 1))
    few = "" if len(shown) == count else f"{len(shown)} of {count} blocks have a panel."
    error = "" if estimate.standard_error is None else f" ± {estimate.standard_error:.2g}"
    parts = [
        "Density of the eigenvalues of the Hessian's diagonal blocks by stochastic Lanczos quadrature, bands of two "
        f"standard errors, and the Jensen–Shannon distances between them: {estimate.value:.3g}{error} on average.",
        few,
        f"Blocks: {', '.join(f'{k + 1} {name}' for k, name in enumerate(details['blocks']))}.",
    ]
    return Drawing(figure, joined([*parts, *_facts([estimate])], options.command))


def draw_quantiles(runs: Sequence[Run], options: FigureOptions) -> Drawing:
    """Q–Q plots of stochastic gradient norms of all records on one pair of axes."""
    every = _of_measure(runs, options, "gradient-noise")
    records = {name: estimate for name, estimate in every.items() if "qq" in estimate.details}
    if not records:
        raise InputError(
            "the gradient norms are all equal or of one batch: there is nothing to plot; use smaller batches"
        )
    looks = Series(records)

    def draw(ax: Axes, name: str, estimate: Estimate) -> None:
        points = cast(Mapping[str, Sequence[float]], estimate.details["qq"])
        style = {"colour": looks[name].colour, "marker": looks[name].marker}
        norm = f"‖∇L(B)‖² ({estimate.unit})"
        quantile_plot(points["theoretical"], points["ordered"], ax=ax, quantity=norm, **style)

    figure = _overlaid(records, draw, looks.dots, options, shape=0.72)
    drawn = "Q–Q plot of the squared gradient norms of batches against the normal distribution."
    text = joined([drawn, *_facts(records.values())], options.command)
    tests = {name: e.details["normality_p"] for name, e in records.items() if "normality_p" in e.details}
    p_values = ", ".join(f"{name} {p:.2g}" for name, p in tests.items())
    return Drawing(figure, f"{text} p of D'Agostino and Pearson's test: {p_values}." if tests else text)


def _overlaid(
    records: Mapping[str, Estimate],
    draw: Callable[[Axes, str, Estimate], None],
    keys: Callable[[], list[Any]],
    options: FigureOptions,
    *,
    shape: float,
) -> Figure:
    """All records on one pair of axes, with a legend if there are several."""
    with paper():
        figure, (ax,) = page(1, shape=shape, **options.page_for(1))
        for name, estimate in records.items():
            draw(ax, name, estimate)
        legend_above(figure, keys() if len(records) > 1 else [])
        return settle(figure)


def _records(runs: Sequence[Run], options: FigureOptions) -> list[Estimate]:
    """The records of the requested split and measures; by default the only split, or test."""
    every = [record for run in runs for record in run.records]
    splits = list(dict.fromkeys(record.provenance.split for record in every))
    split = options.split or (splits[0] if len(splits) == 1 else "test")
    on_split = [record for record in every if record.provenance.split == split]
    names = {record.measure for record in on_split}
    absent = [name for name in options.measures if name not in names]
    if not on_split or absent:
        what = f"no record of {absent[0]}" if absent else f"no record of the {split} split"
        there = ", ".join(sorted(names)) or ", ".join(map(str, splits)) or "none"
        raise InputError(f"{what} was found, only of {there}; measure it first: landscape measure RUN")
    return [record for record in on_split if not options.measures or record.measure in options.measures]


def _of_measure(runs: Sequence[Run], options: FigureOptions, measure: str) -> dict[str, Estimate]:
    """The records of one measure by the names of their runs, numbered if runs have one name."""
    name_of = _names(runs)
    records = _records(runs, dataclasses.replace(options, measures=(measure,)))
    counts = Counter(name_of[id(record)] for record in records)
    numbers: Counter[str] = Counter()
    named = {}
    for record in records:
        name = name_of[id(record)]
        numbers[name] += 1
        named[f"{title(name)} ({numbers[name]})" if counts[name] > 1 else name] = record
    return named


def _names(runs: Sequence[Run]) -> dict[int, str]:
    """The run of each record; if a file holds several runs, the optimizer or the checkpoint.

    Where records are about different parameters of a network, these are added.
    """
    # By identity, because estimates hold dictionaries and have no hash.
    names = {}
    for run in runs:
        several = len({belongs_to(record) for record in run.records}) > 1
        for record in run.records:
            origin = record.provenance
            which = origin.checkpoint_file or (origin.checkpoint or "")[:12]
            own = (origin.recipe or {}).get("optimizer", f"{run.label} {which}".strip())
            names[id(record)] = str(own) if several else run.label
    free = {id(record): record.provenance.parameters for run in runs for record in run.records}
    if len(set(free.values())) > 1:  # such as the spectra of the blocks of one network
        names = {key: f"{name}, {free[key] or 'all parameters'}" for key, name in names.items()}
    return names


def _table(runs: Sequence[Run], records: Sequence[Estimate]) -> Table:
    """The comparison of the records; networks without a recipe are rows by their folder."""
    if all("optimizer" in (record.provenance.recipe or {}) for record in records):
        return compare(records)
    refuse_unlike(records)
    names, labels = _names(runs), setting_labels(records)
    groups: dict[tuple[str, str], list[Estimate]] = {}
    for record, label in zip(records, labels, strict=True):
        groups.setdefault((names[id(record)], label), []).append(record)
    return Table(
        rows=tuple(dict.fromkeys(row for row, _ in groups)),
        columns=tuple(dict.fromkeys(labels)),
        cells={
            place: Cell(tuple(e.value for e in group), converged=all(e.converged is not False for e in group))
            for place, group in groups.items()
        },
        heading="run",
    )


def _sentence(names: Iterable[str]) -> str:
    text = ", ".join(names)
    return text[:1].upper() + text[1:]


def _facts(estimates: Collection[Estimate]) -> list[str]:
    """The sentences of a caption: which networks on which data, with which settings."""
    origins = [estimate.provenance for estimate in estimates]
    splits = _listed(origin.split for origin in origins)
    batch = _listed(origin.batch_size for origin in origins)
    settings: dict[str, None] = {}
    seeds: dict[str, list[str]] = {}
    for estimate in estimates:
        options = ", ".join(f"{key} {value}" for key, value in estimate.settings.items())
        if options:
            settings[f"{estimate.measure}: {options}."] = None
        recipe = estimate.provenance.recipe or {}
        if "optimizer" in recipe:
            seeds.setdefault(str(recipe["optimizer"]), []).append(str(recipe.get("seed", "unknown")))
    hashes = list(dict.fromkeys(o.checkpoint[:12] for o in origins if o.checkpoint))
    more = f" and {len(hashes) - _MOST_CHECKPOINTS} more" if len(hashes) > _MOST_CHECKPOINTS else ""
    some = ", ".join(hashes[:_MOST_CHECKPOINTS])
    return [
        f"{_listed(o.model for o in origins) or 'The network'} on {_listed(o.data for o in origins) or 'the data'}"
        f"{f', {splits} split' if splits else ''}, n = {_listed(o.num_examples for o in origins)}"
        f"{f', batches of {batch}' if batch else ''}, {_listed(o.loss for o in origins) or 'loss'}.",
        *(f"{_sentence([line])}." for line in dict.fromkeys(map(free_parameters, origins)) if line),
        *settings,
        f"Batch norm: {_listed(o.batch_norm for o in origins)} statistics.",
        f"Seeds of {'; '.join(f'{name}: {_listed(each)}' for name, each in seeds.items())}." if seeds else "",
        f"Checkpoint{'s' if len(hashes) > 1 else ''} {some}{more}." if hashes else "",
    ]


def _listed(values: Iterable[object]) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values if value is not None))
