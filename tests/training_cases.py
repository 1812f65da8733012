"""What one of several processes does in the tests of a run that they train together."""

import dataclasses
import signal
import warnings

import torch
from group_cases import joined
from torch import nn
from torch.utils.data import TensorDataset

from landscape.models import MODELS
from landscape.optim import OPTIMIZERS, Exchange
from landscape.processes.group import ALONE, Group
from landscape.registry.names import Row
from landscape.training import Measuring, Recipe, train
from landscape.training.session import Session
from landscape.training.subject import subject_of

# 70 examples: batches of 16, 16, 16, 16 and 6, which 3 processes do not divide evenly.
RECIPE = Recipe(
    model="mlp:width=8", data="moons:samples=100", epochs=4, batch_size=16, lr=0.1, dtype="float64", max_grad_norm=2.0
)  # fmt: skip
OPTIONS = {
    "saf": "saf:start_epoch=1,lag=1",
    "mesa": "mesa:start_epoch=1,decay=0.9",
    "entropy-sgd": "entropy-sgd:langevin_steps=3",
    "eigen-sam": "eigen-sam:every=5,power_iterations=2",
    "hessian-trace-reg": "hessian-trace-reg:n_probe=1,interval=5",
    "m-sam": "m-sam:m=5",
    "ssam-f": "ssam-f:n_fisher=4",
    "swa": "swa:start=0.3",
    "sam-on": "sam-on",
}
NORMED = {"sam-on"}  # perturbs batch norm alone
SINGLE = ["sgd", "sam", "gsam", "cr-sam", "ae-sam", "looksam", "esam", "m-sam"]
"""Also in single precision."""

# The rules above take twenty steps, for the time; the others five, or ten where they need a second epoch.
LONGER = {"saf", "mesa", "swa", "eigen-sam", "entropy-sgd", "ae-looksam"}
CASES = {
    name: {"optimizer": OPTIONS.get(name, name), "epochs": 4 if name in SINGLE else 1 + (name in LONGER)}
    for name in OPTIMIZERS
}
FEW = [
    *SINGLE,
    *(f"{name} float32" for name in SINGLE),
    "saf",
    "swa",
    "accumulated",
    "normed gsam",
    "small batches",
]
"""In two processes."""
CASES |= {f"{name} float32": {**CASES[name], "dtype": "float32"} for name in SINGLE}
for name in NORMED:
    CASES[name] |= {"model": "normed", "sync_batch_norm": True}
CASES |= {
    "adamw base": {"optimizer": "sam", "base": "adamw", "epochs": 2},
    "fd": {"optimizer": "hessian-trace-reg:n_probe=1,interval=5,mode=fd", "epochs": 2},
    "small batches": {"optimizer": "gsam", "batch_size": 2, "epochs": 1},
    "small batches of examples": {"optimizer": "esam", "batch_size": 2, "epochs": 1},
    "memory of few examples": {"optimizer": OPTIONS["saf"], "batch_size": 2, "epochs": 2},
    "accumulated": {"optimizer": "sam", "accumulate": 3},
    "m-sam by pieces": {"optimizer": "sam", "accumulate": 3, "accumulation": "m-sam"},
    "bf16": {"optimizer": "sam", "dtype": "float32", "precision": "bf16"},
    "ema": {"optimizer": "sam", "ema": 0.9},
    **{
        f"normed {name}": {
            "optimizer": options, "model": "normed", "sync_batch_norm": True, "epochs": 1 + (name in LONGER)
        }
        for name in ("sgd", "gsam", "esam", "m-sam", "saf", "mesa", "swa")
        for options in [OPTIONS.get(name, name).replace("m=5", "m=8")]
    },
    "normed small": {"optimizer": "sam", "model": "normed", "sync_batch_norm": True, "batch_size": 2, "epochs": 1},
    "normed float32": {"optimizer": "sam", "model": "normed", "sync_batch_norm": True, "dtype": "float32"},
    "normed accumulated": {"optimizer": "sam", "model": "normed", "sync_batch_norm": True, "accumulate": 3},
}  # fmt: skip


def normed(*, classes: int = 10, input_shape: tuple[int, ...] = (2,)) -> nn.Module:
    del input_shape
    return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, classes))


def noisy(*, classes: int = 10, input_shape: tuple[int, ...] = (2,)) -> nn.Module:
    del input_shape
    return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, classes))


DEALT, NAMED = f"{__file__}:dealt", ("task", "model", "data")


def dealt():
    """A task whose data differ in one number of one process."""
    inputs = torch.arange(40.0).reshape(20, 2)
    inputs[0, 0] += torch.distributed.get_rank() == 1
    examples = TensorDataset(inputs, torch.arange(20) % 2)
    return {"model": nn.Linear(2, 2), "data": {"train": examples, "test": examples}, "loss": "cross-entropy"}


def known():
    """The networks of these tests by name."""
    for build in (normed, noisy):
        row = Row(build.__name__, build, "for these tests", hidden=frozenset({"classes", "input_shape"}))
        MODELS._rows[build.__name__] = row


def session(fields, group=ALONE):
    known()
    recipe = dataclasses.replace(RECIPE, **fields)
    return Session(recipe, subject_of(recipe), torch.device("cpu"), exchange=Exchange(group))


