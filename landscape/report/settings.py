"""The recipes of runs and their differences, where the numbers come from, and the commands that made them."""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from landscape.comparison.alike import REPEATED, differing
from landscape.comparison.runs import MeasuredRun
from landscape.records import RunFolder
from landscape.records.estimate import free_parameters
from landscape.registry.names import Specification
from landscape.report.content import Block
from landscape.report.material import Material
from landscape.tables import Content, Grid

MOST_ROWS = 50
_MOST_LISTED = 12
_FIELDS = ("landscape", "torch", "device", "dtype", "model", "dimension", "loss", "data", "batch_norm")

Recipe = Mapping[str, object]


def recipes(material: Material) -> Iterator[Block]:
    """What the recipes have in common, and a row for each of the different ones with its seeds."""
    every = [recipe for run in material.found.runs if (recipe := _recipe(run))]
    if not every and material.runs:
        yield "No recipe is on record: `landscape train` writes one."
    if not every:
        return
    groups: dict[str, list[Recipe]] = {}
    for recipe in every:
        groups.setdefault(_setting(recipe), []).append(recipe)
    names = [name for name in differing(every) if name not in REPEATED]
    if names:
        rows = [
            [*(_text(members[0].get(name)) for name in names), _listed(m.get("seed") for m in members)]
            for members in list(groups.values())[:MOST_ROWS]
        ]
        more = [f"{len(groups) - MOST_ROWS} more settings"] if len(groups) > MOST_ROWS else []
        yield Grid([*names, "seeds"], rows, more)
    first = every[0]
    common = [[name, _text(value)] for name, value in first.items() if name not in (*names, *REPEATED)]
    if not names:
        common.append(["seeds", _listed(recipe.get("seed") for recipe in every)])
    yield Grid(["the same for all runs" if len(every) > 1 else "setting", "value"], common)


def provenance(material: Material) -> Iterator[Block]:
    """The versions, the data and the checkpoints behind the numbers."""
    runs = material.found.runs
    origins = [each.provenance for run in runs for each in run.estimates]
    rows = [[name.replace("_", " "), _listed(getattr(o, name) for o in origins)] for name in _FIELDS]
    for split in dict.fromkeys(origin.split for origin in origins if origin.split):
        of_split = [origin for origin in origins if origin.split == split]
        counts = _listed(origin.num_examples for origin in of_split)
        sizes = _listed(origin.batch_size for origin in of_split)
        hashes = _listed(origin.examples for origin in of_split)
        rows.append([f"examples, {split}", f"{counts}; batches of {sizes}; hash {hashes}"])
    rows.append(["parameters", _listed(map(free_parameters, origins))])
    if origins:
        yield Grid(["measured with", "value"], [row for row in rows if row[1]])
    if runs:
        files: list[list[Content]] = [
            [str(run.path), (run.digest or "")[:12], len(run.estimates)] for run in runs[:MOST_ROWS]
        ]
        more = [f"{len(runs) - MOST_ROWS} more runs"] if len(runs) > MOST_ROWS else []
        yield Grid(["run", "checkpoint (SHA-256)", "records"], files, more)
    if material.surfaces:
        about = [[file.name, repr(surface)] for file, surface in material.surfaces[:MOST_ROWS]]
        yield Grid(["surface", "content"], about)


def commands(material: Material, typed: str) -> Iterator[str]:
    """The commands that train, measure and draw again what the report shows, one run for each recipe."""
    seen: dict[str, None] = {}
    for run in material.found.runs:
        key = _setting(_recipe(run) or {})
        if key in seen or len(seen) >= _MOST_LISTED:
            continue
        seen[key] = None
        folder = RunFolder(run.path)
        if folder.recipe.is_file():
            yield shlex.join(["landscape", "train", "-c", str(folder.recipe), "-o", str(run.path)])
        if run.checkpoint is not None:
            yield from _measuring(run, run.checkpoint)
    yield from dict.fromkeys(
        str(surface.meta["command"]) for _, surface in material.surfaces if "command" in surface.meta
    )
    yield typed


def _measuring(run: MeasuredRun, checkpoint: Path) -> Iterator[str]:
    """A command for each split on which the run was measured."""
    for split in dict.fromkeys(each.provenance.split for each in run.estimates if each.provenance.split):
        names = [
            str(Specification(e.measure, dict(e.settings)))  # type: ignore[arg-type]
            for e in run.estimates
            if e.provenance.split == split
        ]
        flags = ["-M", ",".join(dict.fromkeys(names)), "--split", split]
        yield shlex.join(["landscape", "measure", str(checkpoint), *flags])


def _recipe(run: MeasuredRun) -> Recipe | None:
    return run.recipe or next((e.provenance.recipe for e in run.estimates if e.provenance.recipe), None)


def _setting(recipe: Recipe) -> str:
    """What runs have in common that are repetitions of each other."""
    return str(sorted((name, str(value)) for name, value in recipe.items() if name not in REPEATED))


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _listed(values: Iterable[object]) -> str:
    texts = list(dict.fromkeys(str(value) for value in values if value is not None))
    more = f" and {len(texts) - _MOST_LISTED} more" if len(texts) > _MOST_LISTED else ""
    return ", ".join(texts[:_MOST_LISTED]) + more
