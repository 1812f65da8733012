"""A checkpoint as a point of a loss landscape: parameters, the network they belong to, the data, the loss."""

import contextlib
import copy
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from landscape.checkpoints.adapters import adapted, base_name, load_adapter, loaded_base, require_same_form
from landscape.checkpoints.architectures import UNNAMED, factory_of, guess
from landscape.checkpoints.fitting import fit
from landscape.checkpoints.reading import Contents, read_checkpoint
from landscape.checkpoints.recipes import RecipeInFile, WithinMemory
from landscape.checkpoints.weights import Weights
from landscape.data import (
    Data,
    FixedBatches,
    as_data,
    data_name,
    examples_of,
    load_data,
    subset,
    with_label_noise,
)
from landscape.errors import InputError, UsageError
from landscape.isolation.modes import outside_modes
from landscape.losses import cross_entropy_name
from landscape.losses.loss_functions import Loss
from landscape.models import MODELS, build_model
from landscape.objective import Objective
from landscape.objective.arguments import loss_in
from landscape.objective.batch_norm import BatchNorm
from landscape.objective.batches import Source
from landscape.objective.micro_batches import Size
from landscape.objective.wrappers import unwrapped
from landscape.parameters import Selection
from landscape.processes import Processes
from landscape.registry.factories import PARTS, TASKS, task_parts
from landscape.registry.names import Specification
from landscape.registry.user_code import code_hash, names_code, user_module

Split = str
"""``train``, ``test``, or a part of the test examples with corruptions; see :func:`landscape.data.examples_of`."""


@dataclass(frozen=True)
class Checkpoint:
    """Everything needed to measure a checkpoint.

    Attributes:
        contents: What the file holds.
        model: The network with the checkpoint's parameters, in evaluation mode.
        model_name: The name of the network.
        data: The data set.
        loss: ``loss(outputs, targets)``, mean-reduced, or a :class:`landscape.BatchLoss`.
        loss_name: The name of the loss in records.
        code: A hash of the user's own files that were named, as numbers are only as old as these; ``None`` if
            none was.
        notes: What was done to read the file and to fit it to the network, for the reader.
        mapped: Whether the weights are in the file and not in memory.
    """

    contents: Contents
    model: nn.Module
    model_name: str
    data: Data
    loss: Loss
    loss_name: str
    code: str | None = None
    notes: tuple[str, ...] = ()
    mapped: bool = False

    def objective(
        self,
        split: Split = "train",
        *,
        limit: int | None = None,
        batch_size: int = 128,
        micro_batch: Size = None,
        batch_norm: BatchNorm = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        parameters: Selection = None,
        recompute: bool = False,
        shard_weights: bool = False,
        processes: Processes = None,
    ) -> Objective:
        """The empirical risk at this checkpoint.

        Args:
            split: Part of the data.
            limit: Size of a fixed random subset; all examples by default.
            batch_size: Examples a batch.
            micro_batch: See :class:`landscape.Objective`.
            batch_norm: The same; recalibrated on training examples, at most as many as ``limit`` says.
            device: See :class:`landscape.Objective`.
            dtype: See :class:`landscape.Objective`.
            parameters: Which parameters are free; see :func:`landscape.parameters.layout`.
            recompute: See :class:`landscape.Objective`.
            shard_weights: See :class:`landscape.Objective`; open the checkpoint with ``mapped=True``.
            processes: See :class:`landscape.Objective`.
        """
        batches, digest = self.batches(split, limit=limit, batch_size=batch_size)
        calibration = None
        if self.data.train is None:
            if batch_norm == "recalibrate":
                raise InputError(
                    f"batch norm is recalibrated on training examples, and {self.data.name} has none; add them, or "
                    "choose --batch-norm stored"
                )
            if batch_norm == "auto":
                batch_norm = "stored"
        if batch_norm in ("auto", "recalibrate") and split != "train":  # read only when they are needed
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
            parameters=parameters,
            recompute=recompute,
            shard_weights=shard_weights,
            processes=processes,
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
        """The examples of a split in batches, and the hash of their indices."""
        examples = examples_of(self.data, split)
        if not isinstance(examples, FixedBatches):
            selected, digest = subset(examples, limit)
            return DataLoader(selected, batch_size=batch_size, collate_fn=self.data.collate), digest
        if limit is not None:
            raise UsageError(
                f"limit={limit}: {self.data.name} gives batches that are made already; return a Dataset, or "
                "leave the limit out"
            )
        return list(examples.batches), subset(examples, None)[1]

    @outside_modes()
    def network_of(
        self,
        path: str | Path,
        *,
        trust: bool = False,
        weights: Weights | None = None,
        drop: Sequence[str] = (),
        rename: Sequence[str] = (),
    ) -> nn.Module:
        """The same network with the weights, buffers and statistics of another checkpoint.

        Args:
            path: The file, or a run folder.
            trust: Whether code stored in the file may run.
            weights: See :func:`load_checkpoint`.
            drop: The same.
            rename: The same.

        Raises:
            InputError: The file cannot be used, or is of another network.
        """
        script = _script_of(self.model) if trust else None
        contents = read_checkpoint(
            path, trust=trust, weights=weights, drop=drop, rename=rename, script=script
        )
        # Mapped weights are replaced, and never written to.
        memo: dict[int, Any] = {id(p): p for p in self.model.parameters()} if self.mapped else {}
        twin = copy.deepcopy(self.model, memo)
        if self.contents.adapter is not None or contents.adapter is not None:
            require_same_form(self.contents, contents)
            load_adapter(twin, contents)
            return twin
        fit(twin, contents.state, source=str(contents.path), name=self.model_name, copy=not self.mapped)
        return twin


