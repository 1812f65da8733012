"""Estimates on disk: one JSON line each, ``"schema": "landscape.measure/1"``.

The schema is published in the package as ``measure.schema.json``, and a line is read by it: that file is the only
description of the fields and their types. Numbers that JSON has no literal for are written as the strings
``"NaN"``, ``"Infinity"`` and ``"-Infinity"``. Within a version of the schema fields are only added, so that older
records stay readable.

A record is used in place of a new measurement only if everything that its number depends on is unchanged: the
weights, the bytes of the examples, the user's code, the versions and settings, and the loss at the point. A record
cannot prove that its number was ever measured: whoever writes a file with the right hashes and the right loss
may write any trace beside them. So numbers that were read from a file are marked as read wherever they are
printed beside new ones, and the loss and the accuracy, which are computed in any case, are never read.
"""

import copy
import dataclasses
import functools
import json
import math
import re
import reprlib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, cast

from landscape.errors import InputError
from landscape.records.estimate import Cost, Estimate, Provenance
from landscape.records.reading import read_text
from landscape.records.storage import append_line

SCHEMA = "landscape.measure/1"
_TYPES: dict[str, type | tuple[type, ...]] = {
    **{"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)},
    **{"number": (int, float), "integer": int},
}
# Fields of the provenance that say what the question was; the others say on what grounds it was answered.
_QUESTION = (
    *("model", "data", "split", "subset", "num_examples", "loss"),
    *("batch_norm", "batch_size", "parameters", "frozen", "dtype", "device"),
)


def to_json(estimate: Estimate) -> str:
    """One line of JSON, keys in the order of the fields."""
    fields = {"schema": SCHEMA, **dataclasses.asdict(estimate)}
    return json.dumps(plain(fields), ensure_ascii=False, allow_nan=False)


def from_json(line: str) -> Estimate:
    """The estimate in a line of JSON of this schema; its ``epoch`` and ``step``, if any, are left out."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as failure:
        raise InputError(f"not a line of JSON: {failure}") from failure
    if not isinstance(fields, dict) or fields.get("schema") != SCHEMA:
        seen = fields.get("schema") if isinstance(fields, dict) else type(fields).__name__
        raise InputError(f"schema {reprlib.repr(seen)} is not {SCHEMA!r}")
    fields.pop(
        "read_from", None
    )  # printed by `landscape measure` beside a record, whose file was then made of that
    try:
        fields = _typed(fields, _schema(), "the record")
    except RecursionError as failure:
        raise InputError("a field is wrong: it is nested too deeply") from failure
    return Estimate(
        provenance=Provenance(**fields.pop("provenance")),
        cost=Cost(**fields.pop("cost")),
        **{name: value for name, value in fields.items() if name not in ("schema", "epoch", "step")},
    )


def append(path: Path, estimate: Estimate) -> None:
    """Appends one estimate to a file of JSON lines, durably."""
    append_line(path, to_json(estimate))


@dataclasses.dataclass(frozen=True)
class Records:
    """The contents of a file of JSON lines: the estimates, and how many lines could not be read."""

    estimates: tuple[Estimate, ...]
    unreadable: int


def read(path: Path) -> Records:
    """The estimates in an existing file; lines that are torn or foreign are skipped and counted."""
    if not path.is_file():
        raise InputError(f"{path} does not exist")
    estimates, unreadable = [], 0
    for line in read_text(path).split("\n"):  # not splitlines(): texts in a record may hold other separators
        try:
            estimates += [from_json(line)] if line.strip() else []
        except InputError:
            unreadable += 1
    return Records(tuple(estimates), unreadable)


def find(
    estimates: Iterable[Estimate], *, measure: str, settings: Mapping[str, object], provenance: Provenance
) -> Estimate | None:
    """The last estimate, with all of these settings, that is still valid where the number would be computed now.

    If that provenance knows the loss at the point, the record must know the same one.
    """
    same = _of_quantity(estimates, measure, settings)
    return next((e for e in reversed(same) if not _changes(e.provenance, provenance)), None)


def outdated(
    estimates: Iterable[Estimate], *, measure: str, settings: Mapping[str, object], provenance: Provenance
) -> str | None:
    """Why the last record that answers the same question is no longer valid; ``None`` if there is none."""
    for record in reversed(_of_quantity(estimates, measure, settings)):
        then = record.provenance
        same_file = then.checkpoint_file is not None and then.checkpoint_file == provenance.checkpoint_file
        if not same_file and then.checkpoint != provenance.checkpoint:
            continue
        if all(getattr(then, name) == getattr(provenance, name) for name in _QUESTION):
            return next(iter(_changes(then, provenance)), None)
    return None


def agree(recorded: float, computed: float, dtype: str) -> bool:
    """Whether two losses of the same network on the same examples are equal up to the rounding of ``dtype``."""
    if recorded == computed or (math.isnan(recorded) and math.isnan(computed)):
        return True
    # Sums in another order, by another number of threads or in other micro-batches, move a loss by some ten units of
    # its last place, and where it is close to zero by some units of the logits' last place.
    epsilon = 2.0**-52 if dtype == "float64" else 2.0**-23
    return abs(recorded - computed) <= epsilon * (1000 * abs(computed) + 100)


def _of_quantity(
    estimates: Iterable[Estimate], measure: str, settings: Mapping[str, object]
) -> list[Estimate]:
    options = plain(settings)
    return [e for e in estimates if e.measure == measure and plain(e.settings) == options]


def _changes(then: Provenance, now: Provenance) -> list[str]:
    """What has changed since a record was written, in words, the most telling first."""
    words = {
        "checkpoint": "the weights have changed",
        "examples": "the examples have changed",
        "code": "the Python code has changed",
    }
    if then.examples is None:
        words["examples"] = "it does not say what its examples held"
    if now.examples is None:
        words["examples"] = "examples of this kind have no hash, so that they may have changed"
    # The name of the file says nothing about the weights, and the losses agree or not after rounding.
    compared = {field.name for field in dataclasses.fields(now)} - {"checkpoint_file", "loss_value"}
    changes = []
    for name in sorted(compared, key=[*words, *vars(now)].index):
        old, new = getattr(then, name), getattr(now, name)
        if plain(old) != plain(new) or (name == "examples" and new is None):
            changes.append(words.get(name, f"{name} was {old} and is {new}"))
    recorded, loss = then.loss_value, now.loss_value
    if loss is not None and (recorded is None or not agree(recorded, loss, now.dtype)):
        before = "not recorded" if recorded is None else f"{recorded:.6g}"
        changes.append(f"its loss is {before}, and here it is {loss:.6g}")
    return changes


@functools.cache
def _schema() -> dict[str, Any]:
    text = resources.files("landscape.records").joinpath("measure.schema.json").read_text(encoding="utf-8")
    return cast(dict[str, Any], json.loads(text))


def json_schema() -> dict[str, Any]:
    """The published JSON Schema of one record."""
    return copy.deepcopy(_schema())


def _typed(value: Any, rule: Mapping[str, Any], place: str) -> Any:
    """A value read by a rule of the schema; what the rules call a number or an amount becomes a float.

    Only the part of JSON Schema that ``measure.schema.json`` uses is understood: the library for all of it is no
    dependency of the package.
    """
    if "$ref" in rule:
        name = rule["$ref"].rpartition("/")[2]
        value = _typed(value, _schema()["$defs"][name], place)
        return float(value) if name in ("number", "amount") else value
    if "anyOf" in rule:
        for alternative in rule["anyOf"]:
            try:
                return _typed(value, alternative, place)
            except InputError:
                continue
        raise _wrong(value, place)
    kinds = rule.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if (
        ("const" in rule and value != rule["const"])
        or ("enum" in rule and value not in rule["enum"])
        or (kinds and not any(_is(value, kind) for kind in kinds))
        or (isinstance(value, str) and "pattern" in rule and not re.fullmatch(rule["pattern"], value))
        or (number and not rule.get("minimum", -math.inf) <= value <= rule.get("maximum", math.inf))
    ):
        raise _wrong(value, place)
    if isinstance(value, list):
        return [_typed(item, rule.get("items", {}), place) for item in value]
    if not isinstance(value, dict):
        return value
    absent = [name for name in rule.get("required", []) if name not in value]
    if absent:
        raise InputError(f"{place} has no {absent[0]}")
    known, others = rule.get("properties", {}), rule.get("additionalProperties", {})
    for name in value:
        if name not in known and others is False:
            raise InputError(f"{place} has a field {reprlib.repr(name)} that is not known")
    return {name: _typed(item, known.get(name, others), name) for name, item in value.items()}


def _is(value: object, kind: str) -> bool:
    return isinstance(value, _TYPES[kind]) and not (isinstance(value, bool) and kind in ("number", "integer"))


def _wrong(value: object, place: str) -> InputError:
    return InputError(f"a field is wrong: {place} is {reprlib.repr(value)}")


def plain(value: object) -> Any:
    """The value in JSON's own types: what JSON has no literal for as text, tuples as lists."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
