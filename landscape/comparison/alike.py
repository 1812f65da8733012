"""Which records may be compared, and what to call the quantities in them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

from landscape.errors import InputError
from landscape.records.estimate import Estimate

COMPARABLE: Mapping[str, str] = {
    "data": "give runs of one data set",
    "split": "choose one with --split",
    "subset": "measure all with one --limit and --split",
    "num_examples": "measure all with one --limit",
    "batch_size": "choose one with --batch-size",
    "batch_norm": "choose one with --batch-norm",
    "dtype": "choose one with --dtype",
    "parameters": "give records of one selection of parameters, with --parameters",
    "frozen": "give records of networks in which the same parameters require a gradient",
    "dimension": "give runs of one network, or make rows of it with --by model",
    "loss": "give runs measured with one loss",
    "code": "measure all of them again with the current files",
}
"""Fields of the provenance that must agree before numbers are compared, and what to do if they do not."""
OF_NETWORK = ("frozen", "dimension")
"""Those of :data:`COMPARABLE` in which networks of several sizes differ."""
OF_SPLIT = ("subset", "num_examples", "batch_size")
"""Those of :data:`COMPARABLE` that need not agree across splits; without a split, none of the three is known."""
ROW = "row"
"""The recipe field that holds the user's row label."""
REPEATED = ("seed", "device", "compile")
"""Fields of the recipe in which the runs of one row may differ."""


def refuse_unlike(records: Iterable[Estimate], *, but: Sequence[str] = ()) -> None:
    """Raises :class:`InputError`, naming the field, if records cannot be compared.

    Args:
        records: Records of any runs.
        but: Fields of :data:`COMPARABLE` that may differ.
    """
    provenances = [record.provenance for record in records]
    for name, way_out in COMPARABLE.items():
        values = dict.fromkeys(getattr(provenance, name) for provenance in provenances)
        if len(values) > 1 and name not in but:
            raise InputError(
                f"the records differ in {name} ({_two(values)}), so their numbers cannot be compared; {way_out}"
            )


def refuse_unlike_in_a_split(records: Sequence[Estimate], *, but: Sequence[str] = ()) -> None:
    """The same for records of several splits: data and examples agree within each, the rest everywhere."""
    splits = {record.provenance.split for record in records}
    if len(splits) < 2:
        refuse_unlike(records, but=but)
        return
    for part in splits:
        refuse_unlike((r for r in records if r.provenance.split == part), but=but)
    refuse_unlike(records, but=("split", *OF_SPLIT, *but))


def refuse_other_runs(row: str, records: Sequence[Estimate], rows: Sequence[str]) -> None:
    """Raises :class:`InputError` unless the runs of a row, of which one record each is given, are repetitions.

    They have the same recipe except for the seed, and each seed once.
    """
    refuse_other_recipes(row, [record.provenance.recipe or {} for record in records], rows)


def refuse_other_recipes(row: str, recipes: Sequence[Mapping[str, object]], rows: Sequence[str]) -> None:
    """The same for the recipes of the runs, which are known before anything is measured."""
    for name in differing(recipes):
        if name not in REPEATED:
            values = dict.fromkeys(str(recipe.get(name)) for recipe in recipes)
            raise InputError(
                f"the runs of row '{row}' differ in {name} ({_two(values)}), not only in their seed; "
                f"make rows of it with --by {','.join([*rows, name])}, or compare them separately"
            )
    seeds = [recipe.get("seed") for recipe in recipes]
    twice = next((seed for seed in seeds if seeds.count(seed) > 1), None)
    if twice is not None:
        raise InputError(
            f"row '{row}' has {seeds.count(twice)} checkpoints of the run with seed {twice}, which are not "
            "repetitions; give the records of one checkpoint per run"
        )


def in_order(recipes: Mapping[str, Mapping[str, object]], fields: Sequence[str]) -> tuple[str, ...]:
    """The rows of a table, of which one recipe each is given: a plain optimizer comes first.

    The first row is what the others are compared with. Rows that the user has named stay in the order of their names.
    """
    by_user = ROW in fields
    # The sort is stable.
    return tuple(sorted(recipes, key=lambda row: not by_user and not _is_plain(recipes[row])))