@outside_modes()
def load_checkpoint(
    path: str | Path,
    *,
    model: nn.Module | str | None = None,
    data: Data | Source | str | None = None,
    loss: Loss | str | None = None,
    task: str | Mapping[str, Any] | None = None,
    trust: bool = False,
    weights: Weights | None = None,
    drop: Sequence[str] = (),
    rename: Sequence[str] = (),
    mapped: bool = False,
) -> Checkpoint:
    """Opens a checkpoint together with its network, data and loss.

    A checkpoint made by ``landscape train`` carries its recipe and needs no other argument.

    Args:
        path: The file, a run folder, or pretrained weights by name: ``"timm:resnet18.a1_in1k"``.
        model: The network, which is copied, or its name (``"resnet18"``, ``"timm:vit_tiny_patch16_224"``,
            ``"./nets.py:build"``).
        data: The data set, its name, or what a data factory may return: a ``Dataset``, a ``DataLoader``, a list
            of batches, or ``dict(train=…, test=…)`` of them.
        loss: ``loss(outputs, targets)``, mean-reduced, a :class:`landscape.BatchLoss`, or a name; by default
            that of the recipe, or cross-entropy with the label smoothing of the recipe.
        task: ``"./my_task.py:task"``, a function that returns ``dict(model=…, data=…, loss=…)``, or such a
            dictionary. The other arguments come before it.
        trust: Whether code stored in the file, or named in it, may run.
        weights: ``"raw"``, or ``"ema"`` for the averaged copy in the file; see
            :func:`landscape.checkpoints.read_checkpoint`.
        drop: Names of tensors in the file to leave out, or patterns such as ``"head.*"``.
        rename: ``"OLD=NEW"`` for names, and for what names begin with: ``"backbone=encoder"``, ``"model.="``.
        mapped: Whether the weights stay in the file, and are read where they are needed, instead of being copied into
            the network: for networks that do not fit whole, with ``Objective(…, shard_weights=True)``. The file must
            not be written to meanwhile.

    Raises:
        InputError: The file cannot be used, or does not fit the network; a network or data set is needed.
        UsageError: An unknown name or option.
    """
    script = _script_of(model) if trust else None
    contents = read_checkpoint(path, trust=trust, weights=weights, drop=drop, rename=rename, script=script)
    recipe = RecipeInFile(contents.path, contents.recipe or {}, trust)
    task = str(TASKS.parse(task)) if isinstance(task, str) and names_code(task) else task
    parts = task_parts(task)
    parts |= {key: value for key, value in zip(PARTS, (model, data, loss), strict=True) if value is not None}
    if trust and task is None and recipe.fields.get("task") is not None:
        task = str(recipe.named("task"))
        parts = {**task_parts(task), **parts}
    if task is not None:
        recipe = recipe.without_task()
    if contents.model is not None and contents.adapter is None:
        parts.setdefault("model", contents.model)
    examples, network, criterion = (
        parts[key] if key in parts else recipe.named(key) for key in ("data", "model", "loss")
    )
    if network is None or examples is None:
        raise InputError(_unknown(contents, model=network is None, data=examples is None))
    if "data" not in parts:
        with recipe.blamed():
            dataset = with_label_noise(load_data(examples), rate=recipe.number("label_noise"))
    else:
        named = isinstance(examples, (str, Specification))
        dataset = (
            load_data(examples) if named else as_data(examples, task if isinstance(task, str) else "data")
        )
        if _names_again(contents, task if data is None else examples):
            dataset = with_label_noise(dataset, rate=recipe.number("label_noise"))
    built, name = _built(network, dataset, contents, None if "model" in parts else recipe, values=not mapped)
    built, name, fitted = _with_weights(built, name, network, contents, copy=not mapped)
    if criterion is None:
        criterion = cross_entropy_name(recipe.number("label_smoothing"))
    function, function_name = loss_in(criterion)
    names = [
        str(part) for part in (task, network, examples, criterion) if isinstance(part, (str, Specification))
    ]
    return Checkpoint(
        contents=contents,
        model=built.eval(),
        model_name=name,
        data=dataset,
        loss=function,
        loss_name=function_name,
        code=code_hash(*names),
        notes=(*contents.notes, *fitted, *dataset.notes),
        mapped=mapped,
    )


