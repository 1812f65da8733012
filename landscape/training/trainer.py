"""From a recipe to a folder with a trained network, through any number of interruptions."""

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from landscape.errors import InputError, Remark, UsageError
from landscape.isolation.modes import outside_modes
from landscape.isolation.precision import deterministic_kernels
from landscape.isolation.randomness import preserved_randomness
from landscape.objective.arguments import device_named
from landscape.optim import Exchange
from landscape.optim.table import unusual
from landscape.processes.group import Group, current_group
from landscape.records import history
from landscape.records.history import Entry
from landscape.tracking import Ending, Guarded, Logger
from landscape.training import checkpoint
from landscape.training.alike import in_turn, require_alike, require_divisible
from landscape.training.determinism import difference
from landscape.training.interruption import Interruption
from landscape.training.lock import locked
from landscape.training.measured import Measuring
from landscape.training.recipe import Recipe
from landscape.training.run import Run, RunFiles, Saved
from landscape.training.session import NonFiniteLossError, Session
from landscape.training.subject import subject_of


class DivergedError(RuntimeError):
    """The loss is no longer finite; the last good checkpoint is on disk."""


@dataclass(frozen=True)
class Progress:
    """The progress of a run after one of its steps.

    Attributes:
        epoch: The epoch that is running, counted from 1.
        epochs: All epochs of the run.
        step: Steps done, over all epochs.
        steps: All steps of the run.
        loss: The mean training loss of this epoch so far.
        test_accuracy: The accuracy after the last complete epoch; ``None`` in the first.
        seconds_left: An estimate from the steps of this process.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    test_accuracy: float | None
    seconds_left: float


OnProgress = Callable[[Progress], None]


@outside_modes()
def train(
    recipe: Recipe,
    *,
    output: str | Path,
    resume: bool = True,
    overwrite: bool = False,
    progress: OnProgress | None = None,
    save_every: int | None = None,
    measuring: Measuring | None = None,
    trackers: Sequence[Logger] = (),
    assumed: Callable[[Sequence[str]], None] | None = None,
    group: Group | None = None,
) -> Run:
    """Trains a network, or continues a run that was interrupted.

    The run is saved after each epoch, and at the end of the current step when SIGINT or SIGTERM arrives. A run that
    was killed at any moment and is started again ends with the same ``checkpoint.pt``, byte for byte on a CPU with
    the same number of threads and the same versions; if these differ, a warning says so. On a GPU kernels are
    deterministic where torch has such, and a remark names operations that have none. A finished run is returned
    as it is. Only one process can train in a folder at a time. If ``checkpoint.pt`` is missing, the run continues
    from the last good one in ``checkpoints/``. Damaged lines of the history are restored from the checkpoint.

    In a process group of torch all processes train the one run: each computes its examples of every batch, and the
    batch is that of the recipe, so that the weights are those of one process to rounding. Dropout masks are another
    draw; batch norm is that of each process's examples, with running statistics averaged when they are used or saved,
    unless the recipe has ``sync_batch_norm``. The first process alone reads and writes the folder. A run may be
    continued by any number of processes.

    Args:
        recipe: What to train.
        output: The folder of the run, which is created if necessary.
        resume: Continue the run in the folder; otherwise a folder that holds a run is refused.
        overwrite: Delete the run in the folder and start again. Files that no run has written are never deleted.
        progress: Called after each step.
        save_every: Keep a copy of the checkpoint in ``checkpoints/`` every so many epochs.
        measuring: What to measure during training, into ``measures-history.jsonl``; it does not affect the weights.
        assumed: Called with what was assumed about the data, a line each, before the first step.
        trackers: Loggers of every epoch. One that fails is left out with a warning, and the run goes on.
        group: The processes that train it; ``None`` for those of torch's process group, ``Group()`` for this one alone.

    Raises:
        UsageError: A number is not allowed, the device is not available, or the folder holds a different run, a run
            that another process is training, or files of the user's with the names of those of a run.
        InputError: Data cannot be loaded or do not fit the network, or the checkpoint to resume is damaged.
        DivergedError: The loss is not finite.
        KeyboardInterrupt: SIGINT was received and the run saved.
        SystemExit: SIGTERM was received and the run saved; the status is 143.
    """
    if save_every is not None and save_every < 1:
        raise UsageError(f"save_every={save_every} must be at least 1 epoch")
    group = current_group() if group is None else group
    requested = recipe.shortened()
    folder = RunFiles(Path(output))
    read = partial(folder.resumable, requested, resume=resume, overwrite=overwrite)
    if measuring is None:
        run = group.once(lambda: _finished(folder, requested, read()))
        if run is not None:
            return run
    device = device_of(requested)
    # On a CPU every kernel is deterministic for a number of threads.
    kernels = contextlib.nullcontext() if device.type == "cpu" else deterministic_kernels
    interruption = Interruption(group)
    with kernels, preserved_randomness(device):
        # Everything that can be refused is refused before anything on disk is changed.
        subject = in_turn(group, lambda: subject_of(recipe))
        exchange = Exchange(group, riders=interruption.noted)
        with group.together():
            session = Session(requested, subject, device, exchange=exchange)
            require_divisible(session)
        require_alike(session)
        with contextlib.ExitStack() as stack:
            with group.together():
                if group.rank == 0:
                    folder.make()
                    stack.enter_context(locked(folder.path))
            # Read again: before the folder was locked, another process could write to it.
            saved = group.once(read)
            with group.together():
                if saved is not None:
                    _restore(session, saved, folder)
                elif group.rank == 0:
                    _say_what_is_unusual(requested)
                    folder.start(requested)
                if assumed is not None:
                    assumed(session.data.notes)
            stack.enter_context(interruption)
            tracker = stack.enter_context(
                _tracked(trackers if group.rank == 0 else (), session, folder, _counted(session, measuring))
            )
            _Training(session, folder, interruption, tracker, measuring).run(progress, save_every)
    return group.once(lambda: folder.finished(requested, session.metrics))


def _say_what_is_unusual(recipe: Recipe) -> None:
    remark = unusual(recipe.optimizer, recipe.base, recipe.lr)
    if remark is not None:
        warnings.warn(remark, Remark, stacklevel=4)


def _finished(folder: RunFiles, recipe: Recipe, saved: Saved | None) -> Run | None:
    """The run in the folder, if it is finished and all its files are there."""
    if saved is None or saved.epoch < recipe.epochs or not folder.is_whole(saved):
        return None
    return folder.finished(recipe, saved.content["metrics"])


@contextlib.contextmanager
def _tracked(trackers: Sequence[Logger], session: Session, folder: RunFiles, done: int) -> Iterator[Guarded]:
    """The trackers, which are notified of the beginning and the end of the run."""
    guarded = Guarded(trackers)
    guarded.begin(session.recipe.to_dict(), folder.path, done)
    ending: Ending = "failed"
    try:
        yield guarded
        ending = "finished"
    except (KeyboardInterrupt, SystemExit):
        ending = "interrupted"
        raise
    finally:
        guarded.finish(ending)


@dataclass
class _Training:
    """The loop over the epochs of a session, with everything that happens after each of them."""

    session: Session
    folder: RunFiles
    interruption: Interruption
    tracker: Guarded
    measuring: Measuring | None

    def run(self, progress: OnProgress | None, save_every: int | None) -> None:
        """Trains until all epochs are complete; see :func:`train`."""
        session, folder = self.session, self.folder
        begun, first = time.monotonic(), session.step
        self._measure(begins=True)
        while session.epoch < session.recipe.epochs:
            start = time.monotonic()
            try:
                for _ in session.train_epoch():
                    if progress is not None:
                        pace = (time.monotonic() - begun) / (session.step - first)
                        progress(self._progress(pace * (session.steps - session.step)))
                    self._pause_after_step()
                    if session.steps_left:  # the last step of an epoch is measured when the epoch is on disk
                        self._measure()
                session.finish_epoch(self._pause)
            except NonFiniteLossError as failure:
                last = "no checkpoint was written yet"
                if folder.checkpoint.exists():
                    last = f"the last good checkpoint is {folder.checkpoint}"
                advice = (
                    f"Try a lower learning rate than lr={session.recipe.lr}, warmup_epochs or max_grad_norm"
                )
                raise DivergedError(f"{failure}; {last}. {advice}") from None
            entry = {
                "epoch": session.epoch,
                "step": session.step,
                "lr": session.learning_rate(session.step - 1),
                **session.metrics,
                "seconds": round(time.monotonic() - start, 3),
            }
            session.history.append(history.without_seconds(entry))
            state = session.state()
            with session.group.together():
                if session.group.rank == 0:
                    self._write(entry, state, save_every)
            self._measure()
        self.interruption.ask()

    def _write(self, entry: Entry, state: dict[str, Any], save_every: int | None) -> None:
        """An epoch on disk, and then in the trackers."""
        folder, session, epoch = self.folder, self.session, self.session.epoch
        # The checkpoint comes last: what a kill leaves beyond it is done again.
        history.append(folder.history, entry)
        if save_every is not None and epoch % save_every == 0:
            checkpoint.write(folder.epoch_checkpoint(epoch), state)
        checkpoint.write(folder.checkpoint, state)
        self.tracker.log(
            {name: entry[name] for name in entry if name != "epoch"}, _counted(session, self.measuring)
        )

    def _progress(self, seconds_left: float) -> Progress:
        session = self.session
        accuracy, epochs = session.metrics.get("test_accuracy"), session.recipe.epochs
        now = (session.epoch + 1, epochs, session.step, session.steps)
        return Progress(*now, session.loss, accuracy, seconds_left)

    def _pause_after_step(self) -> None:
        """As :meth:`_pause`, with the signals that the processes have told each other in the passes of the step."""
        session = self.session
        if not session.group.alone:
            if not session.is_read or session.exchange.sums is None:
                return
            self.interruption.agree(session.exchange.sums.tolist())
        self._save_and_act()

    def _pause(self) -> None:
        """Saves the run and ends it, if a signal asks for that."""
        try:
            self.interruption.ask()
        except (KeyboardInterrupt, SystemExit):
            self._save_and_act()

    def _save_and_act(self) -> None:
        if self.interruption.received:
            state = self.session.state()
            with self.session.group.together():
                if self.session.group.rank == 0:
                    checkpoint.write(self.folder.checkpoint, state)
            self.interruption.act()

    def _measure(self, *, begins: bool = False) -> None:
        """Measures the network, if it is due; a resumed run makes up for what it missed."""
        session, measuring = self.session, self.measuring
        if measuring is not None and measuring.is_due(session):
            pause = self._pause if session.within_epoch else self.interruption.ask
            values = measuring.take(session, self.folder, pause=pause, begins=begins)
            self.tracker.log(values, _counted(session, measuring))


def _counted(session: Session, measuring: Measuring | None) -> int:
    """What trackers count: complete epochs, or steps where the network is measured after steps."""
    return session.step if measuring is not None and measuring.unit == "steps" else session.epoch


def _restore(session: Session, saved: Saved, folder: RunFiles) -> None:
    """Continues a saved run, and warns of what an uninterrupted run would not have met."""
    try:
        session.restore(saved.content)
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as failure:
        reason = (str(failure).splitlines() or [type(failure).__name__])[0]
        raise InputError(
            f"{saved.file} does not fit its own recipe ({reason}); overwrite=True (--overwrite) starts again"
        ) from failure
    if session.group.rank > 0:
        return
    remarks = folder.go_on(session.recipe, saved)
    before = saved.content["training"].get("environments")
    changes = difference(before[-1], session.environments[-1]) if before else None
    if changes is not None and saved.epoch < session.recipe.epochs:
        others = ""
        if before[-1].get("processes", 1) != session.group.world:
            others = ", and dropout draws other masks"
            others += "" if session.recipe.sync_batch_norm else "; batch norm sees other parts of a batch"
        remarks.append(
            f"{folder.path} was computed with {changes}: the last digits can differ from those of a run without "
            f"interruption{others}"
        )
    for remark in remarks:
        warnings.warn(remark, Remark, stacklevel=3)


def device_of(recipe: Recipe) -> torch.device:
    """The recipe's device, if it is available and supports the recipe's precision."""
    return device_named(recipe.device, dtype=getattr(torch, recipe.dtype))