def trained(fields, group=ALONE):
    """What the steps and their epochs leave: numbers that have to be those of one process."""
    running = session(fields, group)
    torch.manual_seed(running.group.rank)  # which nothing may depend on
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        losses = []
        while running.epoch < running.recipe.epochs:
            for _ in running.train_epoch():
                losses.append(running.loss)
            running.finish_epoch(lambda: None)
    state = running.state()
    return {
        "weights": torch.cat([p.detach().flatten() for p in running.model.parameters()]),
        "kept": torch.cat([t.flatten().double() for t in state["state_dict"].values()]),
        "losses": torch.tensor(losses),
        "metrics": {k: float(v) for k, v in running.metrics.items()},
    }


def cases_of(world):
    return FEW if world == 2 else [case for case in CASES if case not in FEW or case in SINGLE]


def all_cases(folder, rank, world):
    group = joined(folder, rank, world)
    torch.save({name: trained(CASES[name], group) for name in cases_of(world)}, folder / f"{rank}.pt")


RUN = dataclasses.replace(RECIPE, epochs=3, max_grad_norm=None)
NORMED_RUN = {"model": "normed", "sync_batch_norm": True}


def run_recipe(**fields):
    known()
    return dataclasses.replace(RUN, **fields)


def stopping(step, number):
    def stop(progress):
        if progress.step == step:
            signal.raise_signal(number)

    return stop


def ending(work):
    """How something ends, in words."""
    try:
        work()
    except (Exception, KeyboardInterrupt, SystemExit) as failure:
        return f"{type(failure).__name__}: {failure}"
    return "done"


def chain(folder, group, pair):
    """A run of one process that three continue, and then two; a signal reaches one of the three."""
    recipe, rank, endings = run_recipe(optimizer="gsam", **NORMED_RUN), group.rank, []
    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always")
        if rank == 0:
            stop = stopping(7, signal.SIGINT)
            endings.append(ending(lambda: train(recipe, output=folder, progress=stop, group=ALONE)))
        group.gathered(None)
        stop = stopping(9, signal.SIGTERM) if rank == 2 else None
        endings.append(ending(lambda: train(recipe, output=folder, progress=stop, group=group)))
        steps = []
        if rank < 2:
            train(recipe, output=folder, progress=lambda now: steps.append(now.step), group=pair)
        group.gathered(None)
    again = train(recipe, output=folder, progress=lambda now: steps.append(-1), group=group)
    return {
        "endings": endings,
        "steps": steps,
        "remarks": [str(each.message) for each in remarks],
        "metrics": dict(again.metrics),
        "history": [dict(entry) for entry in again.history],
    }


def failures(folder, group):
    """What all processes raise where one of them fails, or where they cannot train together."""
    rank = group.rank
    folder.mkdir(exist_ok=True)

    def torn():
        recipe = run_recipe(seed=7)
        running = Session(recipe, subject_of(recipe), torch.device("cpu"), exchange=Exchange(group))
        if rank == 1:
            batches = running._train.batches

            def failing(numbers):
                for number, batch in enumerate(batches(numbers)):
                    if number == 2:
                        raise OSError("the disk is gone")
                    yield batch

            running._train.batches = failing
        for _ in running.train_epoch():
            pass

    return {
        "torn": ending(torn),
        "diverged": ending(
            lambda: train(run_recipe(lr=1e29, dtype="float32"), output=folder / "diverged", group=group)
        ),
        "seeds": ending(lambda: train(run_recipe(seed=rank), output=folder / "seeds", group=group)),
        "data": ending(
            lambda: train(run_recipe(**dict.fromkeys(NAMED, DEALT)), output=folder / "data", group=group)
        ),
        "few": ending(
            lambda: train(run_recipe(model="normed", batch_size=4), output=folder / "few", group=group)
        ),
        "selected": ending(
            lambda: train(run_recipe(model="normed", optimizer="esam"), output=folder / "few", group=group)
        ),
        "full": ending(lambda: train(run_recipe(), output=_unwritable(folder, rank), group=group)),
        "folders": sorted(path.name for path in folder.iterdir()),
    }


def _unwritable(folder, rank):
    place = folder / "file"
    if rank == 0:
        place.write_text("a file")
    return place / "run"


def all_runs(folder, rank, world):
    group = joined(folder, rank, world)
    pair = Group(rank, 2, torch.distributed.new_group([0, 1]))
    known()
    found = {"chain": chain(folder / "chain", group, pair), "failures": failures(folder / "failures", group)}
    noisy_run = train(run_recipe(model="noisy"), output=folder / "noisy", save_every=1, group=group)
    found["noisy"] = dict(noisy_run.metrics)
    measured = train(
        run_recipe(),
        output=folder / "measured",
        measuring=Measuring(
            2, names=("loss", "gradient-norm", "dominant-eigenvalue:method=lanczos"), batch_size=16
        ),
        group=group,
    )
    found["measured"] = dict(measured.metrics)
    by_step = Measuring(3, names=("loss", "gradient-norm"), batch_size=16, unit="steps")
    for model in ("", "normed"):
        recipe = run_recipe(model=model) if model else run_recipe()
        train(recipe, output=folder / f"by-step{model}", measuring=by_step, group=group)
    running = session({"model": "normed", "ema": 0.9}, group)
    for _ in running.train_epoch():
        pass
    found["own statistics"] = running.model[1].running_mean.clone()
    running.finish_epoch(lambda: None)
    found["statistics"] = running.model[1].running_mean.clone()
    found["averaged"] = running.state()["state_dict"]["1.running_var"]
    torch.save(found, folder / f"{rank}.pt")
