"""What a caption has to say for a figure of measures or of training to be checked and made again."""

from collections.abc import Iterable, Mapping, Sequence

from landscape.plotting.sources import Run
from landscape.records.estimate import Estimate

_SHOWN_CHECKPOINTS = 6


def record_caption(estimates: Sequence[Estimate], *, drawn: str, command: str | None = None) -> str:
    """The stub of a caption of measures: of what, on what, with which settings, of which checkpoints.

    Args:
        estimates: What is drawn.
        drawn: How: the first sentence, without its full stop.
        command: What drew it.
    """
    origins = [estimate.provenance for estimate in estimates]
    splits = _listed(origin.split for origin in origins)
    batch = _listed(origin.batch_size for origin in origins)
    parts = [
        f"{drawn}.",
        f"{_listed(o.model for o in origins) or 'The network'} on {_listed(o.data for o in origins) or 'the data'}"
        f"{f', {splits} split' if splits else ''}, n = {_listed(o.num_examples for o in origins)}"
        f"{f', batches of {batch}' if batch else ''}, {_listed(o.loss for o in origins) or 'loss'}.",
        *_settings(estimates),
        f"Batch norm: {_listed(o.batch_norm for o in origins)} statistics.",
        _repetitions(origin.recipe or {} for origin in origins),
        _checkpoints(origin.checkpoint for origin in origins),
        f"Made by `{command}`." if command else "",
    ]
    return " ".join(part for part in parts if part)


def history_caption(runs: Sequence[Run], *, drawn: str, command: str | None = None) -> str:
    """The stub of a caption of training curves; where measures were taken on the way, with their settings.

    Args:
        runs: What is drawn.
        drawn: Which quantities.
        command: What drew it.
    """
    counts: dict[str, int] = {}
    for run in runs:
        counts[run.label] = counts.get(run.label, 0) + 1
    several = "; ".join(f"{label}: {count} runs" for label, count in counts.items() if count > 1)
    parts = [
        f"{drawn} during training, solid on train, dashed on test.",
        f"Mean of {several}; the band reaches from the lowest run to the highest." if several else "",
    ]
    measured = [estimate for run in runs for _, estimate in run.measured]
    if measured:
        parts.append(record_caption(measured, drawn="Measures on the way").partition(". ")[2])
    if command:
        parts.append(f"Made by `{command}`.")
    return " ".join(part for part in parts if part)


def _settings(estimates: Iterable[Estimate]) -> list[str]:
    seen: dict[str, None] = {}
    for estimate in estimates:
        options = ", ".join(f"{key} {value}" for key, value in estimate.settings.items())
        if options:
            seen.setdefault(f"{estimate.measure}: {options}.")
    return list(seen)


def _repetitions(recipes: Iterable[Mapping[str, object]]) -> str:
    seeds: dict[str, dict[str, None]] = {}
    for recipe in recipes:
        if "optimizer" in recipe:
            seeds.setdefault(str(recipe["optimizer"]), {}).setdefault(str(recipe.get("seed", "unknown")))
    if not seeds:
        return ""
    return f"Seeds of {'; '.join(f'{name}: {_listed(found)}' for name, found in seeds.items())}."


def _checkpoints(hashes: Iterable[str | None]) -> str:
    found = list(dict.fromkeys(digest[:12] for digest in hashes if digest))
    if not found:
        return ""
    more = f" and {len(found) - _SHOWN_CHECKPOINTS} more" if len(found) > _SHOWN_CHECKPOINTS else ""
    return f"Checkpoint{'s' if len(found) > 1 else ''} {', '.join(found[:_SHOWN_CHECKPOINTS])}{more}."


def _listed(values: Iterable[object]) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values if value is not None))