def _built(
    network: nn.Module | str | Specification,
    data: Data,
    contents: Contents,
    recipe: RecipeInFile | None,
    *,
    values: bool = True,
) -> tuple[nn.Module, str]:
    """A new network or a copy of the user's, and its name; ``recipe`` is the one that names it, if one does.

    A new one may have parameters without ``values``.
    """
    if not isinstance(network, (str, Specification)):
        original = unwrapped(network)[0]  # the user's network keeps its weights
        return copy.deepcopy(original), type(original).__name__
    name = str(MODELS.parse(network) if names_code(network) else network)
    with contextlib.ExitStack() as limits:
        if recipe is not None:  # users may name networks of any size, a file may not
            limits.enter_context(recipe.blamed())
            limits.enter_context(WithinMemory(contents.path, name, stored=contents.stored))
        model = build_model(
            network, classes=data.classes, input_shape=data.input_shape, seed=0, values=values
        )
        return model, name


def _with_weights(
    built: nn.Module, name: str, network: object, contents: Contents, *, copy: bool = True
) -> tuple[nn.Module, str, tuple[str, ...]]:
    """The network with the weights of a checkpoint, or as the base of an adapter; its name, and what was done."""
    if contents.adapter is None:
        return built, name, fit(built, contents.state, source=str(contents.path), name=name, copy=copy)
    if not copy:
        raise UsageError(
            f"{contents.path} is an adapter, whose base is loaded whole: leave out --shard-weights (mapped=True), or "
            "merge the adapter into its base first (merge_and_unload())"
        )
    notes = loaded_base(built, network, contents)
    return *adapted(built, contents, name), notes


def _names_again(contents: Contents, name: Any) -> bool:
    """Whether the user names the code behind the data of a run, which its file names but cannot make run."""
    recorded = (contents.recipe or {}).get("data")
    return isinstance(name, str) and names_code(name) and recorded in (name, data_name(name))


def _script_of(model: nn.Module | str | None) -> ModuleType | None:
    """The module in which the user's network, or the function that makes it, is defined."""
    return user_module(model) if isinstance(model, str) else sys.modules.get(type(model).__module__)


def _unknown(contents: Contents, *, model: bool, data: bool) -> str:
    """The message for a checkpoint whose model or data are not known."""
    if contents.adapter is not None:
        base = base_name(contents)
        needed = {f"-m hf:{base or 'FOLDER'}": model, "-d DATA": data}
        return (
            f"{contents.path} is an adapter{f' for {base}' if base else ''}, and holds neither the weights of that "
            f"network nor data; add {' '.join(flag for flag, absent in needed.items() if absent)}"
        )
    similar = guess(contents.state)
    looks = f"; it looks like {similar.looks}" if similar and model else ""
    example = similar.model if similar else "resnet18"
    if contents.module is not None and model:
        looks = f"; it holds a network of class {contents.module}"
        own = factory_of(contents.module)
        example = example if similar and own == UNNAMED else own
    flags = {"model": f"-m MODEL (such as -m {example})", "data": "-d DATA (such as -d cifar10)"}
    missing = [name for name, absent in (("model", model), ("data", data)) if absent]
    return (
        f"{contents.path} does not say which {' and '.join(missing)} it belongs to (it was not made by "
        f"`landscape train`){looks}; add {' '.join(flags[name] for name in missing)}"
    )
