"""A private copy of the user's network whose free parameters are views of one flat vector θ."""

import contextlib
import copy
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import InputError, UsageError
from landscape.objective.batch_norm import MODES, BatchNorm, set_batch_norm, stored_layers
from landscape.objective.batches import copied
from landscape.objective.recurrent import use_plain_kernels
from landscape.objective.weight_norm import use_formula
from landscape.objective.wrappers import unwrapped, without_inner_wrappers
from landscape.parameters import Layout, Selection, frozen_note, layout, select

_HALF = (torch.float16, torch.bfloat16)
_DROPOUT = (nn.modules.dropout._DropoutNd,)


class Replica:
    """A copy of a network at a movable point; the original is never written to.

    ``moves`` counts how often it has moved: graphs made before are of another point. ``calibrated`` is what that
    count was when batch-norm statistics were last recomputed.

    Args:
        model: The user's network. Its modules keep their mode, except batch norm.
        parameters: Which parameters are free; see :func:`landscape.parameters.layout`.
        batch_norm: ``"stored"`` uses the running statistics, ``"batch"`` those of each batch; with
            ``"recalibrate"`` whoever has data stores new ones after each move.
        device: Where to compute; ``None`` for where the model is.
        dtype: ``torch.float32`` or ``torch.float64``; ``None`` for the model's own (half precision is raised
            to float32, in which second derivatives are still good).

    Attributes:
        notes: What had to be done so that there is a second derivative, a line each.
        input_copies: For a network that writes to its inputs.

    Raises:
        InputError: The model cannot be copied, has weights without values or in integers, or a weight is NaN or
            infinite.
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
        if batch_norm not in MODES:
            raise UsageError(
                f"batch_norm={batch_norm!r} is not one of {', '.join(repr(mode) for mode in MODES)}"
            )
        if dtype not in (None, torch.float32, torch.float64):
            raise UsageError(f"dtype={dtype} is not float32 or float64")
        model, wrappers = unwrapped(model)
        _refuse_valueless(model)
        _refuse_dropout(model)
        first = next(iter(model.parameters()), torch.empty(0))
        self.device = torch.device(device) if device is not None else first.device
        self.dtype = dtype or (torch.float32 if first.dtype in _HALF else first.dtype)
        # Weakly, so that an objective keeps no network alive but its own.
        self._originals = [(name, weakref.ref(parameter)) for name, parameter in model.named_parameters()]
        chosen = [name for name, _ in select(model, parameters)]
        free = layout(model, parameters)
        with torch.inference_mode(False):
            self.model = _copied(model)
            self.layout, inner = without_inner_wrappers(self.model, free)
            chosen = list(self.layout.names) if inner else chosen
            self.notes = _notes(self.model, [*wrappers, *inner], self.dtype)
            self.notes += frozen_note(model) if parameters is None else []
            self.model = self.model.to(device=self.device, dtype=self.dtype)
            set_batch_norm(self.model, batch_norm)
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
        self.moves, self.calibrated = 0, -1
        self.input_copies = InputCopies()
        _refuse_non_finite(self.layout, self.origin)

    def originals(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and tensors of the user's own network, as far as these still exist."""
        for name, reference in self._originals:
            parameter = reference()
            if parameter is not None:
                yield name, parameter

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

    @property
    def statistics(self) -> dict[str, Tensor]:
        """Copies of the batch-norm statistics that the layers use as they are, by the names of their buffers."""
        return {
            f"{name}.{kind}": getattr(layer, kind).clone()
            for name, layer in stored_layers(self.model).items()
            if not layer.training
            for kind in ("running_mean", "running_var")
        }

    def store(self, statistics: Mapping[str, Tensor]) -> None:
        """Takes over batch-norm statistics; the network then has to be moved anew, also to where it stands."""
        buffers = dict(self.model.named_buffers())
        with torch.no_grad():
            for name, values in statistics.items():
                buffers[name].copy_(values)
        self._at = None


class InputCopies:
    """Gives a network that writes to its inputs copies of them, whoever calls it, from :meth:`install` on."""

    def __init__(self) -> None:
        self._is_paused = False

    def install(self, model: nn.Module) -> None:
        """Begins with it; the model is changed."""
        model.register_forward_pre_hook(self._copies, with_kwargs=True)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Inside, the network is given copies already, and a loss may look at what the network makes of them."""
        self._is_paused = True
        try:
            yield
        finally:
            self._is_paused = False

    def _copies(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        return None if self._is_paused else (copied(args), copied(kwargs))


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


def _notes(model: nn.Module, wrappers: list[str], dtype: torch.dtype) -> list[str]:
    """Makes the copy twice differentiable where a layer stands in the way, and says so."""
    notes = [f"taken out of its wrapper: {', '.join(dict.fromkeys(wrappers))}"] if wrappers else []
    half = sorted({str(p.dtype).removeprefix("torch.") for p in model.parameters() if p.dtype in _HALF})
    if half:
        raised = str(dtype).removeprefix("torch.")
        notes.append(
            f"weights in {', '.join(half)} are raised to {raised}, in which second derivatives are good"
        )
    kinds = use_plain_kernels(model)
    if kinds:
        notes.append(
            f"{', '.join(kinds)} by the plain kernels: those of cuDNN and oneDNN have no second derivative"
        )
    normalised = use_formula(model)
    if normalised:
        notes.append(
            f"weight normalisation of {', '.join(normalised[:3])}{', …' if len(normalised) > 3 else ''} "
            "by its formula: the second derivative of torch's kernel is wrong"
        )
    return notes


def _refuse_valueless(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if parameter.is_meta:
            raise InputError(
                f"the weights of {type(model).__name__} are on the meta device ({name} and others): they have shapes "
                "but no values; load the checkpoint into it first (model.to_empty(device='cpu'), load_state_dict)"
            )
        if parameter.requires_grad and not parameter.is_floating_point():
            raise InputError(f"{name} is {parameter.dtype}: only floating-point weights have a derivative")
        if not parameter.is_floating_point() or parameter.is_quantized:
            raise InputError(_quantised(name, str(parameter.dtype)))
    for name, module in model.named_modules():
        if ".quantized." in type(module).__module__:
            raise InputError(_quantised(name, type(module).__name__))


def _quantised(name: str, kind: str) -> str:
    return (
        f"'{name}' is quantised ({kind}): integers have no derivative; load the float weights, or dequantise them "
        "(tensor.dequantize()) into the float network"
    )


def _refuse_non_finite(shapes: Layout, point: Tensor) -> None:
    if bool(torch.isfinite(point).all()):
        return
    bad = {name: int((~torch.isfinite(t)).sum()) for name, t in shapes.named(point).items()}
    worst = [f"{name} ({count})" for name, count in bad.items() if count]
    raise InputError(
        f"{sum(bad.values())} of {shapes.dimension} weights are NaN or infinite: {', '.join(worst[:3])}"
        f"{', …' if len(worst) > 3 else ''}; the training that made them diverged, take an earlier checkpoint"
    )
