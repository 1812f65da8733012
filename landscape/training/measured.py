"""Measures of a network while it is trained, on examples that stay the same: how flatness comes about."""

import copy
import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import nn

from landscape import records
from landscape.curvature.eigenpairs import dominant_eigenvector, suggest_start
from landscape.data import Data, subset
from landscape.errors import UsageError
from landscape.isolation import preserved_randomness
from landscape.measures import MEASURES
from landscape.objective import Objective
from landscape.records.estimate import Estimate
from landscape.records.storage import append_line, sha256
from landscape.registry.names import Specification
from landscape.training import starts as kept_starts
from landscape.training.recipe import Recipe

CHEAP = ("loss", "accuracy", "gradient-norm", "surrogate-gap", "dominant-eigenvalue:method=lanczos")
"""What is measured when nothing is asked for: some tens of gradients on the examples."""


@dataclasses.dataclass(frozen=True)
class Measuring:
    """What to measure during training, and when. It leaves no trace in the weights.

    Attributes:
        every: Epochs from one measurement to the next; the last epoch is always measured.
        names: Measures with options.
        limit: Examples of each split, the same ones every time.
        batch_size: Examples a batch.

    Raises:
        UsageError: A name or a number is not allowed.
    """

    every: int
    names: Sequence[str] = CHEAP
    limit: int = 1024
    batch_size: int = 128

    def __post_init__(self) -> None:
        for name in ("every", "limit", "batch_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"measure_{name}={getattr(self, name)} must be at least 1")
        if not self.names:
            raise UsageError("measure_names names nothing; leave it out for the cheap ones")
        object.__setattr__(self, "names", tuple(str(MEASURES.parse(name)) for name in self.names))

    def is_due(self, epoch: int, epochs: int) -> bool:
        """Whether a network is measured when so many epochs of all are complete."""
        return epoch > 0 and (epoch % self.every == 0 or epoch == epochs)

    def take(
        self,
        model: nn.Module,
        data: Data,
        recipe: Recipe,
        *,
        checkpoint: Path,
        output: Path,
        starts: Path,
        epoch: int,
        step: int,
        pause: Callable[[], None],
    ) -> dict[str, float]:
        """Append what is missing in ``output`` of the network in ``checkpoint``.

        Args:
            model: The network in that file; it is copied.
            data: What it is measured on, train and test.
            recipe: How it is trained.
            checkpoint: The file of the run, as it is after ``epoch`` epochs.
            output: JSON lines: records with ``epoch`` and ``step`` before them.
            starts: The eigenvectors that were found last: the next search starts there, for fewer products.
            epoch: Complete epochs.
            step: Steps in all of them.
            pause: Called before each measure; what it raises leaves all lines of a split or none.

        Returns:
            What was not there, by split and measure: ``train/gradient-norm``.
        """
        taken: dict[str, float] = {}
        digest = sha256(checkpoint)
        known = records.read(output).estimates if output.is_file() else ()
        vectors = kept_starts.read(starts)
        specifications = [MEASURES.parse(name) for name in self.names]
        device = next(model.parameters()).device
        with preserved_randomness(device):
            for split in ("train", "test"):
                objective = self._objective(model, data, recipe, split, digest)
                vector = kept_starts.before(vectors, split, epoch)
                if vector is not None and vector.numel() == objective.dimension:
                    suggest_start(objective, vector)
                lines = []
                for specification in specifications:
                    pause()
                    if not _is_known(known, specification, objective):
                        estimate = MEASURES.build(specification, objective)
                        lines.append(_line(estimate, epoch, step))
                        taken[f"{split}/{specification}"] = estimate.value
                found = dominant_eigenvector(objective)
                if found is not None:
                    vectors = kept_starts.write(starts, vectors, split, epoch, found)
                # All at once, after the vector: measures share gradients, so that what one of them costs depends on
                # the others, and a process that is killed on the way must repeat them from the same start.
                if lines:
                    append_line(output, "\n".join(lines))
        return taken

    def _objective(self, model: nn.Module, data: Data, recipe: Recipe, split: str, digest: str) -> Objective:
        examples, indices = subset(data.split(split), self.limit)
        smoothing = recipe.label_smoothing
        objective = Objective(
            copy.deepcopy(model).eval(),
            nn.CrossEntropyLoss(label_smoothing=smoothing),
            cast("torch.utils.data.Dataset[object]", examples),
            batch_size=self.batch_size,
        )
        return objective.described(
            model=recipe.model,
            data=data.name,
            split=split,
            subset=indices,
            loss=f"cross-entropy:label_smoothing={smoothing}" if smoothing else "cross-entropy",
            checkpoint=digest,
            recipe=recipe.to_dict(),
        )


def _is_known(known: Sequence[Estimate], specification: Specification, objective: Objective) -> bool:
    settings = MEASURES.settings(specification)
    found = records.find(
        known, measure=specification.name, settings=settings, provenance=objective.provenance
    )
    return found is not None


def _line(estimate: Estimate, epoch: int, step: int) -> str:
    fields = {"epoch": epoch, "step": step, **json.loads(records.to_json(estimate))}
    return json.dumps(fields, allow_nan=False)
