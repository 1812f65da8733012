"""Surfaces saved by an earlier run of the same ``landscape surface``: when they are reused, refused or replaced."""

import contextlib
import dataclasses
import glob
import json
import math
import os
import secrets
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landscape.errors import InputError, UsageError
from landscape.records.surface import Surface
from landscape.surfaces.grid import coarse_to_fine, share
from landscape.surfaces.journal import read_journal
from landscape.surfaces.shared import is_begun, read_shared, refuse_foreign

if TYPE_CHECKING:
    from .surface_run import SurfaceRun


def journal_of(file: Path) -> Path:
    """The journal of the surface that is saved as ``file``."""
    return file.with_suffix(".journal")


def work_of(file: Path) -> Path:
    """The folder in which several processes compute the surface that is saved as ``file``."""
    return file.with_suffix(".work")


def remove_work(file: Path) -> None:
    """Removes that folder, at once for all other processes."""
    folder = work_of(file)
    refuse_foreign(folder)
    gone = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.gone")
    with contextlib.suppress(FileNotFoundError):
        os.replace(folder, gone)
    # Of a process that was killed in the middle of this, too. A network file system may keep a file that is open.
    for place in folder.parent.glob(f".{glob.escape(folder.name)}.????????.gone"):
        shutil.rmtree(place, ignore_errors=True)


def finished(
    file: Path, request: Mapping[str, Any], *, shard: tuple[int, int] | None, resume: bool, overwrite: bool
) -> Surface | None:
    """The surface that an earlier run of this command has saved; ``None`` if it has to be computed.

    A run that is killed after saving has only figures left to draw. Its journal, or the folder of its processes, may
    still exist. A file of another command, or that is no surface, is refused unless it may be overwritten. ``request``
    are the entries of the meta data that describe the command.
    """
    if not file.exists():
        return None
    surface = _loaded(file)
    same = resume and surface is not None and _same(surface, request, shard)
    if journal_of(file).exists() or is_begun(work_of(file)):
        saved = surface is not None and _is_saved(file, surface)
        if saved or overwrite:
            return surface if saved and same else None
    elif overwrite or same:
        return None if overwrite else surface
    raise UsageError(
        f"{file} is there; redraw it with `landscape plot {file}`, or add --overwrite to compute it anew"
    )


def require_unchanged(file: Path, surface: Surface, run: "SurfaceRun") -> None:
    """Refuses a saved surface whose checkpoints or data have changed since."""
    from landscape.surfaces.plane import fingerprint

    checks: Any = surface.meta.get("checkpoints", [])
    own = []
    for check, point in zip(checks, run.through, strict=False):
        pairs = ((check.get("stored"), point.own), (check["own"], point.recalibrated or point.own))
        own += [pair for pair in pairs if pair[0] is not None]
    objective, test = run.objective, run.test
    if objective.batch_norm == "auto" and any("stored" in check for check in checks):
        objective = objective.recalibrating()
        test = test and test.described(batch_norm=objective.batch_norm)
    hashed = partial(fingerprint, shards=run.objective.shards)
    then_and_now = {
        "weights": (
            [surface.meta["centre"]["sha256"], *((check["label"], check["sha256"]) for check in checks)],  # type: ignore[index]
            [hashed(run.objective.point), *((w.label, hashed(w.point)) for w in run.through)],
        ),
        "losses of its checkpoints": (all(_alike(then, now) for then, now in own), True),
        "data or settings": (surface.meta["provenance"], dataclasses.asdict(objective.provenance)),
        "test data": (surface.meta.get("test"), test and dataclasses.asdict(test.provenance)),
    }
    for what, (then, now) in then_and_now.items():
        if _as_saved(then) != _as_saved(now):
            raise UsageError(
                f"{file} is there, made by the same command from other {what} than now; redraw it with "
                f"`landscape plot {file}`, or add --overwrite to compute it anew"
            )


def require_same_bytes(file: Path, surface: Surface, *, overwrite: bool) -> None:
    """Refuses to replace another surface."""
    if overwrite or not file.exists():
        return
    there = _loaded(file)
    if there is None or there.to_bytes() != surface.to_bytes():
        raise UsageError(f"{file} is there and is another surface; choose another name, or add --overwrite")


def _same(surface: Surface, request: Mapping[str, Any], shard: tuple[int, int] | None) -> bool:
    """Whether this command made the surface, and has computed all its points."""
    ny, nx = surface.loss.shape
    points = set(share(coarse_to_fine(nx, ny), shard))
    done = {index for index, computed in enumerate(surface.computed.flat) if computed}
    return points == done and all(surface.meta.get(key) == _as_saved(request[key]) for key in request)


def _is_saved(file: Path, surface: Surface) -> bool:
    """Whether a surface holds everything that its journal and the folder of its processes hold."""
    try:
        unsaved = [read_journal(journal_of(file))] if journal_of(file).exists() else []
        unsaved += [read_shared(work_of(file))] if is_begun(work_of(file)) else []
    except InputError:
        return False
    return all(_bare(each) == _bare(surface) for each in unsaved)


def _bare(surface: Surface) -> tuple[bytes, object]:
    """The numbers of a surface, and where they come from."""
    return dataclasses.replace(surface, meta={}).to_bytes(), surface.meta.get("provenance")


def _loaded(file: Path) -> Surface | None:
    try:
        return Surface.load(file)
    except InputError:
        return None


def _alike(then: Mapping[str, float], now: Mapping[str, float]) -> bool:
    """Whether two losses of a checkpoint are the same up to the order of a parallel sum."""
    pairs = [(then[name], now.get(name, math.nan)) for name in then]
    return all(math.isclose(a, b, rel_tol=1e-5) or (math.isnan(a) and math.isnan(b)) for a, b in pairs)


def _as_saved(content: object) -> object:
    # Tuples become lists in a file.
    return json.loads(json.dumps(content))
