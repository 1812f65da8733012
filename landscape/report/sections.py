"""The sections of a report, from what lies on disk; for what is missing, the command that computes it."""

import dataclasses
import functools
import shlex
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from landscape.comparison import Table
from landscape.comparison.alike import column_labels
from landscape.errors import InputError, UsageError
from landscape.plotting.dots import dot_panels
from landscape.plotting.figure_options import Drawing, FigureOptions
from landscape.plotting.interactive import page_numbers
from landscape.plotting.kinds import draw_figure
from landscape.plotting.run_curves import curves, quantities
from landscape.plotting.save import svg_element
from landscape.plotting.sources import Run
from landscape.records.estimate import Estimate
from landscape.records.surface import Surface
from landscape.registry.titles import title
from landscape.report.content import Block, Commands, Picture, Report, Section, Turnable
from landscape.report.material import Material
from landscape.report.settings import commands, provenance, recipes

MOST_CURVES, MOST_QUANTITIES, MOST_SURFACES, MOST_DOTS = 12, 12, 6, 2000
_PLANNED = ("lr", "sam_fraction", "skipped_steps")
_RUN_FIGURES = {"spectral-density": ("Spectra", "spectrum"), "gradient-noise": ("Q–Q plots", "quantiles")}


@dataclass(frozen=True)
class Request:
    """What a report is of.

    Attributes:
        material: What lies on disk.
        table: The comparison of the runs; ``None`` if there is none.
        records: The numbers in the table.
        command: The command that writes the report.
    """

    material: Material
    table: Table | None
    records: Sequence[Estimate]
    command: str


def report(request: Request) -> Report:
    """The report; pictures that cannot be drawn are sentences that say why."""
    material = request.material
    parts = [
        Section("Results", tuple(_results(request))),
        Section("Curves over training", tuple(_curves(material.runs, _first(material)))),
        Section("Surfaces", tuple(_surfaces(material))),
        *(_of_measure(material, measure) for measure in _RUN_FIGURES),
        Section("Recipes", tuple(recipes(material))),
        Section("Provenance", tuple(provenance(material))),
        Section("Commands", (Commands(tuple(commands(material, request.command))),)),
    ]
    labels = dict.fromkeys(title(run.label) for run in material.runs)
    few = ", ".join(list(labels)[:8]) + (f" and {len(labels) - 8} more" if len(labels) > 8 else "")
    counts = [f"{len(material.runs)} runs of {few}"] if material.runs else []
    counts += [f"{len(material.surfaces)} surfaces"] if material.surfaces else []
    where = request.table.measured_on if request.table else ""
    summary = "; ".join(filter(None, [*counts, where]))
    return Report("Landscape report", f"{summary}.", tuple(part for part in parts if part.blocks))


def _first(material: Material) -> str:
    """A run that stands for all in a suggested command."""
    return shlex.quote(str(material.places[0])) if material.places else "RUN"


def _results(request: Request) -> Iterator[Block]:
    table, material = request.table, request.material
    yield from (f"Note: {remark}." for remark in material.remarks if table is None)
    if table is None:
        if not any(run.checkpoint for run in material.found.runs):
            return
        yield "No number of these runs is on record that could be compared; this command measures them:"
        yield Commands((f"landscape compare {_first(material)}",))
        return
    yield from (f"{table.in_words(lead)}." for lead in table.leads())
    # Many columns are easier to read as rows, above all on a narrow screen.
    yield from (g.transposed() if len(g.head) > len(g.rows) + 1 else g for g in table.grids())
    yield from (f"{note}." for note in table.notes())
    if sum(len(cell.values) for cell in table.cells.values()) > MOST_DOTS or len(table.rows) > MOST_CURVES:
        yield f"The single runs are not drawn: these are more than {MOST_CURVES} rows or {MOST_DOTS} numbers."
        return
    units = dict(zip(column_labels(request.records), (r.unit for r in request.records), strict=True))
    for column in [each for each in table.columns if "spectral-density" not in each][:MOST_QUANTITIES]:
        name = table.headings[column]
        yield _picture(name, functools.partial(_dots, table, column, units))


def _dots(table: Table, column: str, units: Mapping[str, str]) -> Drawing:
    part = dataclasses.replace(table, columns=(column,))
    text = f"{table.headings[column]}: a dot a run, a bar at the mean."
    return Drawing(dot_panels(part, units, width="column"), text)


