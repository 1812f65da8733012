"""Estimates on disk: one JSON line each, ``"schema": "landscape.measure/1"``.

The schema is published in the package as ``measure.schema.json``. Numbers that JSON has no literal for are
written as the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``.
"""

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from landscape.errors import InputError
from landscape.estimate import Cost, Estimate, Provenance
from landscape.reading import read_text
from landscape.storage import append_line

SCHEMA = "landscape.measure/1"
_KINDS: dict[str, tuple[type, ...]] = {
    "measure": (str,),
    "unit": (str,),
    "converged": (bool, type(None)),
    "settings": (dict,),
    "details": (dict,),
    "provenance": (dict,),
    "cost": (dict,),
}


def to_json(estimate: Estimate) -> str:
    """One line of JSON, keys in the order of the fields."""
    fields = {"schema": SCHEMA, **dataclasses.asdict(estimate)}
    return json.dumps(plain(fields), ensure_ascii=False, allow_nan=False)


def from_json(line: str) -> Estimate:
    """The estimate in a line of JSON.

    Raises:
        InputError: The line is not JSON, or not of this schema.
    """
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as failure:
        raise InputError(f"not a line of JSON: {failure}") from failure
    if not isinstance(fields, dict) or fields.get("schema") != SCHEMA:
        seen = fields.get("schema") if isinstance(fields, dict) else type(fields).__name__
        raise InputError(f"schema {seen!r} is not {SCHEMA!r}")
    try:
        for name, kinds in _KINDS.items():
            if not isinstance(fields[name], kinds):
                raise TypeError(f"{name} is {fields[name]!r}")
        return Estimate(
            measure=fields["measure"],
            value=float(fields["value"]),
            unit=fields["unit"],
            standard_error=None if fields["standard_error"] is None else float(fields["standard_error"]),
            converged=fields["converged"],
            settings=fields["settings"],
            details=fields["details"],
            provenance=Provenance(**fields["provenance"]),
            cost=Cost(**{kind: float(spent) for kind, spent in fields["cost"].items()}),
        )
    except (KeyError, TypeError, ValueError) as failure:
        raise InputError(f"a field is missing or wrong: {failure!r}") from failure


def append(path: Path, estimate: Estimate) -> None:
    """Appends one estimate to a file of JSON lines, durably."""
    append_line(path, to_json(estimate))


@dataclasses.dataclass(frozen=True)
class Records:
    """What a file of JSON lines holds: the estimates, and how many lines could not be read."""

    estimates: tuple[Estimate, ...]
    unreadable: int


def read(path: Path) -> Records:
    """The estimates in a file; lines that are torn or foreign are skipped and counted.

    Raises:
        InputError: The file does not exist.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist")
    estimates, unreadable = [], 0
    for line in read_text(path).split("\n"):
        if not line.strip():
            continue
        try:
            estimates.append(from_json(line))
        except InputError:
            unreadable += 1
    return Records(tuple(estimates), unreadable)


def find(
    estimates: Iterable[Estimate], *, measure: str, settings: Mapping[str, object], provenance: Provenance
) -> Estimate | None:
    """The last estimate of the same quantity: same measure, settings and provenance; ``None`` if there is none."""
    wanted = plain([measure, dict(settings), dataclasses.asdict(provenance)])
    same = [
        e
        for e in estimates
        if plain([e.measure, dict(e.settings), dataclasses.asdict(e.provenance)]) == wanted
    ]
    return same[-1] if same else None


def json_schema() -> dict[str, Any]:
    """The published JSON Schema of one record."""
    text = resources.files("landscape").joinpath("measure.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def plain(value: object) -> Any:
    """The value in JSON's own types: what JSON has no literal for as text, tuples as lists."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
