"""The same data in every pass of a step, also for a network that writes to its inputs in place."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class WrittenInputs:
    """Puts back what the network wrote to its inputs, before a pass that repeats another.

    After a step, the inputs are what a single pass makes of them, as after a step of the base optimizer.

    Args:
        model: The network; ``None`` if it is not known, and then nothing is put back.
    """

    def __init__(self, model: nn.Module | None) -> None:
        self._model = model
        self._seen: dict[int, tuple[Tensor, Tensor, int]] = {}
        self._written: list[tuple[Tensor, Tensor]] = []

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Inside, the network's inputs are remembered; those that it has written to are put back later."""
        if self._model is None:
            yield
            return
        self._seen = {}
        hook = self._model.register_forward_pre_hook(self._remember, with_kwargs=True, prepend=True)
        try:
            yield
        finally:
            hook.remove()
        self._written = [
            (tensor, before) for tensor, before, version in self._seen.values() if tensor._version != version
        ]
        self._seen = {}

    def put_back(self) -> None:
        """Gives the inputs the values that they had before the pass that was watched."""
        with torch.no_grad():
            for tensor, before in self._written:
                tensor.copy_(before)

    def _remember(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if torch.compiler.is_compiling():  # the hook must not become a part of the compiled network
            return
        for tensor in _tensors((args, kwargs)):
            if id(tensor) not in self._seen and not tensor.is_inference():
                self._seen[id(tensor)] = tensor, tensor.detach().clone(), tensor._version


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors(part)