def _is_plain(recipe: Mapping[str, object]) -> bool:
    return recipe.get("optimizer") == recipe.get("base")


def row_label(recipe: Mapping[str, object], fields: Sequence[str]) -> str:
    """The label of the row of a run: the value of the first field, and those of the others with their names."""
    first, *others = fields
    return " ".join([str(recipe[first]), *(f"{name}={recipe[name]}" for name in others)])


def require_baseline(baseline: str | None, rows: Iterable[str]) -> None:
    """Raises :class:`InputError` if a baseline is named that is none of the rows."""
    rows = list(dict.fromkeys(rows))
    if baseline is not None and baseline not in rows:
        raise InputError(f"no row is called '{baseline}'; there are: {', '.join(rows)}")


def refuse_scattered(measure: str, settings: Sequence[Mapping[str, object]]) -> NoReturn:
    """Raises :class:`InputError` about a measure recorded with several settings, none of them for all runs."""
    name = differing(settings)[0]
    values = list(dict.fromkeys(str(each.get(name)) for each in settings))
    raise InputError(
        f"the records of {measure} differ in {name} ({_two(values)}), and no setting is recorded for all runs; "
        f"choose one with --measure {measure}:{name}={values[0]}"
    )


def differing(recipes: Sequence[Mapping[str, object]]) -> list[str]:
    """The fields that are not the same in all recipes."""
    names = dict.fromkeys(key for recipe in recipes for key in recipe)
    # As text, because values may be lists, which have no hash.
    return [name for name in names if len({str(recipe.get(name)) for recipe in recipes}) > 1]


def setting_labels(records: Sequence[Estimate]) -> list[str]:
    """Label of each record's quantity: its measure, with those settings in which records of it differ."""
    groups: dict[str, list[Estimate]] = {}
    for record in records:
        groups.setdefault(record.measure, []).append(record)
    labels = []
    for record in records:
        options = [
            f"{key}={value}"
            for key, value in record.settings.items()
            if any(other.settings.get(key) != value for other in groups[record.measure])
        ]
        labels.append(f"{record.measure}:{','.join(options)}" if options else record.measure)
    return labels


def column_labels(records: Sequence[Estimate]) -> list[str]:
    """The same, with the split in front if records are of more than one: ``test:accuracy``."""
    labels, parts = setting_labels(records), [record.provenance.split for record in records]
    if len({part for part in parts if part is not None}) < 2:
        return labels
    return [f"{part}:{label}" if part else label for part, label in zip(parts, labels, strict=True)]


def belongs_to(record: Estimate) -> str:
    """Identity of the run of a record: its checkpoint, or its recipe if it names no checkpoint."""
    origin = record.provenance
    return origin.checkpoint or str(sorted((key, str(value)) for key, value in (origin.recipe or {}).items()))


def settings_key(record: Estimate) -> str:
    """The settings of a record in one line; records with equal keys estimate the same quantity."""
    return ",".join(f"{key}={value}" for key, value in sorted(record.settings.items()))


def other_examples(records: Sequence[Estimate]) -> list[str]:
    """A remark if records on data of one name were not computed from the same bytes."""
    hashes: dict[tuple[object, ...], set[str]] = {}
    for record in records:
        origin = record.provenance
        noise = (origin.recipe or {}).get("label_noise")  # on purpose: other labels are the point of it
        if origin.examples is not None:
            hashes.setdefault((origin.split, noise), set()).add(origin.examples)
    # No error: another version of a decoder may read pictures to values that differ in the last digit.
    same = all(len(each) == 1 for each in hashes.values())
    remark = "the examples do not hold the same bytes for all runs: the data have changed; measure all of them again"
    return [] if same else [remark]


def _two(values: Iterable[object]) -> str:
    return " and ".join(str(value) for value in list(values)[:2])
