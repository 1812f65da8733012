"""Measures at one point, each computed now or recalled from a record of the same quantity."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from landscape.errors import UsageError
from landscape.measures.progress import shown
from landscape.measures.reading import require_objective
from landscape.measures.table import DEFAULT, MEASURES
from landscape.objective import Objective
from landscape.records import agree, append, find, outdated, read
from landscape.records.estimate import Estimate
from landscape.records.estimates import Estimates
from landscape.registry.names import Specification

# Every check of a record computes them, so that a file never has to be believed for them.
ALWAYS_COMPUTED = ("loss", "accuracy")


@dataclass(frozen=True)
class Answer:
    """An estimate and how it was obtained.

    Attributes:
        estimate: The estimate.
        recalled: Whether it was read from a record instead of computed now.
        outdated: Why the last record of the same question does not hold any more; ``None`` if there is none.
    """

    estimate: Estimate
    recalled: bool
    outdated: str | None = None


def measured_or_recalled(
    objective: Objective,
    specification: Specification,
    known: Sequence[Estimate],
    *,
    compute: Callable[[Specification, Objective], Estimate] = MEASURES.build,
    keep: Callable[[Estimate], None] | None = None,
) -> Answer:
    """One measure: the record of the same quantity if everything it depends on is unchanged, else a new estimate.

    Args:
        objective: The point.
        specification: The measure with its options.
        known: The records, the latest last.
        compute: Called if no record holds; the place for a progress bar.
        keep: Called with a new estimate that is not on record yet.
    """
    name, settings = specification.name, MEASURES.settings(specification)
    # The loss is compared only where it is known already: whoever wants that computes it first.
    origin = dataclasses.replace(objective.provenance, loss_value=objective.known_loss)
    match = find(known, measure=name, settings=settings, provenance=origin)
    if match is None:
        reason = outdated(known, measure=name, settings=settings, provenance=origin)
        estimate = compute(specification, objective)
    elif name not in ALWAYS_COMPUTED:
        return Answer(match, recalled=True)
    else:
        reason, estimate = None, compute(specification, objective)
    if keep is not None and (match is None or not agree(match.value, estimate.value, origin.dtype)):
        keep(estimate)
    return Answer(estimate, recalled=False, outdated=reason)


def measure(
    objective: Objective,
    names: str | Sequence[str | Specification] | None = None,
    *,
    records: str | Path | None = None,
    progress: bool | None = None,
) -> Estimates:
    """Takes several measures at one point; what they share is computed once.

    Args:
        objective: The point.
        names: A measure as typed, or several: ``["gradient-norm", "surrogate-gap:rho=0.1"]``; ``None`` for
            :data:`~landscape.measures.table.DEFAULT`.
        records: A file of JSON lines, as ``landscape measure`` writes it. Estimates on record are not computed
            again while weights, examples, settings, versions and the loss are the same; each new one is appended
            as soon as it is computed. A change of your own code that leaves the loss as it is goes unnoticed.
        progress: Whether to show a bar while it takes long; ``None`` for one in a terminal and in a notebook.

    Returns:
        One estimate a name, in the order of the names, which can also be read by name: ``found["hessian-trace"]``.

    Raises:
        UsageError: A name or option is unknown; nothing has been computed then.
    """
    require_objective(objective)
    specifications = _specifications(DEFAULT if names is None else names)
    with shown(objective, wanted=progress):
        if records is None:
            return Estimates(MEASURES.build(specification, objective) for specification in specifications)
        return _recorded(objective, specifications, Path(records))


def _recorded(objective: Objective, specifications: Sequence[Specification], file: Path) -> Estimates:
    """Each measure, from the file where that holds it."""
    group = objective.processes
    known = group.once(lambda: read(file).estimates if file.is_file() else (), call="reading of records")
    if objective.provenance.checkpoint is None:
        objective = objective.described(checkpoint=_weights_digest(objective))
    _ = objective.loss  # computed before any measure, so that records know it and are compared by it

    def keep(estimate: Estimate) -> None:
        with group.together("writing of records"):
            if group.rank == 0:
                append(file, estimate)

    answer = partial(measured_or_recalled, objective, known=known, keep=keep)
    return Estimates(answer(specification).estimate for specification in specifications)


def _specifications(names: str | Sequence[str | Specification]) -> list[Specification]:
    """The measures of these names, of which one may be typed alone."""
    parts: Sequence[Any] = [names] if isinstance(names, str) or callable(names) else names
    for name in parts:
        if not isinstance(name, (str, Specification)):
            label = getattr(name, "__name__", type(name).__name__)
            way_out = (
                f"call it, {label}(objective)" if callable(name) else "pass names such as 'hessian-trace'"
            )
            raise UsageError(f"measures are typed as text, not as {label}: {way_out}")
    return [MEASURES.parse(name) for name in parts]


def _weights_digest(objective: Objective) -> str:
    """The SHA-256 of the network's tensors at the point: what identifies weights that were read from no file.

    The loss alone does not identify them: networks that fit their data perfectly all have a loss near 0.
    """
    # The free parameters of the network are those of the point that was evaluated last.
    frozen = {name: p for name, p in objective.network.named_parameters() if not p.requires_grad}
    shards, digest = objective.shards, hashlib.sha256()
    for tensor in shards.in_turn(objective.point):
        digest.update(tensor.cpu().numpy().tobytes())
    for name, tensor in {**frozen, **objective.statistics}.items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().numpy().tobytes())
    parts = set(shards.group.gathered(digest.hexdigest()))  # which differ where a frozen tensor is divided
    return parts.pop() if len(parts) == 1 else hashlib.sha256("".join(sorted(parts)).encode()).hexdigest()
