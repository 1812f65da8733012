"""A private copy of the user's network whose free parameters are views of one flat vector θ."""

import contextlib
import math
import weakref
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import InputError, UsageError
from landscape.isolation.modes import outside_modes
from landscape.isolation.switches import assigned
from landscape.objective.arguments import refuse_missing_float64
from landscape.objective.batch import copied
from landscape.objective.batch_norm import MODES, BatchNorm, set_batch_norm, stored_layers
from landscape.objective.fully_sharded import is_fully_sharded, taken_apart
from landscape.objective.kernels import switch_caches_off, use_formula_of_weight_norm, use_own_statistics
from landscape.objective.recurrence import use_plain_recurrence
from landscape.objective.shards import Sharded, Shards, sharded_network
from landscape.objective.spread import HOST, devices_of, refuse_offloaded, spread_network
from landscape.objective.weights import Weights, copied_network, given_network
from landscape.objective.wrappers import unwrapped, without_inner_wrappers
from landscape.parameters import Layout, Selection, frozen, layout, selection_note, sharded_by
from landscape.reductions import norm

_HALF = (torch.float16, torch.bfloat16)


class Replica:
    """A copy of a network at a movable point; the original is never written to.

    The arguments are those of :class:`landscape.objective.Objective`; with ``batch_norm="recalibrate"`` the owner of
    the data stores new statistics after each move. Half precision, too coarse for second derivatives, becomes float32.

    Attributes:
        shards: What is held here of its vectors.
        notes: The changes that second derivatives required, a line each.
        frozen: What is held fixed because it requires no gradient, as records say it.
        input_copies: Switched on for a network that writes to its inputs.
        moves: The number of moves; graphs that were made at a smaller number are of another point.
        calibrated: That number when batch-norm statistics were last recomputed.

    Raises:
        InputError: The model cannot be copied, or has weights that are not finite floating-point numbers.
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
        copy: bool = True,
        sharded: Sharded | None = None,
    ) -> None:
        _refuse_options(batch_norm, dtype)
        model, wrappers = unwrapped(model)
        if sharded is not None and is_fully_sharded(model):
            device = device or _device_of(model)
            model, read = taken_apart(model)
            sharded, wrappers = sharded._replace(read=read), [*wrappers, "fully_shard"]
        _refuse_divided(model)
        refuse_offloaded(model, "one device" if sharded is not None else device)
        _refuse_valueless(model, may_be_read=sharded is not None and sharded.read is not None)
        _refuse_dropout(model)
        is_spread = device is None and sharded is None and len(devices := devices_of(model)) > 1
        self.device, self.dtype = _place(model, HOST if is_spread else device, dtype)
        # Weak references, so that an objective keeps no network alive but its own.
        self._originals = [(name, weakref.ref(p)) for name, p in model.named_parameters() if copy]
        free = layout(model, parameters)
        notes = [*_raised(model, self.dtype), *selection_note(model, parameters, free.names)]
        notes += [_spread_note(devices)] if is_spread else []
        self.frozen = frozen(model, parameters, free.names)
        with torch.inference_mode(False):  # a tensor made in inference mode can never require a gradient
            there: Any = {"device": self.device, "dtype": self.dtype}
            if sharded is not None:
                self.model, vector, shards = sharded_network(model, free, *sharded, **there)
            else:
                own = copied_network if copy else given_network
                spread = partial(spread_network, copy=copy, dtype=self.dtype)
                self.model, vector = spread(model, free) if is_spread else own(model, free, **there)
                shards = Shards(free)
            self.layout, inner = without_inner_wrappers(self.model, shards.layout)
            self.shards = shards.named(self.layout.names)
            self.notes = [*_mended(self.model, [*wrappers, *inner]), *notes]
            # Parts of what is spread are on the host already, and buffers stay where they are.
            self.model = self.model.to(device=None if is_spread else self.device, dtype=self.dtype)
            set_batch_norm(self.model, batch_norm)
            everything = dict(self.model.named_parameters())
            for parameter in everything.values():
                parameter.grad = None
                parameter.requires_grad_(False)
            self.parameters = [everything[name] for name in self.layout.names]
            self._weights = Weights(self.layout, self.parameters, vector)
            for parameter in self.parameters:
                parameter.requires_grad_(True)
        self._at: Tensor | None = vector
        self.moves, self.calibrated = 0, -1
        self.input_copies = InputCopies()
        _refuse_non_finite(self.layout, vector)

    def originals(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and tensors of the user's own network, as far as these still exist."""
        pairs = ((name, reference()) for name, reference in self._originals)
        return ((name, parameter) for name, parameter in pairs if parameter is not None)

    @property
    def point(self) -> Tensor:
        """θ where the network stands, ``(n,)``, which the free parameters are views of; not to be written to."""
        return self._weights.vector

    def move(self, point: Tensor, *, constant: bool) -> None:
        """Puts the network at ``point`` ``(n,)``; a second move costs nothing if the caller never writes to it.

        Args:
            point: On the device and in the precision of the network.
            constant: Whether nobody ever writes to the point, which is not copied then.
        """
        if point is self._at:
            return
        with torch.inference_mode(False):
            if (
                constant and not point.is_inference()
            ):  # weights made in inference mode cannot be differentiated
                self._weights.stand_on(point)
            else:
                self._weights.copy(point)
        self._moved()
        self._at = point if constant else None

    @contextlib.contextmanager
    def elsewhere(self) -> Iterator[Tensor]:
        """Inside, the network moves to other points; afterwards it stands where it stood, which this yields."""
        with self._weights.elsewhere() as here:
            try:
                yield here
            finally:
                self._moved()
                self._at = None

    def _moved(self) -> None:
        self.moves += 1
        self.shards.release()

    def leave(self) -> None:
        """Makes the next move one, also to the same point."""
        self._at = None

    @property
    @outside_modes()
    def statistics(self) -> dict[str, Tensor]:
        """Copies of the batch-norm statistics that the layers use as they are, by the names of their buffers."""
        return {
            f"{name}.{kind}": getattr(layer, kind).clone()
            for name, layer in stored_layers(self.model).items()
            if not layer.training
            for kind in ("running_mean", "running_var")
        }

    def store(self, statistics: Mapping[str, Tensor]) -> None:
        """Stores batch-norm statistics; afterwards a move to the same point counts as a move."""
        buffers = dict(self.model.named_buffers())
        with torch.no_grad():
            for name, values in statistics.items():
                buffers[name].copy_(values)
        self._at = None