def _curves(runs: Sequence[Run], place: str) -> Iterator[Block]:
    # What most readers ask for comes first.
    varying = [name for name in quantities(runs) if _varies(runs, name)]
    known = sorted(varying, key=lambda name: (name not in ("loss", "accuracy"), name in _PLANNED))
    labels = list(dict.fromkeys(run.label for run in runs if run.epochs or run.measured))
    if not known:
        if runs:
            yield "No history is on record: `landscape train` and landscape.Tracker write one while they train."
        return
    if len(labels) > MOST_CURVES:
        yield f"The curves of the first {MOST_CURVES} of {len(labels)} settings are drawn."
    drawn = [run for run in runs if run.label in labels[:MOST_CURVES]]
    if len(known) > MOST_QUANTITIES:
        yield f"The first {MOST_QUANTITIES} of {len(known)} quantities are drawn: {', '.join(known)}."
    for name in known[:MOST_QUANTITIES]:
        options = FigureOptions(venue="icml", measures=(name,))
        yield _picture(name, functools.partial(draw_figure, drawn, options, "history"))


def _varies(runs: Sequence[Run], name: str) -> bool:
    """Whether a quantity changes within a run; flat lines say nothing."""
    drawn = curves(runs, name)[1]
    return any(len(curve.y) < 2 or len(np.unique(curve.y[np.isfinite(curve.y)])) > 1 for curve in drawn)


def _surfaces(material: Material) -> Iterator[Block]:
    if not material.surfaces:
        yield "No surface around these checkpoints lies in or beside the folders; this command computes one:"
        yield Commands((f"landscape surface {_checkpoint(material)} -o surface.npz",))
        return
    kinds = {
        "filled": [pair for pair in material.surfaces if not pair[1].is_line],
        "line": [pair for pair in material.surfaces if pair[1].is_line],
    }
    for kind, pairs in kinds.items():
        if len(pairs) > MOST_SURFACES:
            yield f"The first {MOST_SURFACES} of {len(pairs)} surfaces are drawn."
        if pairs:
            yield from _on_one_scale(pairs[:MOST_SURFACES], kind)


def _on_one_scale(pairs: Sequence[tuple[Path, Surface]], kind: str) -> Iterator[Block]:
    surfaces = [surface for _, surface in pairs]
    options = FigureOptions(
        venue="icml", width="text" if len(pairs) > 1 else "column", names=[file.stem for file, _ in pairs]
    )
    picture = _picture(
        "surfaces", functools.partial(draw_figure, surfaces, options, kind), wide=len(pairs) > 1
    )
    yield picture
    if kind == "filled" and isinstance(picture, Picture):
        yield Turnable(page_numbers(surfaces, options.titles_for(surfaces), options.scale(surfaces)))


def _of_measure(material: Material, measure: str) -> Section:
    """The figures of a measure that has a kind of its own, one a split."""
    heading, kind = _RUN_FIGURES[measure]
    blocks: list[Block] = []
    records = [(run, each) for run in material.runs for each in run.records if each.measure == measure]
    for split in dict.fromkeys(each.provenance.split for _, each in records):
        on_split = [(run, each) for run, each in records if each.provenance.split == split]
        if len(on_split) > MOST_CURVES:
            blocks.append(f"The first {MOST_CURVES} of {len(on_split)} records are drawn.")
        # Each run has the one record that is drawn, so that none of another measure counts.
        drawn = [dataclasses.replace(run, records=(each,)) for run, each in on_split[:MOST_CURVES]]
        options = FigureOptions(venue="icml", measures=(measure,), split=split)
        blocks.append(_picture(measure, functools.partial(draw_figure, drawn, options, kind)))
    if not blocks and material.runs:
        blocks = [
            f"No record of {measure} is there; this command computes one:",
            Commands((f"landscape measure {_checkpoint(material)} -M {measure}",)),
        ]
    return Section(heading, tuple(blocks))


def _checkpoint(material: Material) -> str:
    """The first checkpoint, as a command names it."""
    files = [run.checkpoint for run in material.found.runs if run.checkpoint is not None]
    return shlex.quote(str(files[0])) if files else "CHECKPOINT"


def _picture(name: str, draw: Callable[[], Drawing], *, wide: bool = False) -> Block:
    """A figure, or the sentence that says why there is none."""
    try:
        drawing = draw()
    except (InputError, UsageError) as failure:
        return f"No picture of {name}: {failure}."
    # What stands in one page once, and is the same for the same report.
    prefix = f"f{zlib.crc32(f'{name} {drawing.caption}'.encode('utf-8', 'surrogatepass')):08x}"
    return Picture(svg_element(drawing.figure, prefix), name, drawing.caption, wide)
