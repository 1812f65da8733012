"""From a recipe to a folder with a trained network, through any number of interruptions."""

import contextlib
import dataclasses
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from landscape.data import data_name, load_data
from landscape.errors import InputError, Remark, UsageError
from landscape.isolation import preserved_randomness
from landscape.records import history
from landscape.tracking import TRACKERS, Ending, Guarded, Tracker
from landscape.training import checkpoint
from landscape.training.environment import difference
from landscape.training.interruption import Interruption
from landscape.training.job import Job
from landscape.training.lock import locked
from landscape.training.measured import Measuring
from landscape.training.progress import Pace, Progress
from landscape.training.recipe import Recipe
from landscape.training.run import Run, RunFolder, Saved
from landscape.training.session import NonFiniteLossError, Session


class DivergedError(RuntimeError):
    """The loss is not finite any more; the last good checkpoint is on disk."""


def train(
    recipe: Recipe,
    *,
    output: str | Path,
    resume: bool = True,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
    save_every: int | None = None,
    measuring: Measuring | None = None,
    trackers: Sequence[Tracker] = (),
) -> Run:
    """Train a network, or go on with a run that was interrupted.

    The run is on disk after each epoch, and at the end of the running step when SIGINT or SIGTERM arrives. A
    run that was killed at any moment and is started again ends with the same ``checkpoint.pt``, byte for byte
    on a CPU with the same number of threads and the same versions, which the checkpoint holds: a difference is said
    when the run goes on. A run that is finished is returned as it is. While one process trains, no other can in the
    same folder. Where ``checkpoint.pt`` is missing, the run goes on from the last good one in ``checkpoints/``, and
    lines of the history that were damaged are restored from the checkpoint.

    Args:
        recipe: What to train.
        output: The folder of the run; it is made if need be.
        resume: Go on with what the folder holds; otherwise a folder that holds a run is refused.
        overwrite: Delete the run that the folder holds and start again. What no run has written is never deleted.
        progress: Called after each step.
        save_every: Keep a copy of the checkpoint in ``checkpoints/`` after every so many epochs.
        measuring: What to measure on the way, into ``measures-history.jsonl``; the weights do not depend on it.
        trackers: Told of every epoch. One that fails is left out with a warning; the run goes on.

    Raises:
        UsageError: A number is not allowed, the device is not there, or the folder holds a different run, files of
            the user's in the place of those of a run, or a run that another process is training.
        InputError: Data cannot be loaded, do not fit the network, or the checkpoint to resume from is damaged.
        DivergedError: The loss is not finite.
        KeyboardInterrupt: SIGINT was received and the run saved.
        SystemExit: SIGTERM was received and the run saved; the status is 143.
    """
    if save_every is not None and save_every < 1:
        raise UsageError(f"save_every={save_every} must be at least 1 epoch")
    asked = dataclasses.replace(recipe, data=data_name(recipe.data))
    folder = RunFolder(Path(output))
    saved = folder.resumable(asked, resume=resume, overwrite=overwrite)
    if saved is not None and saved.epoch >= asked.epochs and measuring is None and folder.is_whole(saved):
        return folder.finished(asked, saved.content["metrics"])
    device = chosen_device(asked)
    with preserved_randomness(device):
        # Everything that can be refused is refused before anything on disk is changed.
        session = Session(asked, load_data(recipe.data), device)
        folder.make()
        with locked(folder.path):
            # Once more: before the folder was locked, another process could write to it.
            saved = folder.resumable(asked, resume=resume, overwrite=overwrite)
            if saved is None:
                folder.start(asked)
            else:
                _go_on(session, saved, folder)
            with Interruption() as interruption, _told(trackers, session, folder) as tracker:
                _run(
                    session,
                    folder,
                    interruption,
                    tracker,
                    progress=progress,
                    save_every=save_every,
                    measuring=measuring,
                )
    return folder.finished(asked, session.metrics)


def train_job(job: Job, *, progress: Callable[[Progress], None] | None = None) -> Run:
    """Train the run of a job; see :func:`train`."""
    return train(
        job.recipe,
        output=job.folder,
        resume=job.resume,
        overwrite=job.overwrite,
        save_every=job.save_every,
        measuring=job.measuring,
        trackers=[TRACKERS.build(name) for name in job.trackers],
        progress=progress,
    )


@contextlib.contextmanager
def _told(trackers: Sequence[Tracker], session: Session, folder: RunFolder) -> Iterator[Guarded]:
    """The trackers, told how the run begins and ends."""
    guarded = Guarded(trackers)
    guarded.begin(session.recipe.to_dict(), folder.path, session.epoch)
    ending: Ending = "failed"
    try:
        yield guarded
        ending = "finished"
    except (KeyboardInterrupt, SystemExit):
        ending = "interrupted"
        raise
    finally:
        guarded.finish(ending)


