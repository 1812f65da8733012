"""A private copy of the user's network whose free parameters are views of one flat vector θ."""

import copy
from typing import Literal

import torch
from torch import Tensor, nn

from landscape.errors import InputError, UsageError
from landscape.parameters import Layout, Selection, layout, select

BatchNorm = Literal["stored", "batch"]

_HALF = (torch.float16, torch.bfloat16)
_DROPOUT = (nn.modules.dropout._DropoutNd,)


class Replica:
    """A copy of a network at a movable point; the original is never written to.

    ``moves`` counts how often it has moved: graphs made before are of another point.

    Args:
        model: The user's network. Its modules keep their mode, except batch norm.
        parameters: Which parameters are free; see :func:`landscape.parameters.layout`.
        batch_norm: ``"stored"`` uses the running statistics, ``"batch"`` those of each batch.
        device: Where to compute; ``None`` for where the model is.
        dtype: ``torch.float32`` or ``torch.float64``; ``None`` for the model's own (half precision is raised
            to float32, in which second derivatives are still good).

    Raises:
        InputError: The model cannot be copied, or a weight is NaN or infinite.
        UsageError: A dropout layer is in training mode, or an argument is not one of those allowed.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        parameters: Selection,
        batch_norm: BatchNorm,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        if batch_norm not in ("stored", "batch"):
            raise UsageError(f"batch_norm={batch_norm!r} is not one of 'stored', 'batch'")
        if dtype not in (None, torch.float32, torch.float64):
            raise UsageError(f"dtype={dtype} is not float32 or float64")
        _refuse_dropout(model)
        first = next(iter(model.parameters()), torch.empty(0))
        self.device = torch.device(device) if device is not None else first.device
        self.dtype = dtype or (torch.float32 if first.dtype in _HALF else first.dtype)
        chosen = [name for name, _ in select(model, parameters)]
        self.layout: Layout = layout(model, parameters)
        with torch.inference_mode(False):
            self.model = _copied(model).to(device=self.device, dtype=self.dtype)
            _set_batch_norm(self.model, batch_norm)
            everything = dict(self.model.named_parameters())
            for parameter in everything.values():
                parameter.grad = None
                parameter.requires_grad_(False)
            self.parameters = [everything[name] for name in chosen]
            self._flat = self.layout.flatten([p.detach() for p in self.parameters]).clone()
            for parameter, view in zip(self.parameters, self.layout.split(self._flat), strict=True):
                parameter.data = view
                parameter.requires_grad_(True)
            self.origin = self._flat.clone()
        self._at: Tensor | None = self.origin
        self.moves = 0
        _refuse_non_finite(self.layout, self.origin)

    def move(self, point: Tensor, *, constant: bool) -> None:
        """Puts the network at ``point`` ``(n,)``.

        Args:
            point: Where to go.
            constant: The caller promises never to write to ``point``, so that a second move there is free.
        """
        if point is not self._at:
            self._flat.copy_(point)
            self.moves += 1
            self._at = point if constant else None


def stochastic_modules(model: nn.Module) -> list[str]:
    """The dropout-like layers that are switched on, as ``name (Dropout, p=0.5)``."""
    return [
        f"'{name}' ({type(module).__name__}, p={module.p})"
        for name, module in model.named_modules()
        if isinstance(module, _DROPOUT) and module.training and module.p > 0
    ]


def _refuse_dropout(model: nn.Module) -> None:
    active = stochastic_modules(model)
    if active:
        raise UsageError(
            f"dropout is active in {', '.join(active[:3])}: the loss would be another number at every "
            "evaluation; call model.eval() first"
        )


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except (RuntimeError, TypeError) as failure:
        raise InputError(
            f"{type(model).__name__} cannot be copied ({str(failure).splitlines()[0]}); a weight that a hook "
            "computes (torch.nn.utils.weight_norm) must be made by torch.nn.utils.parametrizations instead"
        ) from failure


def _set_batch_norm(model: nn.Module, mode: BatchNorm) -> None:
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.train(mode == "batch")
            if mode == "batch":
                module.track_running_stats = False


def _refuse_non_finite(shapes: Layout, point: Tensor) -> None:
    if bool(torch.isfinite(point).all()):
        return
    bad = {name: int((~torch.isfinite(t)).sum()) for name, t in shapes.named(point).items()}
    worst = [f"{name} ({count})" for name, count in bad.items() if count]
    raise InputError(
        f"{sum(bad.values())} of {shapes.dimension} weights are NaN or infinite: {', '.join(worst[:3])}"
        f"{', …' if len(worst) > 3 else ''}; the training that made them diverged, take an earlier checkpoint"
    )
