"""What a caption has to say for a surface to be checked and made again; said once where panels agree."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from landscape.plotting.plane_caption import batch_norm_fact, plane_facts
from landscape.records.surface import Surface
from landscape.tables.escaping import for_latex


def caption(*surfaces: Surface, titles: Sequence[str] = ()) -> str:
    """The stub of a caption: what was computed, where, how, from which file, by which command.

    Args:
        surfaces: Those of the figure, in order.
        titles: What the panels are called; by default (a), (b), ….
    """
    facts = [_facts(surface) for surface in surfaces]
    common = [text for key, text in facts[0].items() if all(other.get(key) == text for other in facts)]
    parts = [" ".join(common)]
    if len(surfaces) > 1:
        names = titles or [f"({chr(ord('a') + index)})" for index in range(len(surfaces))]
        for name, own in zip(names, facts, strict=True):
            different = [text for text in own.values() if text not in common]
            if different:
                parts.append(f"{name}: {' '.join(different)}")
    return " ".join(part for part in parts if part)


def tex(text: str) -> str:
    """Text with the characters escaped that TeX would not print as they are, and `commands` in typewriter."""
    return re.sub("`([^`]*)`", r"\\texttt{\1}", for_latex(text))


def _facts(surface: Surface) -> dict[str, str]:
    meta = surface.meta
    plane, centre, origin, test = (_part(meta, name) for name in ("plane", "centre", "provenance", "test"))
    facts = {}
    what = str(meta.get("loss", "loss"))
    facts["what"] = (
        f"{what[:1].upper()}{what[1:]} of {origin.get('model') or 'the network'} "
        f"on {origin.get('data') or 'the data'}"
        f"{', ' + str(origin['split']) + ' split' if origin.get('split') else ''}"
        f"{', n = ' + str(origin['num_examples']) if 'num_examples' in origin else ''}"
        f"{', and ' + str(test['split']) + ' split, n = ' + str(test['num_examples']) if test else ''}."
    )
    if meta.get("source"):
        facts["source"] = f"From {meta['source']}."
    facts |= _directions(plane)
    facts |= plane_facts(plane, meta, surface.trajectory)
    facts["grid"] = _grid(surface)
    if "loss" in centre:
        facts["centre"] = f"Loss of the checkpoint {_number(centre['loss'])}."
    if origin.get("batch_norm"):
        facts["batch norm"] = batch_norm_fact(meta, origin["batch_norm"])
    missing = int((~surface.computed).sum())
    broken = int((~np.isfinite(surface.loss) & surface.computed).sum())
    if missing or broken:
        facts["hatched"] = (
            f"Hatched: {broken} points where the loss is not finite, {missing} that were not computed."
        )
    if "preview" in meta:
        facts["preview"] = "Preview of a run that is not finished."
    if origin.get("checkpoint"):
        facts["checkpoint"] = f"Checkpoint {str(origin['checkpoint'])[:12]}."
    if meta.get("command"):
        facts["command"] = f"Made by `{meta['command']}`."
    return facts


def _directions(plane: Mapping[str, Any]) -> dict[str, str]:
    """What is known of the directions of every kind of plane."""
    if not plane:
        return {}
    options = ", ".join(f"{key} {value}" for key, value in plane.get("settings", {}).items())
    lengths = [_number(norm) for norm in plane.get("norms", ())]
    names = list(plane.get("ignored", ()))
    held = f"{', '.join(names[:3])}{', …' if len(names) > 3 else ''}"
    return {
        "plane": f"Plane: {plane.get('kind')}{f' ({options})' if options else ''}.",
        "directions": f"Direction of length {lengths[0]}."
        if len(lengths) == 1
        else f"Directions of length {' and '.join(lengths)}, cosine {_number(plane.get('cosine'))}.",
        "ignored": f"Not moved: {len(names)} biases and gains ({held})."
        if names
        else "All parameters are moved.",
    }


def _grid(surface: Surface) -> str:
    across, holds = _interval(surface.x), surface.x[0] <= 0 <= surface.x[-1]
    if surface.is_line:
        return f"{len(surface.x)} points from {across}."
    centre = "; the dot is the checkpoint" if holds and surface.y[0] <= 0 <= surface.y[-1] else ""
    return f"Grid of {len(surface.x)} × {len(surface.y)} points, {across} by {_interval(surface.y)}{centre}."


def _part(meta: Mapping[str, object], name: str) -> Mapping[str, Any]:
    part = meta.get(name)
    return part if isinstance(part, Mapping) else {}


def _number(value: object) -> str:
    return f"{value:.4g}".replace("-", "−") if isinstance(value, (int, float)) else "unknown"


def _interval(coordinates: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    return f"{_number(float(coordinates[0]))} to {_number(float(coordinates[-1]))}"
