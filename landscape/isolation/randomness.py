"""The global generators of random numbers, which belong to all threads."""

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

RANDOMNESS = threading.RLock()  # re-entrant: a network may be built, or a loader read, inside a context
"""Held while a thread reads or replaces the states of the global generators."""


class DeviceGenerator:
    """The global generator of a device, which the CPU has no second one of: its state is then ``None``."""

    def __init__(self, device: torch.device | None) -> None:
        self._device = None if device is None or device.type in ("cpu", "meta") else device
        self._module: Any = None if self._device is None else torch.get_device_module(self._device)
        # MPS has one device, and takes none.
        self._place = () if device is None or device.type == "mps" else (device,)

    def state(self) -> Tensor | None:
        """Its state, a tensor of the CPU."""
        return None if self._module is None else self._module.get_rng_state(*self._place)

    def restore(self, state: Tensor | None) -> None:
        """Puts it into a state."""
        if self._module is not None and state is not None:
            self._module.set_rng_state(state, *self._place)

    def seed(self, seed: int) -> None:
        """Seeds it."""
        if self._module is not None:
            with self._module.device(*self._place) if self._place else contextlib.nullcontext():
                self._module.manual_seed(seed)


class Generators:
    """The states of the global generators of torch (CPU and one device), numpy and Python."""

    def __init__(self, device: torch.device | None = None) -> None:
        self.device = DeviceGenerator(device)
        self.torch = self._of_torch()
        self.numpy: Any = np.random.get_state()  # noqa: NPY002
        self.python = random.getstate()

    def differ(self) -> bool:
        """Whether torch's are in another state now."""
        return any(not torch.equal(a, b) for a, b in zip(self.torch, self._of_torch(), strict=True))

    def restore(self, *, of_torch: bool = True) -> None:
        """Puts the generators into these states."""
        if of_torch:
            torch.set_rng_state(self.torch[0])
            self.device.restore(self.torch[-1] if len(self.torch) > 1 else None)
        np.random.set_state(self.numpy)  # noqa: NPY002
        random.setstate(self.python)

    def _of_torch(self) -> list[Tensor]:
        return [state for state in (torch.get_rng_state(), self.device.state()) if state is not None]


# Of the threads in preserved_randomness(): how deep each is in it, and the states that the first of them met.
_DEPTHS: dict[int, int] = {}
_FIRST: list[Generators] = []


@contextlib.contextmanager
def preserved_randomness(device: torch.device | None = None) -> Iterator[None]:
    """Restores the global generators of torch (CPU and ``device``), numpy and Python on leaving.

    Several threads may be inside; they then draw from the same generators, in whatever order. One that enters later
    cannot know the states of before, so the last to leave restores what the first one met.
    """
    thread = threading.get_ident()
    with RANDOMNESS:
        before = Generators(device)
        if not _DEPTHS:
            _FIRST[:] = [before]
        _DEPTHS[thread] = _DEPTHS.get(thread, 0) + 1
    try:
        yield
    finally:
        with RANDOMNESS:
            _DEPTHS[thread] -= 1
            if _DEPTHS[thread]:
                before.restore()
            else:
                del _DEPTHS[thread]
                if not _DEPTHS:
                    _FIRST.pop().restore()


@contextlib.contextmanager
def private_randomness(device: torch.device | None = None, *, seed: int | None = None) -> Iterator[None]:
    """As :func:`preserved_randomness`, but for one thread of this package at a time, for short work.

    ``seed`` seeds torch's generators inside; ``None`` leaves them in their states.
    """
    with RANDOMNESS:
        before = Generators(device)
        try:
            if seed is not None:
                torch.default_generator.manual_seed(seed)
                before.device.seed(seed)
            yield
        finally:
            before.restore()


@dataclass
class WatchedRandomness:
    """The result of :func:`watched_randomness`; ``draws`` tells whether the work draws random numbers."""

    before: Generators
    draws: bool = False

    def judge(self, work: Callable[[], object]) -> None:
        """Sets ``draws`` if this thread, and not only another one, has drawn from torch; may repeat ``work``."""
        if not self.before.differ():
            return
        others = (thread for thread in threading.enumerate() if thread is not threading.current_thread())
        # With no other thread that draws, the states tell, also of a network that only seeds.
        self.draws = all(thread.daemon for thread in others)
        if not self.draws:
            with _Draws() as draws:  # type: ignore[no-untyped-call]
                work()
            self.draws = draws.seen


class _Draws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes whether an operation draws random numbers in this thread."""

    seen = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen |= torch.Tag.nondeterministic_seeded in func.tags
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def watched_randomness(device: torch.device) -> Iterator[WatchedRandomness]:
    """As :func:`private_randomness`, except that numbers drawn from torch only by other threads stay drawn."""
    with RANDOMNESS:
        before = Generators(device)
        watch = WatchedRandomness(before)
        try:
            yield watch
        except BaseException:
            before.restore()
            raise
        before.restore(of_torch=watch.draws)
