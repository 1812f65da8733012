"""Weights of which every process holds a part, whole only while an operation needs them.

All processes pass the same network together. A module that reads ``self.weight`` gets the weight gathered from the
parts of all processes; autograd sees it as a function of the part that is held here, and saves of it for the backward
pass only which weight it was, so that it is gathered again. Both directions can be differentiated any number of times,
which neither ``fully_shard`` nor ``DistributedDataParallel`` allows.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.multiprocessing import reductions

from landscape.errors import UsageError
from landscape.objective.memory import SavedTensors
from landscape.processes.group import Group

Shape = tuple[int, ...]

_STATE = "_landscape_divided_weights"
_WeakStorage: Any = reductions.StorageWeakRef


@dataclass(frozen=True, eq=False)
class _Source:
    """From what a tensor was gathered: the part held here, the module it belongs to, and where the network stood."""

    part: Tensor
    shape: Shape
    owner: int
    moves: int


@dataclass(frozen=True, eq=False)
class _Dropped:
    """What is kept of a tensor that autograd saves and that is a view of a gathered one."""

    source: _Source
    size: Shape
    stride: Shape
    offset: int


@dataclass(frozen=True, eq=False)
class _Recent:
    """A gathered tensor that was needed last; if a module requested it, the part and the modes of autograd."""

    source: _Source
    whole: Tensor
    requested: Tensor | None = None
    modes: tuple[bool, bool] | None = None


class Gathering(SavedTensors):
    """The exchange of the divided weights of one network.

    At any time the weights of one module are whole, those that were needed last, besides what an operation is using.

    Args:
        group: The processes; all of them need the same weights in the same order.

    Attributes:
        count: How many tensors were gathered so far.
        most: How many gathered tensors were in memory at once, at the most.
    """

    def __init__(self, group: Group) -> None:
        self.group = group
        self.count = self.most = 0
        self._moves = 0
        # By the address of the storage. A weak reference keeps the address from being used again, which the allocator
        # would do as soon as a large tensor is freed.
        self._sources: dict[int, tuple[Any, _Source]] = {}
        self._recent: list[_Recent] = []
        self._owner = 0

    def form(self, parameter: Tensor) -> Shape:
        """What has to be known of a parameter to make it of its part."""
        return tuple(parameter.shape)

    def weight(self, owner: nn.Module, part: Tensor, shape: Shape) -> Tensor:
        """The weight of a module, as a differentiable function of the part ``(kᵣ,)`` that is held here."""
        modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        self._enter(id(owner))
        for recent in self._recent:
            if recent.requested is part and recent.modes == modes:
                return recent.whole
        whole: Tensor = _Whole.apply(part, self, shape, id(owner))
        source = self._source_of(whole)
        assert source is not None
        self._recent.append(_Recent(source, whole, part, modes))
        return whole

    def gathered(self, part: Tensor, shape: Shape, owner: int = 0) -> Tensor:
        """The whole of a part, without derivative."""
        return self._fetched(_Source(part.detach(), shape, owner, self._moves))

    def release(self, *, moved: bool = False) -> None:
        """Drops the weights that were needed last; ``moved`` if the parts have other values from now on."""
        self._recent.clear()
        self._owner = 0
        self._moves += moved

    def dropping(self) -> AbstractContextManager[object]:
        """Inside, autograd saves no gathered weight."""
        return torch.autograd.graph.saved_tensors_hooks(self.pack, self.unpack)

    def drops(self, tensor: Tensor) -> bool:
        """Whether a tensor is a view of a gathered one."""
        return self._source_of(tensor) is not None

    def pack(self, tensor: Tensor) -> object:
        """What is kept of a tensor that autograd saves."""
        source = self._source_of(tensor)
        if source is None:
            return super().pack(tensor)
        return _Dropped(source, tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset()))

    def unpack(self, packed: Any) -> Tensor:
        """The tensor that was saved, gathered again if it was dropped."""
        if not isinstance(packed, _Dropped):
            return super().unpack(packed)
        source = packed.source
        if source.moves != self._moves:
            raise RuntimeError("a weight that a derivative needs has other values than when it was used")
        self._enter(source.owner)
        whole = next((recent.whole for recent in self._recent if recent.source is source), None)
        if whole is None:
            with torch.no_grad():
                whole = self._fetched(source)
            self._recent.append(_Recent(source, whole))
        return whole.detach().as_strided(packed.size, packed.stride, packed.offset)

    def _fetched(self, source: _Source) -> Tensor:
        whole = self.group.whole(source.part, torch.Size(source.shape).numel()).view(source.shape)
        storage = _WeakStorage(whole.untyped_storage())
        self._sources = {key: each for key, each in self._sources.items() if not each[0].expired()}
        self._sources[storage.cdata] = storage, source
        self.count += 1
        self.most = max(self.most, len(self._sources))
        return whole

    def _enter(self, owner: int) -> None:
        """Drops the weights of any other module."""
        if owner != self._owner:
            self._recent.clear()
            self._owner = owner

    def _source_of(self, tensor: Tensor) -> _Source | None:
        if tensor.layout is not torch.strided:
            return None
        storage, source = self._sources.get(tensor.untyped_storage()._cdata, (None, None))
        if storage is None or source is None or storage.expired() or tensor.dtype != source.part.dtype:
            return None
        return source


class _Whole(torch.autograd.Function):
    """The whole of a part; the derivative is the mean over the processes, of which each gets its part.

    So a mean over the processes is differentiated: where all of them compute the same loss, it is that of this loss.
    """

    @staticmethod
    def forward(part: Tensor, gathering: Gathering, shape: Shape, owner: int) -> Tensor:
        return gathering.gathered(part, shape, owner)

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        context.gathering = inputs[1]

    @staticmethod
    def backward(context: Any, slope: Tensor) -> tuple[Tensor, None, None, None]:
        return _MeanShare.apply(slope, context.gathering), None, None, None


class _MeanShare(torch.autograd.Function):
    """This process's part of a mean over the processes; the derivative is the whole of the parts.

    It is the adjoint of :class:`_Whole` where an inner product of whole tensors is the mean over the processes, and one
    of parts is the sum: so both are differentiated alike, however often.
    """

    @staticmethod
    def forward(whole: Tensor, gathering: Gathering) -> Tensor:
        return gathering.group.mean_share(whole.reshape(-1))

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        context.shape, context.gathering = tuple(inputs[0].shape), inputs[1]

    @staticmethod
    def backward(context: Any, slope: Tensor) -> tuple[Tensor, None]:
        return _Whole.apply(slope, context.gathering, context.shape, 0), None


class Source(Protocol):
    """Makes the weights that modules read of the parts that are in their place."""

    def form(self, parameter: Tensor, /) -> Any:
        """What has to be known of a parameter for that."""

    def weight(self, owner: nn.Module, part: Tensor, form: Any, /) -> Tensor:
        """The weight of a module."""


def use_parts(model: nn.Module, parts: dict[int, nn.Parameter], source: Source) -> None:
    """Puts the parts of a model's parameters in place of these; whoever reads a weight gets what the source makes.

    Args:
        model: The network, which is changed; its parameters give the shapes alone, and may be without values.
        parts: The part of every parameter, by the parameter's ``id``.
        source: Makes weights of them.

    Raises:
        UsageError: A module has no Python class whose weights could be replaced.
    """
    for name, module in list(model.named_modules()):
        own = {key: p for key, p in module._parameters.items() if p is not None}
        if not own:
            continue
        if isinstance(module, torch.jit.ScriptModule):
            raise UsageError(
                f"the weights of '{name}' cannot be replaced, because torch.jit has compiled it: pass the module that "
                "it was made of"
            )
        vars(module)[_STATE] = source, {key: source.form(p) for key, p in own.items()}
        # A class of its own, as torch's parametrizations make one: a property comes before what nn.Module looks up.
        members: dict[str, Any] = {key: property(_reading(key)) for key in own}
        members |= {"__module__": type(module).__module__, "__qualname__": type(module).__qualname__}
        if isinstance(module, nn.RNNBase):
            members |= {"_flat_weights": property(_flat_weights)}
            members |= dict.fromkeys(("_update_flat_weights", "_init_flat_weights"), lambda layer: None)
        kind: Any = type(type(module))
        module.__class__ = kind(type(module).__name__, (type(module),), members)
        for key, parameter in own.items():
            module._parameters[key] = parts[id(parameter)]


def largest_module(model: nn.Module) -> int:
    """The bytes of the weights of a module that are gathered together, the most of all modules."""
    sizes = [0]
    for module in model.modules():
        _, shapes = vars(module).get(_STATE, (None, {}))
        parts: Any = module._parameters
        sizes.append(sum(torch.Size(shape).numel() * parts[key].itemsize for key, shape in shapes.items()))
    return max(sizes)


def _reading(key: str) -> Any:
    def weight(module: nn.Module) -> Tensor:
        source, forms = vars(module)[_STATE]
        part: Any = module._parameters[key]
        whole: Tensor = source.weight(module, part, forms[key])
        return whole

    return weight


def _flat_weights(layer: nn.RNNBase) -> list[Tensor]:
    """What the recurrent layers of torch hold as a list of their own."""
    return [getattr(layer, name) for name in layer._flat_weights_names]
