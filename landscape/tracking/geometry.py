"""Geometry while a network trains, in anybody's loop: measures every so many steps, for a share of the time."""

import copy
import dataclasses
import json
import math
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from landscape import records
from landscape.curvature import dominant_eigenpair, eigenpairs
from landscape.curvature.eigenpairs import preconditioned_eigenpair
from landscape.errors import InputError, Remark, UsageError
from landscape.isolation.randomness import preserved_randomness
from landscape.measures import MEASURES
from landscape.objective import Objective
from landscape.objective.batch import tensors_in
from landscape.objective.wrappers import unwrapped
from landscape.processes.group import Group, current_group
from landscape.records.estimate import Estimate
from landscape.records.history import truncate
from landscape.records.run_folder import MEASURES_HISTORY, TRACKER
from landscape.records.storage import append_line, write_whole
from landscape.registry.names import Specification
from landscape.tracking.logger import Ending, Guarded, Logger
from landscape.tracking.optimizer_state import beside_threshold, known_to, threshold_of

CHEAP = ("loss", "gradient-norm", "dominant-eigenvalue:tolerance=0.01", "critical-sharpness")
"""Some tens of gradients on the probe batches."""

_NEAR = 0.7  # of the threshold: from there on an eigenvalue may be the next to reach it
_MOST_EIGENVALUES = 16


