"""Text about surfaces: the names of their axes, and captions with what is needed to check and reproduce a figure."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from landscape.comparison.columns import look
from landscape.records.landmarks import Landmarks
from landscape.records.surface import Surface
from landscape.tables.escaping import for_latex

UNNAMED = ("direction 1", "direction 2")
"""Names of axes that have none, or no room for it."""


def axis_labels(surface: Surface) -> tuple[str, str]:
    """The names of a surface's directions, from its plane; a line names only the first."""
    names = [str(label) for label in _part(surface.meta, "plane").get("labels") or ()]
    first, second = (*names, *UNNAMED[len(names) :])
    return first, second


def quantity(surfaces: Sequence[Surface]) -> str:
    """The name of the loss, if the surfaces agree on it; of one in a user's file, the name in that file."""
    names = {str(surface.meta.get("loss", "loss")) for surface in surfaces}
    name = names.pop() if len(names) == 1 else "loss"
    own = re.fullmatch(r".*\.py:(\w+)(:.*)?", name)
    return name if own is None else own[1].replace("_", " ")


def headed(column: str, unit: str) -> tuple[str, float]:
    """The heading of a column with the unit of its values, as in tables, and the factor of its values."""
    appearance = look(column)
    heading = appearance.heading.replace("_max", "ₘₐₓ")
    # A factor changes the unit, and then it is part of the heading.
    return heading if appearance.factor != 1 or unit in (
        "",
        "1",
    ) else f"{heading} ({unit})", appearance.factor


def caption(
    *surfaces: Surface, titles: Sequence[str] = (), marked: bool = True, drawing: Iterable[str] = ()
) -> str:
    """The text of a caption: what was computed, where, how, from which file, by which command.

    What the panels share is written once.

    Args:
        surfaces: The surfaces of the figure, in order.
        titles: Names of the panels; by default (a), (b), ….
        marked: Whether a dot marks the checkpoint, and hatching what is missing.
        drawing: Sentences about how the surfaces are drawn.
    """
    facts = [list(_facts(surface, marked)) for surface in surfaces]
    common = [text for text in facts[0] if all(text in other for other in facts)]
    parts = [*common]
    names = titles or [f"({chr(ord('a') + index)})" for index in range(len(surfaces))]
    for name, own in zip(names, facts, strict=len(surfaces) > 1):
        different = [text for text in own if text not in common]
        parts += [f"{name}: {' '.join(different)}"] if different else []
    return joined([*parts, *drawing])


def tex(text: str) -> str:
    """Text with the characters escaped that TeX does not print as they are, and `commands` in typewriter."""
    return re.sub("`([^`]*)`", r"\\texttt{\1}", for_latex(text))


def joined(parts: Iterable[str], command: object = None) -> str:
    """The non-empty sentences of a caption, and the command that makes the figure."""
    return " ".join([*filter(None, parts), *([f"Made by `{command}`."] if command else [])])


def _facts(surface: Surface, marked: bool) -> Iterator[str]:
    """The sentences of a caption."""
    meta, plane = surface.meta, _part(surface.meta, "plane")
    origin, test, centre = (_part(meta, name) for name in ("provenance", "test", "centre"))
    loss = str(meta.get("loss", "loss"))
    data = f"{origin.get('model') or 'the network'} on {origin.get('data') or 'the data'}"
    data += f", {origin['split']} split" if origin.get("split") else ""
    data += f", n = {origin['num_examples']}" if "num_examples" in origin else ""
    data += f", and {test['split']} split, n = {test['num_examples']}" if test else ""
    yield f"{loss[:1].upper()}{loss[1:]} of {data}."
    if meta.get("source"):
        yield f"From {meta['source']}."
    selection, frozen = origin.get("parameters"), origin.get("frozen")
    if selection:
        yield f"Free parameters: {selection}{'' if frozen else '; all others are held fixed'}."
    if frozen:
        yield f"Held fixed, as they require no gradient: {frozen}."
    if plane:
        everything = "parameters" if not (selection or frozen) else "these" if selection else "others"
        yield from _plane_facts(plane, surface.trajectory, everything=everything)
    yield from _checkpoint_facts(meta)
    across, along = _interval(surface.x), _interval(surface.y)
    if surface.is_line:
        yield f"{len(surface.x)} points from {across}."
    else:
        inside = surface.x[0] <= 0 <= surface.x[-1] and surface.y[0] <= 0 <= surface.y[-1]
        dot = "; the dot is the checkpoint" if inside and marked else ""
        yield f"Grid of {len(surface.x)} × {len(surface.y)} points, {across} by {along}{dot}."
    if "loss" in centre:
        yield f"Loss of the checkpoint {plain(centre['loss'])}."
    if origin.get("batch_norm"):
        how = str(meta.get("batch_norm", ""))
        stored = f"{origin['batch_norm']} statistics{how and ', '}{how}"
        yield f"Batch norm: {f'statistics {how}' if how.startswith('recomputed') else stored}."
    missing = int((~surface.computed).sum())
    broken = int((~np.isfinite(surface.loss) & surface.computed).sum())
    if missing or broken:
        absent = "Hatched" if marked else "Left out"
        yield f"{absent}: {broken} points where the loss is not finite, {missing} that were not computed."
    if "preview" in meta:
        yield "Preview of a run that is not finished."
    if origin.get("checkpoint"):
        yield f"Checkpoint {str(origin['checkpoint'])[:12]}."  # enough to find it among any number of runs
    if meta.get("command"):
        yield joined([], meta["command"])


