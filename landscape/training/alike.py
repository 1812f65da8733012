"""What the processes of one run have in common: checked before the first step, because all else relies on it."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm  # private, but the only common base of the norms
from torch.utils.data import TensorDataset

from landscape.data.examples import InMemory
from landscape.errors import InputError, UsageError
from landscape.objective.content import Content
from landscape.objective.sameness import hashed
from landscape.optim import OPTIMIZERS
from landscape.processes.group import Group
from landscape.training.recipe import HOW_COMPUTED, Recipe
from landscape.training.session import Session
from landscape.version import __version__

T = TypeVar("T")


def in_turn(group: Group, work: Callable[[], T]) -> T:
    """The result of ``work``, which the first process does before the others, because it may download and unpack."""
    results: list[T] = []
    for is_mine in (group.rank == 0, group.rank > 0):
        with group.together():
            if is_mine:
                results.append(work())
    return results[0]


def require_alike(session: Session) -> None:
    """Raises an :class:`InputError` in all processes that names what one of them has different from the first."""
    group = session.group
    if group.alone:
        return
    with group.together():
        mine = _described(session)
    everywhere = group.gathered(mine)
    for rank, theirs in enumerate(everywhere):
        for name, value in theirs.items():
            if value != everywhere[0][name]:
                raise InputError(
                    f"process {rank} of {group.world} has another {name} than process 0 ({value} instead of "
                    f"{everywhere[0][name]}), and all take the steps of one run; start all with the same command, "
                    "files and installation"
                )


def _described(session: Session) -> dict[str, str]:
    """What is compared, by the name that a message has for it."""
    fields = {n: v for n, v in session.recipe.to_dict().items() if n not in HOW_COMPUTED}
    return {
        "version of landscape": __version__,
        "version of torch": torch.__version__,
        "kind of device": session.device.type,
        "recipe": str(fields),
        "code": str(session.subject.code),
        "data set": f"{session.data.name} with {session.examples} training examples{_content(session)}",
        "first weights": hashed(itertools.chain.from_iterable(sorted(session.model.state_dict().items()))),
    }


def require_divisible(session: Session) -> None:
    """Raises a :class:`UsageError` if the network or the optimizer cannot have its batches divided."""
    recipe, world = session.recipe, session.group.world
    if session.group.alone or not any(isinstance(m, _BatchNorm) for m in session.model.modules()):
        return
    optimizer = OPTIMIZERS.parse(recipe.built_optimizer)
    settings: dict[str, Any] = OPTIMIZERS.settings(optimizer)
    if recipe.sync_batch_norm:
        _refuse_with_synchronised(recipe, optimizer.name, settings)
        return
    way_out = "add sync_batch_norm=True (--sync-batch-norm), which normalises the batch of all processes"
    if optimizer.name == "esam" and settings["gamma"] < 1:
        raise UsageError(
            f"optimizer=esam selects examples, of which one of {world} processes may have none, and batch norm would "
            f"normalise each process's own; {way_out}, or use esam:gamma=1"
        )
    fewest = min(_smallest_share(session, numbers) for numbers in session.batches(0))
    if fewest < 2:
        raise UsageError(
            f"batch norm needs 2 examples in each of {world} processes, and batches of {recipe.batch_size} from "
            f"{session.examples} examples leave {fewest} in one of them; use another batch_size, fewer processes, or "
            f"{way_out}"
        )


def _refuse_with_synchronised(recipe: Recipe, optimizer: str, settings: Mapping[str, Any]) -> None:
    if recipe.compile:
        raise UsageError(
            "compile=True and sync_batch_norm=True: a compiled pass cannot exchange statistics; leave out one of them"
        )
    if settings.get("mode") == "exact":
        raise UsageError(
            f"sync_batch_norm=True has no second derivatives, which mode=exact of {optimizer} needs; use mode=fd, "
            "or one process"
        )


def _smallest_share(session: Session, numbers: list[int]) -> int:
    """The fewest examples that a process has of a batch, or of one of its pieces that are computed one by one."""
    recipe, size = session.recipe, len(numbers)
    piece = recipe.micro_batch if recipe.accumulate > 1 else getattr(session.optimizer, "m", None) or size
    return min(size, size % piece or piece) // session.group.world


def _content(session: Session) -> str:
    """A hash of training examples that are in memory; others may differ each time they are read."""
    examples = session.subject.data.split("train")
    tensors: tuple[Tensor, ...] = ()
    if isinstance(examples, InMemory):
        tensors = examples.inputs, examples.targets
    elif isinstance(examples, TensorDataset):
        tensors = examples.tensors
    return f" ({Content([tensors]).digest()})" if tensors else ""