class Tracker:
    """Measures a network every so many steps of a training loop, and changes nothing about the training.

    Weights, gradients, modes, buffers and the state of random numbers are as they were, to the last bit; what fails is
    said once and does not stop the loop::

        tracker = landscape.Tracker(model, "cross-entropy", probe_batches, every=50, budget=0.05, output="run")
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss_function(model(inputs), targets).backward()
            optimizer.step()
            tracker.step(optimizer)
        print(tracker.finish())

    The network is measured in evaluation mode, on a copy. An eigenvalue search starts at the eigenvector of the last
    measurement. ``critical-sharpness`` and ``directional-sharpness`` are along the next update of the optimizer,
    ``preconditioned-sharpness`` is with its preconditioner. ``top-eigenvalues`` counts one more when the last of them
    comes near the threshold of stability, 2/η for gradient descent.

    With several processes (DistributedDataParallel) all of them make the same calls with the same probe batches, which
    they divide; the first one writes.

    Args:
        model: The network that is trained.
        loss: As of :class:`landscape.Objective`.
        batches: The probe batches, the same ones at every measurement; as of :class:`landscape.Objective`.
        measures: Names with options.
        every: Steps between measurements, at least.
        budget: The largest share of the run's time that measurements may take, between 0 and 1; they are then further
            apart than ``every`` where that is needed. ``None`` for no limit.
        output: A folder, in which ``measures-history.jsonl`` gets a line a measure: those of ``landscape measure``
            with their step, for ``landscape plot`` and ``landscape watch``; ``tracker.json`` says whether it is over.
        loggers: Where values go as well, such as those of :data:`landscape.tracking.TRACKERS`.
        steps_done: Steps that were made before, of a run that is resumed; lines of later steps are removed.
        options: Further arguments of :class:`landscape.Objective`, such as ``dtype``.

    Attributes:
        steps: The steps so far.
        history: The step and the estimates of every measurement, by name.

    Raises:
        UsageError: A name or a number is not allowed, or what :class:`landscape.Objective` raises.
        InputError: The probe batches do not fit, or change.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Any,
        batches: Any,
        *,
        measures: Sequence[str] = CHEAP,
        every: int = 50,
        budget: float | None = None,
        output: Path | str | None = None,
        loggers: Sequence[Logger] = (),
        steps_done: int = 0,
        **options: Any,
    ) -> None:
        if every < 1:
            raise UsageError(f"every={every} must be at least 1")
        if budget is not None and not 0 < budget < 1:
            raise UsageError(
                f"budget={budget} is a share of the time, between 0 and 1; leave it out for no limit"
            )
        if not measures:
            raise UsageError("measures names nothing; leave it out for the cheap ones")
        self._specifications = [MEASURES.parse(name) for name in measures]
        self.steps = steps_done
        self.history: list[tuple[int, dict[str, Estimate]]] = []
        self._model, self._group = unwrapped(model)[0], current_group()
        self._clock = _Clock(every, budget, steps_done)
        self._starts: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._said: set[str] = set()
        options = {"processes": "alone" if self._group.alone else "split", **options}
        self._device = next((p.device for p in self._model.parameters()), None)
        with preserved_randomness(self._device):
            self._objective = Objective(self._copied(), loss, batches, copy=False, **options)
            _ = self._objective.loss  # and with it the first checks of the data
        self._probes, self._logger = _Probes(batches), Guarded(loggers if self._group.rank == 0 else ())
        folder = None if output is None else Path(output)
        self._file = self._group.once(lambda: None if folder is None else _file_in(folder, steps_done))
        self._ended = False
        self._say({"state": "running"})
        self._logger.begin({}, folder or Path("."), steps_done)

    def step(self, optimizer: torch.optim.Optimizer | None = None) -> dict[str, Estimate]:
        """Counts a step, and measures the network where that is due.

        Args:
            optimizer: That of the loop, after its step. Without it, directions are the gradient's and thresholds
                unknown.

        Returns:
            The estimates by name; empty where nothing was due.
        """
        self.steps += 1
        if "stopped" in self._said or not self._clock.due(self.steps, self._group):
            return {}
        return self.measure(optimizer)

    def measure(self, optimizer: torch.optim.Optimizer | None = None) -> dict[str, Estimate]:
        """Measures the network now, whether or not that is due."""
        begun = time.perf_counter()
        found: dict[str, Estimate] = {}
        try:
            with preserved_randomness(self._device), torch.enable_grad():
                self._probes.check()
                point = self._objective.of(self._copied(), copy=False)
                for specification in self._specifications:
                    self._one(point, specification, optimizer, found)
            self._write(found)
        except Exception as failure:
            self._tell(
                "stopped", f"geometry is not tracked any more, from step {self.steps} on: {_words(failure)}"
            )
        self._clock.measured(time.perf_counter() - begun, self.steps, self._group)
        if found:
            self.history.append((self.steps, found))
        return found

    @property
    def share(self) -> float:
        """The share of the time since it was made that measurements have taken."""
        return self._clock.share

    def finish(self) -> str:
        """Ends the loggers; says in one line what was measured, and for which share of the time."""
        self._end("finished")
        return self._clock.summary(len(self.history))

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._end("finished" if kind is None else "failed")

    def _end(self, ending: Ending) -> None:
        if not self._ended:
            self._ended = True
            self._logger.finish(ending)
            self._say({"state": ending, **self._clock.totals(len(self.history))})

    def _say(self, content: Mapping[str, object]) -> None:
        """Writes beside the lines what ``landscape watch`` wants to know."""
        if self._file is not None and self._group.rank == 0:
            write_whole(self._file.with_name(TRACKER), json.dumps(content).encode())

    def _copied(self) -> nn.Module:
        """The network in evaluation mode, without the loop that a module of Lightning refers to."""
        owners = [getattr(self._model, name, None) for name in ("_trainer", "_fabric")]
        return copy.deepcopy(self._model, {id(owner): None for owner in owners if owner is not None}).eval()

    def _one(
        self,
        point: Objective,
        specification: Specification,
        optimizer: torch.optim.Optimizer | None,
        found: dict[str, Estimate],
    ) -> None:
        """One measure; where it alone is impossible, the others go on."""
        name = str(specification)
        try:
            extra = {
                "start": self._starts.get(name),
                **known_to(optimizer, specification, point, self._model),
            }
            wanted = self._widened(specification)
            estimate = MEASURES.build(wanted, point, **extra)
            self._remember(point, name, wanted, optimizer, extra)
            found[name] = beside_threshold(estimate, optimizer)
            if reason := estimate.details.get("undefined"):
                self._tell(f"{name} undefined", f"{name} is undefined at step {self.steps}: {reason}")
        except UsageError as failure:
            self._tell(name, f"{name} is left out at step {self.steps}: {_words(failure)}")

    def _widened(self, specification: Specification) -> Specification:
        """The measure with as many eigenvalues as are tracked by now."""
        count = self._counts.get(str(specification))
        options = specification.options if count is None else {**specification.options, "k": count}
        return dataclasses.replace(specification, options=options)

    def _remember(
        self,
        point: Objective,
        key: str,
        wanted: Specification,
        optimizer: torch.optim.Optimizer | None,
        extra: Mapping[str, Any],
    ) -> None:
        """Keeps the eigenvectors for the next search, and counts one more where the last value nears the threshold."""
        settings: dict[str, Any] = MEASURES.settings(wanted)
        if wanted.name == "dominant-eigenvalue":
            self._starts[key] = dominant_eigenpair(point, **extra, **settings).vector
        elif wanted.name == "preconditioned-sharpness":
            self._starts[key] = preconditioned_eigenpair(point, **extra, **settings).vectors[:, 0]
        elif wanted.name == "top-eigenvalues":
            pairs = eigenpairs(point, **extra, **settings)
            self._starts[key] = pairs.vectors.sum(1)  # one vector in which all of them are
            threshold, values = threshold_of(optimizer) if optimizer is not None else None, pairs.values
            if (
                threshold
                and float(values.abs().min()) >= _NEAR * threshold
                and len(values) < _MOST_EIGENVALUES
            ):
                self._counts[key] = len(values) + 1

    def _write(self, found: Mapping[str, Estimate]) -> None:
        if self._group.rank or not found:
            return
        self._logger.log({name: e.value for name, e in found.items() if math.isfinite(e.value)}, self.steps)
        if self._file is not None:
            lines = [
                {"epoch": self.steps, "step": self.steps, **json.loads(records.to_json(e))}
                for e in found.values()
            ]
            append_line(self._file, "\n".join(json.dumps(line, allow_nan=False) for line in lines))

    def _tell(self, what: str, words: str) -> None:
        if what not in self._said:
            self._said.add(what)
            warnings.warn(words, Remark, stacklevel=5)


@dataclasses.dataclass
class _Clock:
    """When the next measurement is due: so that all of them keep within their share of the time."""

    every: int
    budget: float | None
    first: int

    def __post_init__(self) -> None:
        self.next = self.first + self.every
        self._begun, self._spent, self._steps, self._last = time.perf_counter(), 0.0, 0, 0.0

    def due(self, step: int, group: Group) -> bool:
        """Counts a step; whether to measure now, which all processes decide alike."""
        self._steps += 1
        if step < self.next:
            return False
        # Steps may have become quicker since it was planned.
        more = 0 if self.budget is None else group.decided(self._missing())
        self.next = step + more
        return more <= 0

    def measured(self, seconds: float, step: int, group: Group) -> None:
        """Plans the next measurement."""
        self._spent, self._last = self._spent + seconds, seconds
        more = 0 if self.budget is None else group.decided(self._missing())
        self.next = step + max(self.every, more)

    def _missing(self) -> int:
        """The steps until one more measurement, which takes as long as the last one, is within the budget."""
        assert self.budget is not None
        training = max(1e-9, time.perf_counter() - self._begun - self._spent)
        needed = (self._spent + self._last) * (1 - self.budget) / self.budget - training
        return math.ceil(needed / (training / max(1, self._steps)))

    @property
    def share(self) -> float:
        """The share of the time that measurements have taken."""
        return self._spent / max(1e-9, time.perf_counter() - self._begun)

    def totals(self, count: int) -> dict[str, float | None]:
        """The numbers of :meth:`summary`."""
        counted = {"steps": self._steps, "measured": count, "seconds": round(self._spent, 3)}
        return {**counted, "share": round(self.share, 6), "budget": self.budget}

    def summary(self, count: int) -> str:
        """One line for the end of a run."""
        limit = "" if self.budget is None else f" (budget {self.budget:.0%})"
        share = f"{self._spent:.1f} s, {self.share:.1%} of the time{limit}"
        return f"measured {count} times in {self._steps} steps: {share}"


def _file_in(folder: Path, steps_done: int) -> Path:
    """The file of a folder, new, or without the lines of steps that will be made again."""
    file = folder / MEASURES_HISTORY
    folder.mkdir(parents=True, exist_ok=True)
    if steps_done:
        truncate(file, epochs=steps_done, steps=steps_done)
        return file
    try:
        # At once, so that of two trackers in a folder the second one is refused.
        file.open("x").close()
    except FileExistsError:
        raise UsageError(
            f"{file} exists: another run is tracked there; give output= another folder, or steps_done= the steps that "
            "this run has made before"
        ) from None
    return file


class _Probes:
    """The tensors of the probe batches, which have to stay as they are."""

    def __init__(self, batches: Any) -> None:
        # Of a loader or a data set the examples were read, and are kept or known by their bytes.
        self._versions = [(tensor, tensor._version) for tensor in tensors_in(batches)]

    def check(self) -> None:
        """Raises an :class:`InputError` if one was written to."""
        if any(tensor._version != version for tensor, version in self._versions):
            raise InputError(
                "the probe batches were written to since the first measurement; give the tracker a copy"
            )


def _words(failure: Exception) -> str:
    return f"{type(failure).__name__}: {' '.join(str(failure).split())}"