def _plane_facts(plane: Mapping[str, Any], path: Landmarks | None, *, everything: str) -> Iterator[str]:
    """How the plane was made, and how much of a path it shows."""
    options = ", ".join(f"{key} {value}" for key, value in plane.get("settings", {}).items())
    yield f"Plane: {plane.get('kind')}{f' ({options})' if options else ''}."
    lengths = [plain(norm) for norm in plane.get("norms", ())]
    cosine = f", cosine {plain(plane.get('cosine'))}" if len(lengths) != 1 else ""
    yield f"Direction{'s' if cosine else ''} of length {' and '.join(lengths)}{cosine}."
    names = list(plane.get("ignored", ()))
    first = f"{', '.join(names[:3])}{', …' if len(names) > 3 else ''}"
    yield f"Not moved: {len(names)} biases and gains ({first})." if names else f"All {everything} are moved."
    if "eigenvalues" in plane:
        doubt = "" if plane.get("converged", True) else ", not converged"
        yield f"Eigenvalues {' and '.join(map(plain, plane['eigenvalues']))}{doubt}."
    if "explained_variance" in plane:
        variances = (plane["explained_variance"], plane["explained_variance_of_a_random_walk"])
        shares, chance = (" and ".join(f"{share:.1%}" for share in each) for each in variances)
        yield f"The axes explain {shares} of the path's variance, of a random walk's {chance}."
        if path is not None:
            k = int(path.distances.argmax())
            yield f"Furthest from the plane is {path.labels[k]}, at {plain(path.distances[k])}."
    if "barrier" in plane.get("curve", {}):
        barrier = plane["curve"]["barrier"]
        yield f"Barrier on the curve {plain(barrier['height'])} at t = {plain(barrier['at'])}."


def _checkpoint_facts(meta: Mapping[str, Any]) -> Iterator[str]:
    """Alignment, barriers on a line, and the losses of the checkpoints that a surface passes through."""
    alignment = _part(meta, "aligned")
    for network in alignment.get("networks", ()):
        before, after = (plain(network["distances"][when]) for when in ("before", "after"))
        held = len(network.get("held", ()))
        yield (
            f"{network['label']} is aligned to {alignment['to']} by weight matching: {network['moved']} of "
            f"{network['units']} hidden units change places, the distance of the weights from {before} to {after}"
            f"{f'; units stay in place for {held} reasons in the file' if held else ''}."
        )
    for name, barrier in alignment.get("before", {}).get("barrier", {}).items():
        height, at = plain(barrier["height"]), plain(barrier["at"])
        yield f"Barrier of the {name.replace('_', ' ')} before aligning {height} at t = {at}, the thin line."
    for name, barrier in meta.get("barrier", {}).items():
        height, at = plain(barrier["height"]), plain(barrier["at"])
        yield f"Barrier of the {name.replace('_', ' ')} {height} at t = {at}."
    if meta.get("checkpoints"):
        yield f"Loss at the checkpoints: {checked_at(meta['checkpoints'])}."
    if "disagreement" in meta:
        yield f"Not a surface of all its checkpoints, and no barrier is given: {meta['disagreement']}."


def checked_at(checks: Sequence[Mapping[str, Any]]) -> str:
    """The losses of a surface at the checkpoints that it passes through, each beside the checkpoint's own."""
    parts = [
        f"{plain(check['surface'][name])} at {check['label']} (its own {plain(check['own'][name])}"
        f"{_stored(check, name)}{'' if name == 'loss' else ', ' + name.replace('_', ' ')})"
        for check in checks
        if check["agree"] is not None
        for name in check["own"]
    ]
    beside = [check for check in checks if check["agree"] is None]
    if beside:
        furthest = max(beside, key=lambda check: abs(check["surface"]["loss"] - check["own"]["loss"]))
        parts.append(
            f"{len(beside)} beside the plane, whose own losses are not those of the nearest points, such as "
            f"{plain(furthest['surface']['loss'])} for {furthest['label']} ({plain(furthest['own']['loss'])})"
        )
    return ", ".join(parts)


def _stored(check: Mapping[str, Any], name: str) -> str:
    """The loss with the batch-norm statistics that a checkpoint holds, where these are recomputed."""
    loss = check.get("stored", {}).get(name)
    return "" if loss is None else f", with its stored statistics {plain(loss)}"


def _part(meta: Mapping[str, object], name: str) -> Mapping[str, Any]:
    # The file may be a stranger's, with anything in place of a part.
    part = meta.get(name)
    return part if isinstance(part, Mapping) else {}


def plain(value: object) -> str:
    """A number as captions write it: four digits, with a minus sign."""
    return f"{value:.4g}".replace("-", "−") if isinstance(value, (int, float)) else "unknown"


def _interval(coordinates: NDArray[np.float64]) -> str:
    return f"{plain(float(coordinates[0]))} to {plain(float(coordinates[-1]))}"
