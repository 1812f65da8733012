"""A checkpoint as a point of a loss landscape: parameters, the network they belong to, the data, the loss."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from landscape.checkpoints.architectures import guess
from landscape.checkpoints.fitting import fit
from landscape.checkpoints.reading import Contents, read_checkpoint
from landscape.checkpoints.weights import Weights
from landscape.data import Data, load_data, subset, with_label_noise
from landscape.errors import InputError, UsageError
from landscape.models import build_model
from landscape.objective import Objective
from landscape.parameters import Layout
from landscape.replica import BatchNorm

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Checkpoint:
    """Everything needed to measure a checkpoint.

    Attributes:
        contents: What the file holds.
        model: The network with the checkpoint's parameters, in evaluation mode.
        model_name: How the network was asked for.
        data: The data set.
        loss: ``loss(outputs, targets)``, mean-reduced.
        loss_name: How the loss is called in records.
        notes: What was done to read the file and to fit it to the network, for the reader.
    """

    contents: Contents
    model: nn.Module
    model_name: str
    data: Data
    loss: Callable[[Tensor, Tensor], Tensor]
    loss_name: str
    notes: tuple[str, ...] = ()

    def objective(
        self,
        split: Split = "train",
        *,
        limit: int | None = None,
        batch_size: int = 128,
        batch_norm: BatchNorm = "stored",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Objective:
        """The empirical risk at this checkpoint.

        Args:
            split: Which part of the data.
            limit: A fixed random subset of so many examples; all of them by default.
            batch_size: Examples a batch.
            batch_norm: See :class:`landscape.Objective`.
            device: See :class:`landscape.Objective`.
            dtype: See :class:`landscape.Objective`.
        """
        if split not in ("train", "test"):
            raise UsageError(f"split={split!r} is not one of train, test")
        examples, digest = subset(self.data.train if split == "train" else self.data.test, limit)
        objective = Objective(
            self.model,
            self.loss,
            examples,
            batch_size=batch_size,
            batch_norm=batch_norm,
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
            recipe=self.contents.recipe,
        )

    def point_of(
        self, path: str | Path, layout: Layout, *, trust: bool = False, weights: Weights | None = None
    ) -> Tensor:
        """The parameters ``(n,)`` of another checkpoint of the same network.

        Args:
            path: The file, or a run folder.
            layout: Which parameters, in which order: that of an objective.
            trust: Whether code stored in the file may run.
            weights: See :func:`load_checkpoint`.

        Raises:
            InputError: The file cannot be used, or is of another network.
        """
        contents = read_checkpoint(path, trust=trust, weights=weights)
        twin = copy.deepcopy(self.model)
        fit(twin, contents.state, source=str(contents.path), name=self.model_name)
        named = dict(twin.named_parameters())
        return layout.flatten([named[name].detach() for name in layout.names])


def load_checkpoint(
    path: str | Path,
    *,
    model: nn.Module | str | None = None,
    data: Data | str | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    trust: bool = False,
    weights: Weights | None = None,
) -> Checkpoint:
    """Opens a checkpoint together with its network, data and loss.

    A checkpoint made by ``landscape train`` carries its recipe and needs no other argument.

    Args:
        path: The file, or a run folder.
        model: The network, or its name (``"resnet18"``, ``"torchvision:resnet50:num_classes=10"``). A network
            given is copied.
        data: The data set, or its name.
        loss: ``loss(outputs, targets)``, mean-reduced; by default cross-entropy, with the label smoothing
            of the recipe.
        trust: Whether code stored in the file may run.
        weights: ``"raw"``, or ``"ema"`` for the averaged copy in the file; see
            :func:`landscape.checkpoints.read_checkpoint`.

    Raises:
        InputError: The file cannot be used, or does not fit the network; a network or data set is needed.
    """
    contents = read_checkpoint(path, trust=trust, weights=weights)
    recipe = dict(contents.recipe or {})
    chosen: Data | str | None = recipe.get("data") if data is None else data
    network: nn.Module | str | None = recipe.get("model") if model is None else model
    if chosen is None or network is None:
        raise InputError(_nameless(contents, model=network is None, data=chosen is None))
    dataset = load_data(chosen) if isinstance(chosen, str) else chosen
    if data is None:
        dataset = with_label_noise(dataset, rate=float(recipe.get("label_noise", 0.0)))
    if isinstance(network, str):
        built = build_model(network, classes=dataset.classes, input_shape=dataset.input_shape, seed=0)
        name = network
    else:
        built, name = copy.deepcopy(network), type(network).__name__
    fitted = fit(built, contents.state, source=str(contents.path), name=name)
    smoothing = float(recipe.get("label_smoothing", 0.0))
    if loss is not None:
        loss_name = getattr(loss, "__name__", type(loss).__name__)
    else:
        loss = nn.CrossEntropyLoss(label_smoothing=smoothing)
        loss_name = f"cross-entropy:label_smoothing={smoothing}" if smoothing else "cross-entropy"
    return Checkpoint(
        contents, built.eval(), name, dataset, loss, loss_name, notes=(*contents.notes, *fitted)
    )


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
