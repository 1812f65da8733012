"""The state that all passes of a step share: batch-norm statistics, random numbers, and the data.

A sharpness-aware step evaluates the network at weights that are thrown away. Such a pass must draw the dropout
masks of the first one, see the same inputs, and leave no trace in running statistics or in the random streams.
"""

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import (  # private, but the only common bases of the norms
    _BatchNorm,
    _NormBase,
)

from landscape.isolation.randomness import RANDOMNESS, DeviceGenerator


def tracking_modules(model: nn.Module | None) -> list[nn.Module]:
    """The modules of a model that keep running statistics: batch norms, and instance norms that track."""
    if model is None:
        return []
    return [m for m in model.modules() if isinstance(m, _NormBase) and m.track_running_stats]


@contextmanager
def frozen_statistics(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Inside, no running statistic or counter of the modules changes, and batches are normalised as before.

    Modules in evaluation mode are left as they are. Contexts can be nested.
    """
    # Setting momentum=0 is the common trick. It still counts num_batches_tracked, and nested it loses the momentum.
    before: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for module in modules:
            if not module.training:
                continue
            # Straight into the dictionaries: a module's own attribute setter costs more than a small layer.
            if isinstance(module, _BatchNorm):
                changes: list[tuple[dict[str, Any], str, Any]] = [
                    (vars(module), "track_running_stats", False)
                ]
            else:  # an instance norm ignores the flag while it holds statistics
                buffers = vars(module)["_buffers"]
                changes = [(buffers, "running_mean", None), (buffers, "running_var", None)]
            for where, name, value in changes:
                before.append((where, name, where[name]))
                where[name] = value
        yield
    finally:
        for where, name, value in before:
            where[name] = value


class RandomState:
    """Torch's global generators that a forward pass may draw from: the CPU's and that of the network's device."""

    def __init__(self, device: torch.device) -> None:
        self._device = None if device.type == "cpu" else DeviceGenerator(device)
        self._recorded: list[Tensor] = []
        self._present: list[list[Tensor]] = []

    def record(self) -> None:
        """Save the state from which the coming pass draws."""
        self._recorded = self._read()

    def mark(self) -> int:
        """A number below 2²⁰ of the state from which the recorded pass drew; 0 where it drew nothing."""
        present = self._read() if self._recorded else []
        if all(torch.equal(*pair) for pair in zip(self._recorded, present, strict=True)):
            return 0
        mark = 0
        for state in self._recorded:
            mark = zlib.crc32(state.cpu().numpy().tobytes(), mark)
        return mark % (1 << 20)  # which float32 holds exactly

    def __enter__(self) -> None:
        """Inside, the numbers of the recorded pass are drawn again; afterwards the streams go on as before."""
        self._present.append(self._read())
        if self._recorded:
            self._write(self._recorded, over=self._present[-1])

    def __exit__(self, *_: object) -> None:
        self._write(self._present.pop(), over=self._read())

    def _read(self) -> list[Tensor]:
        with RANDOMNESS:  # not while another thread has replaced the states for a while
            state = torch.default_generator.get_state()
            other = None if self._device is None else self._device.state()
        return [state] if other is None else [state, other]

    def _write(self, states: list[Tensor], *, over: list[Tensor]) -> None:
        # Where a network draws nothing, nothing is written: another thread may be drawing.
        if not torch.equal(states[0], over[0]):
            with RANDOMNESS:
                torch.default_generator.set_state(states[0])
        if self._device is not None and len(states) > 1 and not torch.equal(states[1], over[1]):
            with RANDOMNESS:
                self._device.restore(states[1])


class WrittenInputs:
    """Restores inputs that the network wrote to, before a pass that repeats another.

    After a step, the inputs are as a single pass leaves them, as after a step of the base optimizer. Without a model
    nothing is restored.
    """

    def __init__(self, model: nn.Module | None) -> None:
        self._model = model
        self._seen: dict[int, tuple[Tensor, Tensor, int]] = {}
        self._written: list[tuple[Tensor, Tensor]] = []

    def __enter__(self) -> None:
        """Inside, the network's inputs are saved; those that it has written to are restored later."""
        if self._model is not None:
            # What `register_forward_pre_hook` does, whose handle costs more than a small layer.
            hooks: Any = self._model._forward_pre_hooks
            hooks[self] = self._save
            hooks.move_to_end(self, last=False)
            with_kwargs: Any = self._model._forward_pre_hooks_with_kwargs
            with_kwargs[self] = True

    def __exit__(self, *_: object) -> None:
        if self._model is not None:
            self._model._forward_pre_hooks.pop(self, None)  # type: ignore[call-overload]
            self._model._forward_pre_hooks_with_kwargs.pop(self, None)  # type: ignore[call-overload]
            seen, self._seen = self._seen.values(), {}
            self._written = [(x, before) for x, before, version in seen if x._version != version]

    def _save(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if torch.compiler.is_compiling():  # the hook must not become a part of the compiled network
            return
        is_plain = len(args) == 1 and type(args[0]) is Tensor and not kwargs  # mostly, and quickly
        for tensor in args if is_plain else _tensors((*args, *kwargs.values())):
            if id(tensor) not in self._seen and not tensor.is_inference():
                copy = (tensor.detach() if tensor.requires_grad else tensor).clone()
                # Torch counts writes in `_version`, which nothing public shows.
                self._seen[id(tensor)] = tensor, copy, tensor._version

    def put_back(self) -> None:
        """Gives the inputs the values of before the pass that was watched."""
        for tensor, before in self._written:
            with torch.no_grad():
                tensor.copy_(before)


def _tensors(values: Iterable[object]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from _tensors(value)
        elif isinstance(value, Mapping):
            yield from _tensors(value.values())
