"""A checkpoint opened, and loss and accuracy before any measure, which reveal a wrong normalisation or class order."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from landscape.errors import InputError, UsageError
from landscape.records.run_folder import CHECKPOINT
from landscape.tables.escaping import visible

from .terminal import note

if TYPE_CHECKING:
    from torch import nn

    from landscape.checkpoints import Checkpoint
    from landscape.objective import Objective
    from landscape.processes.group import Group

    from .options import Subject

_ACCURACY = re.compile(r"(\d+(?:\.(\d+))?)\s*%?\s*(?:(?:±|\+/?-)\s*(\d+(?:\.\d+)?)\s*%?)?")


def opened(path: str, subject: "Subject", group: "Group") -> "Checkpoint":
    """The checkpoint at a path, opened by all processes; what has to be fetched is fetched by the first one alone."""
    is_fetched = not Path(path).exists() or "download" in (subject.data or "")
    checkpoint = None
    for turn in (True, False) if is_fetched and not group.alone else (None,):
        with group.together():
            if turn is None or turn == (group.rank == 0):
                checkpoint = subject.open(path)
    assert checkpoint is not None
    return checkpoint


def other_network(path: str, checkpoint: "Checkpoint", subject: "Subject") -> "nn.Module":
    """The network of another checkpoint of the same kind, read by the same flags."""
    return checkpoint.network_of(
        path,
        trust=subject.trust,
        weights=subject.weights,  # type: ignore[arg-type]
        drop=subject.drop,
        rename=subject.rename,
    )


def short_names(paths: Sequence[str]) -> list[str]:
    """Names of the files, or of their folders if every run names its file so."""
    places = [Path(path) for path in paths]
    names = [place.parent.name if place.name == CHECKPOINT else place.stem for place in places]
    return names if len(set(names)) == len(names) else list(paths)


def preflight(
    path: str, checkpoint: "Checkpoint", objective: "Objective", *, expected: str | None = None
) -> str:
    """The subject with its loss and accuracy, and what was done to fit the network to it, a line each.

    A loss that is not finite, and an accuracy that is not the ``expected`` one (``95.1±0.2`` in percent), are refused.
    """
    limits = None if expected is None else _parsed(expected)
    origin = objective.provenance
    where = f"{origin.data} {origin.split}"
    note(f"computing the loss on {where}…")
    if not math.isfinite(objective.loss):
        raise InputError(
            f"{path}: the loss on {origin.data} is {objective.loss}; nothing can be measured there"
        )
    accuracy = objective.accuracy
    if limits is not None:
        if accuracy is None:
            raise InputError(
                f"{path}: --expect-accuracy {expected}, but there is no accuracy on {where} with the loss {origin.loss}"
            )
        if (
            not abs(100 * accuracy - limits[0]) <= limits[1] + 1e-9
        ):  # decimal percents are not exact in binary
            raise InputError(
                f"{path}: the accuracy on {where} ({origin.num_examples:,} examples) is {accuracy:.2%}, not "
                f"{limits[0]:g} ± {limits[1]:g} %; is it another split, normalisation, class order or model?"
                f"{' --expect-accuracy is in percent: 95.1' if limits[0] <= 1 else ''}"
            )
    notes = [*checkpoint.notes, *objective.notes]
    if origin.batch_norm == "batch":
        notes.append("batch norm uses the statistics of each batch: numbers depend on the batch size")
    head = (
        f"{path}: {origin.model}, {origin.dimension:,} parameters; {where}, {_count(checkpoint, objective)} examples: "
        f"loss {objective.loss:.5g}{'' if accuracy is None else f', accuracy {accuracy:.2%}'}"
    )
    return "\n".join([visible(head), *(f"  {visible(note)}" for note in dict.fromkeys(notes))])


def _count(checkpoint: "Checkpoint", objective: "Objective") -> str:
    """The number of examples, and of how many they are a part."""
    from landscape.data import FixedBatches, examples_of

    count, split = objective.provenance.num_examples, objective.provenance.split
    examples = examples_of(checkpoint.data, str(split))
    total = 0 if isinstance(examples, FixedBatches) else len(examples)  # type: ignore[arg-type]
    return f"{count:,} of {total:,}" if count < total else f"{count:,}"


def _parsed(text: str) -> tuple[float, float]:
    """Percent and tolerance; without one, half a unit of the last digit."""
    match = _ACCURACY.fullmatch(text.strip())
    if match is None or float(match[1]) > 100:
        raise UsageError(f"--expect-accuracy {text} is not a percentage such as 95.1±0.2, 95.1+-0.2 or 95.1")
    digits = len(match[2] or "")
    return float(match[1]), float(match[3]) if match[3] else 0.5 * 10.0**-digits
