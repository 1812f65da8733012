"""Measures of a network during its training, on examples that stay the same: how flatness develops."""

import copy
import dataclasses
import functools
import io
import json
import operator
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from landscape import records
from landscape.checkpoints.opening import open_file
from landscape.checkpoints.pinned import pinned
from landscape.curvature import dominant_eigenpair
from landscape.data import subset
from landscape.errors import InputError, Remark, UsageError
from landscape.isolation.randomness import preserved_randomness
from landscape.measures import MEASURES, measured_or_recalled
from landscape.objective import Objective
from landscape.records.estimate import Estimate
from landscape.records.run_folder import read_lines
from landscape.records.storage import append_line, sha256, write_whole
from landscape.registry.names import Specification, split_of
from landscape.tracking.optimizer_state import beside_threshold, known_to
from landscape.training.batch_norm import unsynchronised
from landscape.training.run import RunFiles
from landscape.training.session import Session

# Some tens of gradients on the examples of a split.
CHEAP = ("loss", "accuracy", "gradient-norm", "surrogate-gap", "dominant-eigenvalue:method=lanczos")

Vectors = dict[str, dict[int, Tensor]]
"""Eigenvectors ``(n,)`` by split and step."""


@dataclasses.dataclass(frozen=True)
class Measuring:
    """What to measure during training, and when. It does not affect the weights.

    After epochs the network is measured that is saved, which some runs average; after steps, the weights that are
    trained. Measures along the next update, or with the preconditioner of the optimizer, get them from the base.

    Attributes:
        every: Epochs or steps between measurements; the end of the run is always measured.
        names: Measures with options.
        limit: Examples of each split, the same ones every time.
        batch_size: Examples per batch.
        unit: What ``every`` counts.

    Raises:
        UsageError: A name or a number is not allowed.
    """

    every: int
    names: Sequence[str] = CHEAP
    limit: int = 1024
    batch_size: int = 128
    unit: Literal["epochs", "steps"] = "epochs"

    def __post_init__(self) -> None:
        for name in ("every", "limit", "batch_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"measure_{name}={getattr(self, name)} must be at least 1")
        if not self.names:
            raise UsageError("measure_names names nothing; leave it out for the cheap ones")
        for part, name in map(split_of, self.names):
            if part is not None:
                raise UsageError(f"'{part}:{name}': training measures both splits; leave out the '{part}:'")
        if self.unit not in ("epochs", "steps"):
            raise UsageError(f"unit={self.unit!r} is not one of epochs, steps")
        object.__setattr__(self, "names", tuple(str(MEASURES.parse(name)) for name in self.names))

    def is_due(self, session: Session) -> bool:
        """Whether the network is measured now."""
        if self.unit == "epochs" and session.within_epoch:
            return False
        done = session.epoch if self.unit == "epochs" else session.step
        return done > 0 and (done % self.every == 0 or session.step == session.steps)

    def take(
        self, session: Session, files: RunFiles, *, pause: Callable[[], None], begins: bool
    ) -> dict[str, float]:
        """Appends to the run's ``measures-history.jsonl`` what it lacks of the network at this step.

        The processes of a run divide the examples; the first one alone reads and writes files.

        Args:
            session: The run, between two steps.
            files: Its folder, which holds the checkpoint of the session if it is between two epochs.
            pause: Called before each measure; if it raises, all lines of a split are on disk or none.
            begins: Whether this process has made no step yet, so that an earlier one may have measured here.

        Returns:
            The new values by split and measure: ``train/gradient-norm``.
        """
        values: dict[str, float] = {}
        group, is_first = session.group, session.group.rank == 0
        file = files.measures_history
        network, is_saved = self._network(session)
        digest, known, vectors = group.once(
            lambda: (
                sha256(files.checkpoint) if is_saved else None,
                [e.estimate for e in read_lines(file).during if e.step == session.step] if begins else [],
                read_starts(files.starts),
            )
        )
        with preserved_randomness(session.device):
            for split in ("train", "test"):
                objective = self._objective(network, session, split, digest)
                earlier = [step for step in vectors.get(split, {}) if step < session.step]
                start = vectors[split][max(earlier)] if earlier else None
                if start is not None and start.numel() != objective.dimension:
                    start = None
                estimates = self._measured(objective, session, known, start, pause)
                values |= {f"{split}/{name}": estimate.value for name, estimate in estimates.items()}
                vector = _dominant_eigenvector(objective, estimates, start)
                # All lines at once, after the vector: measures share gradients, so the cost of one depends on the
                # others, and a process that was killed here has to repeat all of them from the same start.
                place = {"epoch": session.epochs_done, "step": session.step}
                lines = [
                    {**place, **json.loads(records.to_json(estimate))} for estimate in estimates.values()
                ]
                with group.together():
                    if is_first and vector is not None:
                        of_split = _kept(vectors.get(split, {}), session, vector)
                        vectors = {**vectors, split: of_split}
                        _write_starts(files.starts, vectors)
                    if is_first and lines:
                        append_line(file, "\n".join(json.dumps(line, allow_nan=False) for line in lines))
        return values

    def _network(self, session: Session) -> tuple[nn.Module, bool]:
        """The network that is measured, and whether it is the one that is on disk."""
        if self.unit == "epochs" or not (session.within_epoch or session.averages):
            return session.evaluated, True
        return session.copied(), False

    def _measured(
        self,
        objective: Objective,
        session: Session,
        known: Sequence[Estimate],
        start: Tensor | None,
        pause: Callable[[], None],
    ) -> dict[str, Estimate]:
        """The estimates that are not known yet, by the name of the measure with its options."""
        estimates: dict[str, Estimate] = {}

        def compute(specification: Specification, objective: Objective) -> Estimate:
            extra = known_to(session.optimizer, specification, objective, session.model)
            estimate = MEASURES.build(specification, objective, start=start, **extra)
            return beside_threshold(estimate, session.optimizer)

        for name in self.names:
            pause()
            keep = functools.partial(operator.setitem, estimates, name)
            measured_or_recalled(objective, MEASURES.parse(name), known, compute=compute, keep=keep)
        return estimates

    def _objective(self, network: nn.Module, session: Session, split: str, digest: str | None) -> Objective:
        recipe, subject = session.recipe, session.subject
        examples, indices = subset(session.data.split(split), self.limit)
        objective = Objective(
            unsynchronised(copy.deepcopy(network)).eval(),
            subject.mean,
            DataLoader(examples, batch_size=self.batch_size, collate_fn=session.data.collate),
            processes="alone" if session.group.alone else "split",
        )
        return objective.described(
            model=recipe.model,
            data=session.data.name,
            split=split,
            subset=indices,
            loss=subject.loss_name,
            checkpoint=digest,
            recipe=recipe.to_dict(),
            code=subject.code,
        )


def _dominant_eigenvector(
    objective: Objective, estimates: Mapping[str, Estimate], start: Tensor | None
) -> Tensor | None:
    """The Hessian's dominant eigenvector ``(n,)``, if it has just been computed for a measure."""
    for name in estimates:
        options: dict[str, Any] = MEASURES.settings(name)
        if MEASURES.parse(name).name == "dominant-eigenvalue" and options["operator"] == "hessian":
            # The objective has cached it, since the options are those of the measure.
            return dominant_eigenpair(objective, start=start, **options).vector
    return None


# The eigenvectors of some measurements are kept beside the run, because the next eigenvalue search starts at the last
# one. In memory alone they would be lost with the process, and what is measured after an interruption would differ in
# the last digits from an uninterrupted run. Two bytes a number suffice for a start to which a tenth of noise is added,
# and keep the file about as large as the weights.


def read_starts(path: Path) -> Vectors:
    """The eigenvectors of the last measurements; none, with a remark, if the file is damaged."""
    try:
        with pinned(path) as file:
            content = open_file(file, trust=False).content
        return {
            split: {s: v for s, v in vectors.items() if isinstance(s, int) and isinstance(v, Tensor)}
            for split, vectors in content.items()  # type: ignore[attr-defined]
        }
    except FileNotFoundError:
        return {}
    except (InputError, AttributeError):  # damaged, or of another kind
        warnings.warn(
            f"{path} is damaged; eigenvalue searches start from the gradient, with the same results within their "
            "residuals",
            Remark,
            stacklevel=2,
        )
        return {}


def _kept(vectors: Mapping[int, Tensor], session: Session, vector: Tensor) -> dict[int, Tensor]:
    """The vectors of a split with that of this step, and of the earlier ones those that may be a start again."""
    earlier = sorted(step for step in vectors if step < session.step)
    # The last one if the process is killed before the new estimates are on disk. A run that is killed goes on from
    # the checkpoint, which is of a step between the last two or of the end of the last epoch.
    saved = [step for step in earlier if step <= session.epoch * session.steps_per_epoch]
    kept = {step: vectors[step] for step in (*saved[-1:], *earlier[-1:])}
    return {**kept, session.step: vector.detach().cpu().bfloat16()}


def _write_starts(path: Path, vectors: Vectors) -> None:
    buffer = io.BytesIO()
    torch.save({name: vectors[name] for name in sorted(vectors)}, buffer)
    write_whole(path, buffer.getvalue())
