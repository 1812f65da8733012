"""Records which dimensions of which weights a forward pass lets be permuted, operation by operation.

The operations below torch's functions are intercepted, of which there are few: it does not matter whether a layer is a
module, a function, or written out. Nothing is known about the network but this one pass.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from landscape.alignment.axes import Axis
from landscape.alignment.operations import CONSTANTS, POINTWISE, POINTWISE_TOO, RULES, Axes, pointwise


@dataclass(frozen=True)
class Symmetries:
    """The axes of a network's parameters and buffers by name, and the axes of its units that may be permuted.

    Attributes:
        axes: For each tensor its axes.
        free: The axes without parts that may be permuted, in the order of the tensors, each with its name: the first
            tensor that has it, and the dimension there; with a number behind if that has several, as heads have.
        held: Why units stay in place that are neither inputs nor outputs, a line for each reason.
    """

    axes: Mapping[str, Sequence[Axis]]
    free: Mapping[Axis, str]
    held: tuple[str, ...]


def symmetries(model: nn.Module, forward: Callable[[], Sequence[Any]], inputs: Any) -> Symmetries:
    """The permutations of units that change no output of a forward pass.

    Args:
        model: The network, which is not changed.
        forward: Computes the outputs, which are held.
        inputs: The tensors that the pass begins with, in any nesting, which are held.
    """
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    with _layers(model) as layers, Recorder(layers) as recorder:
        for tensor in _tensors(inputs):
            recorder.add(tensor, [Axis(size, held="") for size in tensor.shape])
        for tensor in tensors.values():
            recorder.add(tensor, [Axis(size) for size in tensor.shape])
        for output in _tensors(forward()):
            for axis in recorder.axes(output):
                axis.hold()
    axes = {name: recorder.axes(tensor) for name, tensor in tensors.items()}
    free: dict[Axis, str] = {}
    names: Counter[str] = Counter()
    reasons: dict[str, None] = {}
    for name, own in axes.items():
        for dimension, axis in enumerate(own):
            for leaf in axis.leaves():
                if leaf.held:
                    reasons[leaf.held] = None
                elif (
                    leaf.held is None
                    and leaf.size > 1
                    and leaf not in free
                    and id(tensors[name]) in recorder.used
                ):
                    place = f"{name}[{dimension}]"
                    free[leaf] = f"{place}.{names[place]}" if names[place] else place
                    names[place] += 1
    return Symmetries(axes, free, tuple(reasons))


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the axes of tensors through operations.

    Attributes:
        used: The identities of the tensors that are an argument of some operation.
    """

    def __init__(self, layers: Sequence[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.used: set[int] = set()
        self._layers = layers
        self._known: dict[
            int, tuple[Tensor, Axes]
        ] = {}  # with the tensor, whose identity is used again otherwise
        # Results that no rule describes, such as the places of maxima, with what they were computed from: held if used.
        self._others: dict[int, list[Tensor]] = {}

    def add(self, tensor: Tensor, axes: Axes) -> None:
        """Says which axes a tensor has."""
        self._known[id(tensor)] = tensor, axes

    def axes(self, tensor: Tensor) -> Axes:
        """The axes of a tensor; a constant may be permuted where it has the same entries everywhere."""
        if id(tensor) in self._known:
            return self._known[id(tensor)][1]
        reason = f"layer '{self._layers[-1]}' combines them with a constant that differs between them"
        with torch.utils._python_dispatch._disable_current_modes():
            return [
                Axis(
                    size,
                    held=None if size < 2 or bool((tensor == tensor.narrow(dim, 0, 1)).all()) else reason,
                )
                for dim, size in enumerate(tensor.shape)
            ]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs the operation and follows its axes."""
        call = _Call(
            self, func, args, kwargs or {}, f"layer '{self._layers[-1]}' applies {_spoken(func)} to them"
        )
        # Before the operation, which may write to an argument.
        overlapping = call.written_in_part()
        out = func(*args, **(kwargs or {}))
        call.out = list(_tensors(out))
        known = [tensor for tensor in call.tensors if id(tensor) in self._known]
        self.used.update(map(id, known))
        if known and _spoken(func) not in CONSTANTS:
            self._hold(
                [source for tensor in known for source in self._others.pop(id(tensor), ())], call.reason
            )
            followed = [] if overlapping else call.followed()
            if not followed:
                self._hold([*call.tensors, *overlapping], call.reason)
            for position, tensor in enumerate(call.out):
                if position < len(followed):
                    self.add(tensor, followed[position])
                    continue
                self.add(tensor, [Axis(size, held=call.reason) for size in tensor.shape])
                self._others[id(tensor)] = call.tensors
        return out

    def _hold(self, tensors: Sequence[Tensor], reason: str) -> None:
        for tensor in tensors:
            for axis in self.axes(tensor):
                axis.hold(reason)

    def sharing(self, tensor: Tensor) -> list[Tensor]:
        """The known tensors in the memory of this one."""
        place = tensor.untyped_storage().data_ptr()
        return [other for other, _ in self._known.values() if other.untyped_storage().data_ptr() == place]


class _Call:
    """See :class:`landscape.alignment.operations.Call`."""

    def __init__(
        self, recorder: Recorder, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], reason: str
    ) -> None:
        self.reason, self.out = reason, list[Tensor]()
        self._recorder, self._func = recorder, func
        schema = func._schema.arguments
        given = {argument.name: value for argument, value in zip(schema, args, strict=False)} | dict(kwargs)
        self._given = {argument.name: given.get(argument.name, argument.default_value) for argument in schema}
        self.tensors = list(_tensors([*args, *kwargs.values()]))

    def __getitem__(self, name: str) -> Any:
        return self._given[name]

    def get(self, name: str) -> Any:
        return self._given.get(name)

    def axes(self, tensor: Tensor) -> Axes:
        return self._recorder.axes(tensor)

    def results(self) -> Sequence[Tensor]:
        return self.out

    def followed(self) -> Sequence[Axes]:
        """The axes of the results; none if there is no rule."""
        name = _spoken(self._func)
        if POINTWISE in self._func.tags or name in POINTWISE_TOO:
            return pointwise(self, self.tensors)
        try:
            return RULES[name](self) if name in RULES else []
        except (LookupError, TypeError, ValueError):  # an overload with other arguments than the rule knows
            return []

    def written_in_part(self) -> list[Tensor]:
        """What shares memory with an argument that the operation writes to and that is a part of that memory."""
        written = [
            self._given[argument.name]
            for argument in self._func._schema.arguments
            if argument.alias_info is not None and argument.alias_info.is_write
        ]
        parts = [
            tensor
            for tensor in _tensors(written)
            if tensor.numel() * tensor.element_size() != tensor.untyped_storage().nbytes()
            and not isinstance(tensor, nn.Parameter)
        ]
        return [other for part in parts for other in self._recorder.sharing(part)]


def _spoken(func: Any) -> str:
    """The name of an operation without its overload, and without the mark of one that writes to its argument."""
    return str(func.overloadpacket.__name__).removesuffix("_")


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors([*value.values()])
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _tensors(each)


@contextmanager
def _layers(model: nn.Module) -> Iterator[list[str]]:
    """Inside, a list whose last entry is the name of the layer that computes, or the class of the network."""
    names = [type(model).__name__]
    hooks = []
    for name, module in model.named_modules():
        if name:
            hooks.append(module.register_forward_pre_hook(lambda *_, name=name: names.append(name)))
            hooks.append(module.register_forward_hook(lambda *_: names.pop() and None))
    try:
        yield names
    finally:
        for hook in hooks:
            hook.remove()
