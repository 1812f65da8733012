"""Leaving no trace: random number generators as they were, autograd on whatever the caller had set.

Some of what has to be changed for a second derivative belongs to the whole process: which kernel computes attention,
whether matrix products are rounded to TensorFloat-32. Such a switch is turned by the first thread that needs it and
turned back when the last has left, so that threads may measure at once. A thread of the user's own that runs meanwhile
sees it turned: its attention is computed by matrix products, which changes results by rounding.
"""

import contextlib
import random
import threading
import types
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.bias import CausalBias
from torch.overrides import TorchFunctionMode
from torch.utils import checkpoint
from torch.utils._python_dispatch import TorchDispatchMode

T = TypeVar("T")


class Shared(contextlib.AbstractContextManager[None]):
    """A switch of the whole process, turned as long as any thread is inside.

    Args:
        turn: Makes a context inside which it is turned. What it finds when the first thread enters is what the last
            one leaves.
    """

    def __init__(self, turn: Callable[[], contextlib.AbstractContextManager[object]]) -> None:
        self._turn = turn
        self._lock = threading.Lock()
        self._inside = 0
        self._turned = contextlib.ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._turned.enter_context(self._turn())
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._turned.close()


@contextlib.contextmanager
def twice_differentiable() -> Iterator[None]:
    """Autograd on, and attention computed by the kernel that has a second derivative, in full precision."""
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        PlainAttention(),
        full_precision,
        plain_checkpoints(),
    ):
        yield


@contextlib.contextmanager
def without_gradients() -> Iterator[None]:
    """Autograd off; attention by the same kernel as in :func:`twice_differentiable`."""
    with torch.inference_mode(), PlainAttention(), full_precision:
        yield


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``functional.scaled_dot_product_attention`` by matrix products and a softmax, with its parameters."""
    if isinstance(attn_mask, CausalBias):  # a tensor without values, which picks a fused kernel itself
        attn_mask = attn_mask._materialize(query.device)
    if attn_mask is not None and attn_mask.dtype is torch.bool:  # only the public function converts it
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill(~attn_mask, -torch.inf)
    # What torch itself falls back to, bit for bit; its public switch (sdpa_kernel) is one of the whole process.
    mixed: Tensor = torch._scaled_dot_product_attention_math(
        query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
    )[0]
    return mixed


_MULTIHEAD = functional.multi_head_attention_forward
_PLAIN: dict[object, Callable[..., Any]] = {
    functional.scaled_dot_product_attention: _attention,
    torch.ops.aten.scaled_dot_product_attention.default: _attention,  # of exported networks
    # A mode sees this as one operation, and is off inside: a copy whose globals have the attention above. It must not
    # hand itself on to other modes, which would call the original.
    _MULTIHEAD: types.FunctionType(
        _MULTIHEAD.__code__,
        {
            **_MULTIHEAD.__globals__,
            "scaled_dot_product_attention": _attention,
            "has_torch_function": lambda _: False,
        },
        argdefs=_MULTIHEAD.__defaults__,
    ),
}


class PlainAttention(TorchFunctionMode):
    """Inside, attention is computed by matrix products and a softmax, in this thread only: fused kernels have no
    second derivative. Fused encoder layers are off too, as torch skips them where any mode is active.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operation of torch, or what replaces it."""
        return _PLAIN.get(func, func)(*args, **(kwargs or {}))


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    if not torch.cuda.is_available():
        yield
        return
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    saved = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = saved


full_precision = Shared(_full_precision)
"""No TensorFloat-32 in matrix products and convolutions: its 10-bit mantissa is 1e-3 off."""


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


no_warnings = Shared(_no_warnings)
"""No warning is shown; Python's filters belong to the process."""


class _Local(threading.local):
    """What each thread has of its own."""

    def __init__(self) -> None:
        self.checkpoints: list[list[str]] = []


_LOCAL = _Local()


@contextlib.contextmanager
def _checkpoints_by_thread() -> Iterator[None]:
    before = checkpoint.CheckpointFunction

    class ByThread:
        @staticmethod
        def apply(function: Callable[..., object], preserve: bool, *arguments: object) -> object:
            if not _LOCAL.checkpoints:  # a thread of the user's own
                return before.apply(function, preserve, *arguments)
            _LOCAL.checkpoints[-1].append("reentrant")
            return function(*arguments)

    def other_form(function: Callable[..., object], preserve: bool, *arguments: Any, **named: Any) -> object:
        """It would put the global generators back and forth in every backward pass."""
        return generator(function, preserve and not _LOCAL.checkpoints, *arguments, **named)

    generator = checkpoint._checkpoint_without_reentrant_generator
    checkpoint.CheckpointFunction = ByThread  # type: ignore[misc, assignment]
    checkpoint._checkpoint_without_reentrant_generator = other_form  # type: ignore[assignment]
    try:
        yield
    finally:
        checkpoint.CheckpointFunction = before  # type: ignore[misc]
        checkpoint._checkpoint_without_reentrant_generator = generator


_CHECKPOINTS = Shared(_checkpoints_by_thread)


@contextlib.contextmanager
def plain_checkpoints() -> Iterator[list[str]]:
    """Reentrant activation checkpointing, which ``autograd.grad`` cannot pass, computes without it in this thread.

    Yields:
        A list that gets an entry whenever that was done.
    """
    met: list[str] = []
    with _CHECKPOINTS:
        _LOCAL.checkpoints.append(met)
        try:
            yield met
        finally:
            _LOCAL.checkpoints.pop()


