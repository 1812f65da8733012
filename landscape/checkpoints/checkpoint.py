"""A checkpoint as a point of a loss landscape: parameters, the network they belong to, the data, the loss."""

import contextlib
import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from landscape.checkpoints.architectures import guess
from landscape.checkpoints.building import WithinMemory
from landscape.checkpoints.fitting import fit
from landscape.checkpoints.reading import Contents, read_checkpoint
from landscape.checkpoints.recipes import RecipeInFile
from landscape.checkpoints.task import load_task
from landscape.checkpoints.weights import Weights
from landscape.data import Data, FixedBatches, as_data, load_data, subset, with_label_noise
from landscape.errors import InputError, UsageError
from landscape.losses import build_loss, loss_name
from landscape.models import build_model
from landscape.objective import Objective
from landscape.objective.batch_norm import BatchNorm
from landscape.objective.batches import Source
from landscape.objective.micro_batches import Size
from landscape.objective.risk import Loss
from landscape.objective.wrappers import unwrapped
from landscape.registry.factories import code_hash
from landscape.registry.names import Specification

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Checkpoint:
    """Everything needed to measure a checkpoint.

    Attributes:
        contents: What the file holds.
        model: The network with the checkpoint's parameters, in evaluation mode.
        model_name: How the network was asked for.
        data: The data set.
        loss: ``loss(outputs, targets)``, mean-reduced, or a :class:`landscape.BatchLoss`.
        loss_name: How the loss is called in records.
        code: A hash of the user's own files that were named, as numbers are only as old as these; ``None`` if
            none was.
        notes: What was done to read the file and to fit it to the network, for the reader.
    """

    contents: Contents
    model: nn.Module
    model_name: str
    data: Data
    loss: Loss
    loss_name: str
    code: str | None = None
    notes: tuple[str, ...] = ()

    def objective(
        self,
        split: Split = "train",
        *,
        limit: int | None = None,
        batch_size: int = 128,
        micro_batch: Size = None,
        batch_norm: BatchNorm = "stored",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Objective:
        """The empirical risk at this checkpoint.

        Args:
            split: Which part of the data.
            limit: A fixed random subset of so many examples; all of them by default.
            batch_size: Examples a batch.
            micro_batch: See :class:`landscape.Objective`.
            batch_norm: See :class:`landscape.Objective`; recalibrated on the training examples, so many of them
                as ``limit`` says.
            device: See :class:`landscape.Objective`.
            dtype: See :class:`landscape.Objective`.
        """
        batches, digest = self.batches(split, limit=limit, batch_size=batch_size)
        calibration = None
        if batch_norm == "recalibrate" and split != "train":
            calibration, _ = self.batches("train", limit=limit, batch_size=batch_size)
        objective = Objective(
            self.model,
            self.loss,
            batches,
            micro_batch=micro_batch,
            batch_norm=batch_norm,
            calibration=calibration,
            device=device,
            dtype=dtype,
        )
        return objective.described(
            model=self.model_name,
            data=self.data.name,
            split=split,
            subset=digest,
            loss=self.loss_name,
            checkpoint=self.contents.identity,
            checkpoint_file=self.contents.path.name,
            recipe=self.contents.recipe,
            code=self.code,
        )

    def batches(self, split: Split, *, limit: int | None = None, batch_size: int = 128) -> tuple[Source, str]:
        """The examples of a split in batches, and the hash that says which they are."""
        examples: Dataset[Any] = self.data.split(split)
        if isinstance(examples, FixedBatches):
            if limit is not None:
                raise UsageError(
                    f"limit={limit}: {self.data.name} gives batches that are made already; return a Dataset, or "
                    "leave the limit out"
                )
            return list(examples.batches), subset(examples, None)[1]
        chosen, digest = subset(examples, limit)
        return DataLoader(chosen, batch_size=batch_size, collate_fn=self.data.collate), digest

    def network_of(
        self, path: str | Path, *, trust: bool = False, weights: Weights | None = None
    ) -> nn.Module:
        """The same network with everything that another checkpoint holds: weights, buffers, statistics.

        Args:
            path: The file, or a run folder.
            trust: Whether code stored in the file may run.
            weights: See :func:`load_checkpoint`.

        Raises:
            InputError: The file cannot be used, or is of another network.
        """
        contents = read_checkpoint(path, trust=trust, weights=weights)
        twin = copy.deepcopy(self.model)
        fit(twin, contents.state, source=str(contents.path), name=self.model_name)
        return twin


def load_checkpoint(
    path: str | Path,
    *,
    model: nn.Module | str | None = None,
    data: Data | Source | str | None = None,
    loss: Loss | str | None = None,
    task: str | Mapping[str, Any] | None = None,
    trust: bool = False,
    weights: Weights | None = None,
) -> Checkpoint:
    """Opens a checkpoint together with its network, data and loss.

    A checkpoint made by ``landscape train`` carries its recipe and needs no other argument.

    Args:
        path: The file, or a run folder.
        model: The network, or its name (``"resnet18"``, ``"timm:vit_tiny_patch16_224"``, ``"./nets.py:build"``).
            A network given is copied.
        data: The data set, its name, or what a data factory may return: a ``Dataset``, a ``DataLoader``, a list
            of batches, or ``dict(train=…, test=…)`` of them.
        loss: ``loss(outputs, targets)``, mean-reduced, a :class:`landscape.BatchLoss`, or a name; by default
            cross-entropy, with the label smoothing of the recipe.
        task: ``"./my_task.py:task"``, a function that returns ``dict(model=…, data=…, loss=…)``, or such a
            dictionary; what is given beside it comes first.
        trust: Whether code stored in the file, or named in it, may run.
        weights: ``"raw"``, or ``"ema"`` for the averaged copy in the file; see
            :func:`landscape.checkpoints.read_checkpoint`.

    Raises:
        InputError: The file cannot be used, or does not fit the network; a network or data set is needed.
        UsageError: An unknown name or option.
    """
    contents = read_checkpoint(path, trust=trust, weights=weights)
    recipe = RecipeInFile(contents.path, contents.recipe or {}, trust)
    asked = load_task(task)
    given: dict[str, Any] = {"model": model, "data": data, "loss": loss}
    given = {key: asked.get(key) if value is None else value for key, value in given.items()}
    chosen = given["data"] if given["data"] is not None else recipe.named("data")
    network = given["model"] if given["model"] is not None else recipe.named("model")
    if chosen is None or network is None:
        raise InputError(_nameless(contents, model=network is None, data=chosen is None))
    dataset = _dataset(chosen, recipe, task if isinstance(task, str) else "data", named=given["data"] is None)
    if isinstance(network, (str, Specification)):
        model_name = str(network)
        with contextlib.ExitStack() as limits:
            if given["model"] is None:
                limits.enter_context(recipe.blamed())
                limits.enter_context(WithinMemory(contents.path, model_name, stored=contents.stored))
            built = build_model(network, classes=dataset.classes, input_shape=dataset.input_shape, seed=0)
    else:
        built = copy.deepcopy(unwrapped(network)[0])
        model_name = type(built).__name__
    fitted = fit(built, contents.state, source=str(contents.path), name=model_name)
    function, called = _loss(given["loss"], recipe.number("label_smoothing"))
    texts = [x for x in (task, *given.values()) if isinstance(x, str)]
    said = (*contents.notes, *fitted)
    return Checkpoint(contents, built.eval(), model_name, dataset, function, called, code_hash(*texts), said)


def _dataset(chosen: Any, recipe: RecipeInFile, name: str, *, named: bool) -> Data:
    """The data set that was chosen; where the recipe names it, with the recipe's share of wrong labels."""
    if named:
        with recipe.blamed():
            return with_label_noise(load_data(chosen), rate=recipe.number("label_noise"))
    return load_data(chosen) if isinstance(chosen, (str, Specification)) else as_data(chosen, name)


def _loss(loss: Any, smoothing: float) -> tuple[Loss, str]:
    """The loss, and how it is called in records."""
    if loss is None:
        loss = f"cross-entropy:label_smoothing={smoothing}" if smoothing else "cross-entropy"
    if isinstance(loss, (str, Specification)):
        return build_loss(loss), loss_name(loss)
    return loss, getattr(loss, "__name__", type(loss).__name__)


def _nameless(contents: Contents, *, model: bool, data: bool) -> str:
    found = guess(contents.state)
    example = found.model if found else "resnet18"
    looks = f"; it looks like {found.looks}" if found and model else ""
    asked = {"model": f"-m MODEL (such as -m {example})", "data": "-d DATA (such as -d cifar10)"}
    missing = [name for name, absent in (("model", model), ("data", data)) if absent]
    return (
        f"{contents.path} does not say which {' and '.join(missing)} it belongs to (it was not made by "
        f"`landscape train`){looks}; add {' '.join(asked[name] for name in missing)}"
    )
