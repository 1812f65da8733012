"""Which records may be set side by side, and what to call the quantities in them."""

from collections.abc import Iterable, Mapping, Sequence

from landscape.errors import InputError
from landscape.records.estimate import Estimate

COMPARABLE: Mapping[str, str] = {
    "data": "give runs of one data set",
    "split": "choose one with --split",
    "subset": "choose one with --limit or --split",
    "num_examples": "choose one with --limit",
    "batch_size": "choose one with --batch-size",
    "batch_norm": "choose one with --batch-norm",
    "dtype": "choose one with --dtype",
    "dimension": "give runs of one network, or make rows of it with --by model",
    "loss": "give runs measured with one loss",
    "code": "measure all of them again with the files of now",
}
"""Fields of the provenance that must agree before numbers are set side by side, and the way out."""
REPEATED = ("seed", "device")
"""Fields of the recipe in which the runs of one row may differ."""


def refuse_unlike(records: Iterable[Estimate], *, but: Sequence[str] = ()) -> None:
    """Raises :class:`InputError`, naming the field, if records may not be set side by side.

    Args:
        records: Of any runs.
        but: Fields of :data:`COMPARABLE` that may differ.
    """
    taken = list(records)
    for name, way_out in COMPARABLE.items():
        seen = dict.fromkeys(getattr(record.provenance, name) for record in taken)
        if len(seen) > 1 and name not in but:
            raise InputError(
                f"the records differ in {name} ({_shown(seen)}), so their numbers cannot be compared; {way_out}"
            )


def refuse_other_runs(row: str, records: Sequence[Estimate], rows: Sequence[str]) -> None:
    """Raises :class:`InputError` if the runs of a row differ in more than the seed, or one is there twice.

    Anything else than another seed is not a repetition, and its mean says nothing.

    Args:
        row: What the row is called.
        records: One of each of its runs.
        rows: The fields that make the rows.
    """
    recipes = [dict(record.provenance.recipe or {}) for record in records]
    for name in differing(recipes):
        if name not in REPEATED:
            seen = dict.fromkeys(str(recipe.get(name)) for recipe in recipes)
            raise InputError(
                f"the runs of row '{row}' differ in {name} ({_shown(seen)}), not only in their seed; "
                f"make rows of it with --by {','.join([*rows, name])}, or compare them one by one"
            )
    seeds = [recipe.get("seed") for recipe in recipes]
    twice = next((seed for seed in seeds if seeds.count(seed) > 1), None)
    if twice is not None:
        raise InputError(
            f"row '{row}' has {seeds.count(twice)} checkpoints of the run with seed {twice}: they are no "
            "repetitions; give the records of one checkpoint a run"
        )


def differing(recipes: Sequence[Mapping[str, object]]) -> list[str]:
    """The fields that are not the same in all recipes."""
    names = dict.fromkeys(key for recipe in recipes for key in recipe)
    return [name for name in names if len({str(recipe.get(name)) for recipe in recipes}) > 1]


def setting_labels(records: Sequence[Estimate]) -> list[str]:
    """What to call the quantity of each record: its measure, with the settings that tell it from its like."""
    like: dict[str, list[Estimate]] = {}
    for record in records:
        like.setdefault(record.measure, []).append(record)
    return [_label(record, like[record.measure]) for record in records]


def belongs_to(record: Estimate) -> str:
    """What tells the run of a record from others: its checkpoint, or its recipe where it names no checkpoint."""
    origin = record.provenance
    return origin.checkpoint or str(sorted((key, str(value)) for key, value in (origin.recipe or {}).items()))


def other_examples(records: Sequence[Estimate]) -> list[str]:
    """A remark if records on data of one name were not computed from the same bytes.

    That is no error: pictures may be decoded by another version to values that differ in a last digit.
    """
    seen: dict[tuple[object, ...], set[str]] = {}
    for record in records:
        origin = record.provenance
        noise = (origin.recipe or {}).get("label_noise")  # on purpose: other labels are the point of it
        if origin.examples is not None:
            seen.setdefault((origin.split, noise), set()).add(origin.examples)
    if all(len(hashes) == 1 for hashes in seen.values()):
        return []
    return [
        "the examples do not hold the same bytes for all runs: the data have changed; measure all of them again"
    ]


def settings_key(record: Estimate) -> str:
    """The settings of a record in one line: equal ones are the same quantity."""
    return ",".join(f"{key}={value}" for key, value in sorted(record.settings.items()))


def _label(record: Estimate, like: Sequence[Estimate]) -> str:
    telling = [
        f"{key}={value}"
        for key, value in record.settings.items()
        if any(other.settings.get(key) != value for other in like)
    ]
    return f"{record.measure}:{','.join(telling)}" if telling else record.measure


def _shown(seen: Iterable[object]) -> str:
    return " and ".join(str(value) for value in list(seen)[:2])