# The global generators of random numbers

_RANDOMNESS = threading.RLock()
"""Held by whoever reads or replaces the states of the global generators."""


class _Generators:
    """The states of the global generators of torch (CPU and one device), numpy and Python."""

    def __init__(self, device: torch.device | None) -> None:
        self.device = device if device is not None and device.type == "cuda" else None
        self.torch: tuple[Tensor, Tensor | None] = self._read()
        self.numpy: Any = np.random.get_state()  # noqa: NPY002
        self.python = random.getstate()

    def differ(self) -> bool:
        """Whether torch's are in another state now."""
        pairs = zip(self.torch, self._read(), strict=True)
        return any(a is not None and b is not None and not torch.equal(a, b) for a, b in pairs)

    def restore(self, *, of_torch: bool = True) -> None:
        """Puts the generators into these states, as far as they are in others."""
        if of_torch and self.differ():
            torch.set_rng_state(self.torch[0])
            if self.torch[1] is not None and self.device is not None:
                torch.cuda.set_rng_state(self.torch[1], self.device)
        now: Any = np.random.get_state()  # noqa: NPY002
        if now[2:] != self.numpy[2:] or not np.array_equal(now[1], self.numpy[1]):
            np.random.set_state(self.numpy)  # noqa: NPY002
        if random.getstate() != self.python:
            random.setstate(self.python)

    def _read(self) -> tuple[Tensor, Tensor | None]:
        return torch.get_rng_state(), None if self.device is None else torch.cuda.get_rng_state(self.device)


class _Together:
    """Who preserves the global generators now.

    A thread that enters while others are inside cannot tell what the state was before them. So the first to enter saves
    it, and the last to leave restores that; within a thread each restores what it found.
    """

    def __init__(self) -> None:
        self.depths: dict[int, int] = {}
        self.first: _Generators | None = None


_TOGETHER = _Together()


@contextlib.contextmanager
def preserved_randomness(device: torch.device | None = None) -> Iterator[None]:
    """Restores the global generators of torch (CPU and ``device``), numpy and Python on leaving.

    Threads may be inside at once; then they draw from the same generators, in whatever order.
    """
    thread = threading.get_ident()
    with _RANDOMNESS:
        saved = _Generators(device)
        if not _TOGETHER.depths:
            _TOGETHER.first = saved
        _TOGETHER.depths[thread] = _TOGETHER.depths.get(thread, 0) + 1
    try:
        yield
    finally:
        with _RANDOMNESS:
            _TOGETHER.depths[thread] -= 1
            outermost = not _TOGETHER.depths[thread]
            if outermost:
                del _TOGETHER.depths[thread]
            if not outermost:
                saved.restore()
            elif not _TOGETHER.depths and _TOGETHER.first is not None:
                _TOGETHER.first.restore()
                _TOGETHER.first = None


@contextlib.contextmanager
def private_randomness(device: torch.device | None = None, *, seed: int | None = None) -> Iterator[None]:
    """The same for something short: meanwhile no other thread of this package's draws from the global generators.

    Args:
        device: As for :func:`preserved_randomness`.
        seed: Of torch's generators inside; ``None`` leaves them as they stand.
    """
    with _RANDOMNESS:
        saved = _Generators(device)
        try:
            if seed is not None:
                torch.default_generator.manual_seed(seed)
                if saved.device is not None:
                    with torch.cuda.device(saved.device):
                        torch.cuda.manual_seed(seed)
            yield
        finally:
            saved.restore()


def undisturbed(source: Iterable[T]) -> Iterator[T]:
    """The items of an iterable that may draw from the global generators, as loaders do; between items none has."""
    if isinstance(source, (list, tuple)):
        yield from source
        return
    own: _Generators | None = None
    iterator: Iterator[T] | None = None
    while True:
        with private_randomness():
            if own is not None:
                own.restore()
            if iterator is None:
                iterator = iter(source)
            try:
                item = next(iterator)
            except StopIteration:
                return
            own = _Generators(None)
        yield item


class WatchedRandomness:
    """What :func:`watched_randomness` gives."""

    def __init__(self, before: _Generators) -> None:
        self.draws = False
        self._before = before

    def judge(self, work: Callable[[], object]) -> None:
        """Finds out whether this thread has drawn from the global generators of torch, not only another one.

        Args:
            work: What was done, to be done again if there is doubt.
        """
        if not self._before.differ():
            return
        others = (thread for thread in threading.enumerate() if thread is not threading.current_thread())
        if all(thread.daemon for thread in others):  # nobody else draws; seeding, too, is found out only here
            self.draws = True
            return
        with _Draws() as draws:  # type: ignore[no-untyped-call]
            work()
        self.draws = draws.seen


class _Draws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes whether an operation draws random numbers, in this thread."""

    seen = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen |= torch.Tag.nondeterministic_seeded in func.tags
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def watched_randomness(device: torch.device) -> Iterator[WatchedRandomness]:
    """As :func:`private_randomness`, but what only other threads draw from torch's generators is not taken back."""
    with _RANDOMNESS:
        before = _Generators(device)
        watch = WatchedRandomness(before)
        try:
            yield watch
        except BaseException:
            before.restore()
            raise
        before.restore(of_torch=watch.draws)