class InputCopies:
    """Copies of its inputs for a network that writes to them, whatever calls it, from :meth:`install` on."""

    _is_paused = False

    def install(self, model: nn.Module) -> None:
        """Registers the hook that copies."""
        model.register_forward_pre_hook(self._copies, with_kwargs=True)

    def paused(self) -> AbstractContextManager[None]:
        """Inside, the inputs are copies already, and the loss may look at what the network has written to them."""
        return assigned((self, "_is_paused", True))

    def _copies(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        return None if self._is_paused else (copied(args), copied(kwargs))


def stochastic_modules(model: nn.Module) -> list[str]:
    """The dropout-like layers that are switched on, as ``name (Dropout, p=0.5)``."""
    return [
        f"'{name}' ({type(module).__name__}, p={module.p})"
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.training and module.p > 0
    ]


def _raised(model: nn.Module, dtype: torch.dtype) -> list[str]:
    """The note that weights in half precision get another one; no line if there are none."""
    half = sorted({str(p.dtype).removeprefix("torch.") for p in model.parameters() if p.dtype in _HALF})
    raised = str(dtype).removeprefix("torch.")
    return (
        [f"weights in {', '.join(half)} are raised to {raised}, for good second derivatives"] if half else []
    )


def _mended(model: nn.Module, wrappers: list[str]) -> list[str]:
    """Makes the network twice differentiable, in place; returns the notes on that and on wrappers."""
    notes = [f"taken out of its wrapper: {', '.join(dict.fromkeys(wrappers))}"] if wrappers else []
    switch_caches_off(model)
    if kinds := ", ".join(use_plain_recurrence(model)):
        notes.append(f"{kinds} as loops over time: the kernels of cuDNN and oneDNN have no second derivative")
    if names := use_own_statistics(model):
        notes.append(
            f"SyncBatchNorm of {', '.join(names[:3])}{', …' if len(names) > 3 else ''}: of this process alone"
        )
    if names := use_formula_of_weight_norm(model):
        notes.append(
            f"weight normalisation of {', '.join(names[:3])}{', …' if len(names) > 3 else ''} by its formula: the "
            "second derivative of torch's kernel is wrong"
        )
    return notes


def _refuse_dropout(model: nn.Module) -> None:
    active = stochastic_modules(model)
    if active:
        raise UsageError(
            f"dropout is active in {', '.join(active[:3])}: the loss would be another number at every "
            "evaluation; call model.eval() first"
        )


def _refuse_divided(model: nn.Module) -> None:
    """Raises an :class:`InputError` for a network that is sharded over processes."""
    kind = next((kind for p in model.parameters() if (kind := sharded_by(p)) is not None), None)
    if kind is not None:
        raise InputError(
            f"the weights of {type(model).__name__} are sharded over processes ({kind}), and an objective needs all of "
            "them in one: for a network of fully_shard, pass processes='split' and shard_weights=True, which takes it "
            "apart; otherwise call state = torch.distributed.checkpoint.state_dict.get_model_state_dict(model, "
            "options=StateDictOptions(full_state_dict=True)) in every process, load it into a network that is not "
            "sharded with load_state_dict(state), and pass that"
        )


def _refuse_valueless(model: nn.Module, *, may_be_read: bool) -> None:
    for name, parameter in model.named_parameters():
        if parameter.is_meta and not may_be_read:
            raise InputError(
                f"the weights of {type(model).__name__} are on the meta device ({name} and others): they have shapes "
                "but no values; load the checkpoint into it first (model.to_empty(device='cpu'), load_state_dict)"
            )
        if parameter.is_complex():
            raise InputError(f"{name} is {parameter.dtype}: only weights in floating point have a derivative")


def _refuse_options(batch_norm: BatchNorm, dtype: torch.dtype | None) -> None:
    if batch_norm not in MODES:
        raise UsageError(f"batch_norm={batch_norm!r} is not one of {', '.join(map(repr, MODES))}")
    if dtype not in (None, torch.float32, torch.float64):
        raise UsageError(f"dtype={dtype!r} is neither torch.float32 nor torch.float64")


def _place(
    model: nn.Module, device: torch.device | str | None, dtype: torch.dtype | None
) -> tuple[torch.device, torch.dtype]:
    """The device and the precision of all computations: by default those of the first weights."""
    # Of which a network with integers alone has none.
    weights = (p for p in model.parameters() if p.is_floating_point())
    first = next(weights, torch.empty(0, device=_device_of(model), dtype=torch.float32))
    place = torch.device(device or ("cpu" if first.is_meta else first.device))
    precision = dtype or (torch.float32 if first.dtype in _HALF else first.dtype)
    refuse_missing_float64(place, precision, f"device='{place}'")
    return place, precision


def _device_of(model: nn.Module) -> torch.device:
    tensors = (*model.parameters(), *model.buffers())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


def _spread_note(devices: Mapping[torch.device, str]) -> str:
    few = ", ".join(f"{device} ({name})" for device, name in devices.items())
    return f"weights on {len(devices)} devices, {few}: each layer is computed where it is, vectors are on the host"


def _refuse_non_finite(shapes: Layout, point: Tensor) -> None:
    if math.isfinite(norm(point)):  # copies nothing; of large numbers in float64 it may overflow
        return
    counts = {name: int((~torch.isfinite(part)).sum()) for name, part in shapes.named(point).items()}
    bad = [f"{name} ({count})" for name, count in counts.items() if count]
    if not bad:
        return
    raise InputError(
        f"{sum(counts.values())} of {shapes.dimension} weights are NaN or infinite: {', '.join(bad[:3])}"
        f"{', …' if len(bad) > 3 else ''}; the training that made them diverged, take an earlier checkpoint"
    )
