"""Captions of figures of measures and of training, with what is needed to check and reproduce them."""

from collections import Counter
from collections.abc import Iterable, Sequence

from landscape.plotting.caption import joined
from landscape.plotting.sources import Run
from landscape.records.estimate import Estimate

_MOST_CHECKPOINTS = 6


def record_caption(estimates: Sequence[Estimate], *, drawn: str, command: str | None = None) -> str:
    """The text of a caption of measures: of which networks, on which data, with which settings.

    Args:
        estimates: The estimates that are drawn.
        drawn: The first sentence, without its full stop.
        command: The command that draws the figure.
    """
    return joined([f"{drawn}.", *_facts(estimates)], command)


def history_caption(runs: Sequence[Run], *, drawn: str, command: str | None = None) -> str:
    """The text of a caption of training curves, with the settings of measures that were taken during training.

    Args:
        runs: The runs that are drawn.
        drawn: Names of the quantities.
        command: The command that draws the figure.
    """
    counts = Counter(run.label for run in runs)
    several = "; ".join(f"{label}: {count} runs" for label, count in counts.items() if count > 1)
    parts = [f"{drawn} during training, solid on train, dashed on test."]
    if several:
        parts.append(f"Mean of {several}; the band reaches from the lowest run to the highest.")
    measured = [estimate for run in runs for _, estimate in run.measured]
    return joined([*parts, *(_facts(measured) if measured else [])], command)


def _facts(estimates: Sequence[Estimate]) -> list[str]:
    origins = [estimate.provenance for estimate in estimates]
    splits = _listed(origin.split for origin in origins)
    batch = _listed(origin.batch_size for origin in origins)
    settings: dict[str, None] = {}
    seeds: dict[str, list[str]] = {}
    for estimate in estimates:
        options = ", ".join(f"{key} {value}" for key, value in estimate.settings.items())
        if options:
            settings[f"{estimate.measure}: {options}."] = None
        recipe = estimate.provenance.recipe or {}
        if "optimizer" in recipe:
            seeds.setdefault(str(recipe["optimizer"]), []).append(str(recipe.get("seed", "unknown")))
    hashes = list(dict.fromkeys(o.checkpoint[:12] for o in origins if o.checkpoint))
    more = f" and {len(hashes) - _MOST_CHECKPOINTS} more" if len(hashes) > _MOST_CHECKPOINTS else ""
    some = ", ".join(hashes[:_MOST_CHECKPOINTS])
    return [
        f"{_listed(o.model for o in origins) or 'The network'} on {_listed(o.data for o in origins) or 'the data'}"
        f"{f', {splits} split' if splits else ''}, n = {_listed(o.num_examples for o in origins)}"
        f"{f', batches of {batch}' if batch else ''}, {_listed(o.loss for o in origins) or 'loss'}.",
        *settings,
        f"Batch norm: {_listed(o.batch_norm for o in origins)} statistics.",
        f"Seeds of {'; '.join(f'{name}: {_listed(each)}' for name, each in seeds.items())}." if seeds else "",
        f"Checkpoint{'s' if len(hashes) > 1 else ''} {some}{more}." if hashes else "",
    ]


def _listed(values: Iterable[object]) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values if value is not None))