def _run(
    session: Session,
    folder: RunFolder,
    interruption: Interruption,
    tracker: Guarded,
    *,
    progress: Callable[[Progress], None] | None,
    save_every: int | None,
    measuring: Measuring | None,
) -> None:
    epochs, pace = session.recipe.epochs, Pace(session.step, session.steps)

    def pause() -> None:
        if interruption.received:
            checkpoint.write(folder.checkpoint, session.state())
            interruption.act()

    tracker.log(_measure(session, folder, measuring, interruption.act), session.epoch)
    while session.epoch < epochs:
        start = time.monotonic()
        try:
            for _ in session.train_epoch():
                if progress is not None:
                    left = pace.seconds_left(session.step)
                    accuracy = session.metrics.get("test_accuracy")
                    progress(
                        Progress(
                            session.epoch + 1,
                            epochs,
                            session.step,
                            session.steps,
                            session.loss,
                            accuracy,
                            left,
                        )
                    )
                pause()
            session.finish_epoch(pause)
        except NonFiniteLossError as failure:
            raise DivergedError(f"{failure}; {_advice(session, folder)}") from None
        entry = {
            "epoch": session.epoch,
            "step": session.step,
            "lr": session.learning_rate(session.step - 1),
            **session.metrics,
            "seconds": round(time.monotonic() - start, 3),
        }
        session.history.append(history.without_seconds(entry))
        # The checkpoint comes last: what a kill leaves beyond it is done again.
        history.append(folder.history, entry)
        if save_every is not None and session.epoch % save_every == 0:
            checkpoint.write(folder.numbered(session.epoch), session.state())
        checkpoint.write(folder.checkpoint, session.state())
        tracker.log({name: value for name, value in entry.items() if name != "epoch"}, session.epoch)
        tracker.log(_measure(session, folder, measuring, interruption.act), session.epoch)
    interruption.act()


def _measure(
    session: Session, folder: RunFolder, measuring: Measuring | None, pause: Callable[[], None]
) -> dict[str, float]:
    """Measure the network that is on disk, if an epoch is complete and it is time; a resumed run makes up for it."""
    if (
        measuring is None
        or session.within_epoch
        or not measuring.is_due(session.epoch, session.recipe.epochs)
    ):
        return {}
    return measuring.take(
        session.evaluated,
        session.data,
        session.recipe,
        checkpoint=folder.checkpoint,
        output=folder.measures,
        starts=folder.starts,
        epoch=session.epoch,
        step=session.step,
        pause=pause,
    )


def _go_on(session: Session, saved: Saved, folder: RunFolder) -> None:
    """Take over what is saved, and say what an uninterrupted run would not have met."""
    try:
        session.restore(saved.content)
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as failure:
        reason = (str(failure).splitlines() or [type(failure).__name__])[0]
        raise InputError(
            f"{saved.file} does not fit its own recipe ({reason}); overwrite=True (--overwrite) starts again"
        ) from failure
    remarks = folder.go_on(session.recipe, saved)
    before = saved.content["training"].get("environments")
    elsewhere = difference(before[-1], session.environments[-1]) if before else None
    if elsewhere is not None and saved.epoch < session.recipe.epochs:
        remarks.append(
            f"{folder.path} was computed with {elsewhere}: the last digits can differ from those of a run without "
            "interruption"
        )
    for remark in remarks:
        warnings.warn(remark, Remark, stacklevel=3)


def _advice(session: Session, folder: RunFolder) -> str:
    last = f"the last good checkpoint is {folder.checkpoint}"
    if not folder.checkpoint.exists():
        last = "no checkpoint was written yet"
    lr = session.recipe.lr
    return f"{last}. Try a lower learning rate than lr={lr}, warmup_epochs or max_grad_norm"


def chosen_device(recipe: Recipe) -> torch.device:
    """The recipe's device, if it is there and computes in the recipe's precision."""
    if recipe.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(recipe.device)
        if device.type not in ("cpu", "cuda", "mps"):
            raise RuntimeError("networks are trained on cpu, cuda or mps")
        torch.zeros(1, device=device, dtype=getattr(torch, recipe.dtype))
    except (RuntimeError, AssertionError, TypeError) as failure:
        reason = str(failure).split(". ")[0].splitlines()[0].rstrip(".")
        raise UsageError(
            f"device={recipe.device} cannot be used: {reason}; auto takes what is there"
        ) from None
    return device
