"""Contexts that leave no trace: random generators, autograd and the kernels of torch are afterwards what they were.

Where torch has only a switch of the whole process, the first thread that needs it turns it and the last that leaves
turns it back, so that threads may measure at once; a thread of the user's own sees it turned meanwhile.
"""

import contextlib
import inspect
import random
import re
import sys
import threading
import types
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils import checkpoint
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from landscape.errors import Remark

T = TypeVar("T")


@contextlib.contextmanager
def twice_differentiable(*, attention: bool = True) -> Iterator[None]:
    """Autograd on, and every operation by a kernel that has a second derivative, in full precision.

    Args:
        attention: Whether the network may use attention.
    """
    with (
        full_precision(),
        torch.enable_grad(),
        _attention_mode(attention),
        plain_checkpoints(),
    ):
        yield


@contextlib.contextmanager
def without_gradients(*, attention: bool = True) -> Iterator[None]:
    """Autograd off; attention by the same kernel as in :func:`twice_differentiable`."""
    with full_precision(), torch.inference_mode(), _attention_mode(attention):
        yield


@contextlib.contextmanager
def outside_modes() -> Iterator[None]:
    """Outside the caller's inference mode, whose tensors cannot be differentiated later, and outside autocast."""
    with contextlib.ExitStack() as modes:
        if torch.is_inference_mode_enabled():
            modes.enter_context(torch.inference_mode(False))
            modes.enter_context(torch.no_grad())  # to leave inference mode turns autograd on
        if torch._C._is_any_autocast_enabled():
            for kind in _AUTOCAST:
                if torch.is_autocast_enabled(kind):
                    modes.enter_context(torch.autocast(kind, enabled=False))
        yield


_AUTOCAST = "cpu", "cuda", "mps"


@contextlib.contextmanager
def plain_defaults(dtype: torch.dtype = torch.float32) -> Iterator[None]:
    """New tensors are on the CPU and of one type, so that what is built here has the same random numbers everywhere.

    The default type belongs to the process: to be used where little is computed.
    """
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        with on_device("cpu"), outside_modes():
            yield
    finally:
        torch.set_default_dtype(before)


def on_device(device: torch.device | str) -> contextlib.AbstractContextManager[object]:
    """New tensors are on this device, unless another is named."""
    # A device as a context sends every operation of torch through Python.
    try:
        if torch.get_default_device() == torch.device(device):
            return contextlib.nullcontext()
    except (RuntimeError, AssertionError):  # the default is a device that is not there
        pass
    return torch.device(device)


def _attention_mode(attention: bool) -> contextlib.AbstractContextManager[object]:
    # A mode sends every operation of torch through Python, which doubles the time of a small network.
    return PlainAttention() if attention else contextlib.nullcontext()


# Attention


class PlainAttention(TorchFunctionMode):
    """Attention by matrix products and a softmax in this thread, as the fused kernels have no second derivative.

    Fused encoder layers are off too: torch does not use them while a mode is active. Activation checkpoints compute
    again by the same attention.
    """

    def __enter__(self) -> "PlainAttention":
        _CHECKPOINTS.__enter__()
        _LOCAL.plain += 1
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *failure: object) -> None:
        super().__exit__(*failure)  # type: ignore[no-untyped-call]
        _LOCAL.plain -= 1
        _CHECKPOINTS.__exit__()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operation of torch, or what replaces it."""
        return _PLAIN.get(func, func)(*args, **(kwargs or {}))


def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *rest: Any, **options: Any
) -> Tensor:
    """``functional.scaled_dot_product_attention``, with its parameters."""
    kind = query.device.type
    # Autocast casts the arguments of the public function, but not of the one below.
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        tensors: list[Any] = [
            tensor if tensor is None or tensor.dtype in (torch.bool, torch.float64) else tensor.to(dtype)
            for tensor in (query, key, value, attn_mask)
        ]
        with torch.autocast(kind, enabled=False):
            return _attention(*tensors, *rest, **options)
    # A causal bias is a tensor without values, which picks a fused kernel itself. To import its module here would
    # load all of torch's compiler, about two seconds for every command; where there is one, it has been imported.
    bias = sys.modules.get("torch.nn.attention.bias")
    if bias is not None and isinstance(attn_mask, bias.CausalBias):
        attn_mask = attn_mask._materialize(query.device)
    if attn_mask is not None and attn_mask.dtype is torch.bool:  # only the public function converts it
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill(~attn_mask, -torch.inf)
    # torch's own fallback, so equal bit for bit; the public way to it, sdpa_kernel(), is a switch of the process.
    math: Callable[..., tuple[Tensor, Tensor]] = torch._scaled_dot_product_attention_math
    return math(query, key, value, attn_mask, *rest, **options)[0]


_MULTIHEAD = functional.multi_head_attention_forward
_PLAIN: dict[object, Callable[..., Any]] = {
    functional.scaled_dot_product_attention: _attention,
    torch.ops.aten.scaled_dot_product_attention: _attention,
    torch.ops.aten.scaled_dot_product_attention.default: _attention,  # as exported networks call it
    # A mode is off inside the functions that it replaces, so that nn.MultiheadAttention needs a copy of torch's
    # function with the attention above among its globals; one that other modes do not send back to the original.
    _MULTIHEAD: types.FunctionType(
        _MULTIHEAD.__code__,
        _MULTIHEAD.__globals__
        | {"scaled_dot_product_attention": _attention, "has_torch_function": lambda tensors: False},
        argdefs=_MULTIHEAD.__defaults__,
    ),
}


def is_attention(function: object) -> bool:
    """Whether :class:`PlainAttention` replaces a function of torch."""
    return function in _PLAIN


# Switches of the whole process


class Shared(contextlib.AbstractContextManager[None]):
    """A switch of the whole process, turned by the contexts that ``turn`` makes as long as any thread is inside."""

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
def assigned(*settings: tuple[Any, str, object]) -> Iterator[None]:
    """Sets attributes, given as ``(owner, name, value)``, and restores them."""
    before = [getattr(owner, name) for owner, name, _ in settings]
    try:
        for owner, name, value in settings:
            setattr(owner, name, value)
        yield
    finally:
        for (owner, name, _), value in zip(settings, before, strict=True):
            setattr(owner, name, value)


_PRODUCTS = tuple((backend, kind) for backend in ("cuda", "mkldnn") for kind in ("matmul", "conv", "rnn"))
_SCOPES = ("generic", "all"), ("cuda", "all"), ("mkldnn", "all")
# Of products in half precision and of attention, which a network that uses autocast itself computes; off is False.
_REDUCTIONS = (
    "cublas_allow_fp16_reduced_precision_reduction",
    "cublas_allow_bf16_reduced_precision_reduction",
    "cublas_allow_fp16_accumulation",
    "math_sdp_allow_fp16_bf16_reduction",
)


def float32_settings() -> str:
    """How torch computes products of float32 now, for a bug report."""
    get = getattr(torch._C, "_get_fp32_precision_getter", None)
    if get is None:
        convolutions = "tf32" if torch.backends.cudnn.allow_tf32 else "ieee"
        return f"products {torch.get_float32_matmul_precision()}, cuda convolutions {convolutions}"
    return ", ".join(f"{backend} {kind} {get(backend, kind)}" for backend, kind in _PRODUCTS)


def _exact_products() -> contextlib.AbstractContextManager[object]:
    """Products and convolutions of float32 computed in float32, on the CPU too, and by the same kernels each time."""
    on_gpu = torch.cuda.is_available()
    get = getattr(torch._C, "_get_fp32_precision_getter", None)
    if get is None:
        is_reduced = on_gpu or torch.get_float32_matmul_precision() != "highest"
    else:
        places = _PRODUCTS if on_gpu else _PRODUCTS[3:]
        is_reduced = any(get(*place) in ("tf32", "bf16") for place in places)
    turned = contextlib.ExitStack()
    if is_reduced:
        turned.enter_context(_no_reduced_float32() if get is None else _no_reduced_products())
    if on_gpu:
        turned.enter_context(_no_reduced_sums())
        turned.enter_context(deterministic_kernels)
    return turned


@contextlib.contextmanager
def _no_reduced_products() -> Iterator[None]:
    """Float32 in full, by the settings of torch since 2.9, all of which are afterwards what they were.

    A setting holds for one kind of product, for a backend or for everything, and reading one yields what it inherits.
    Therefore those above are taken away to read the one below. The settings of before 2.9 lie beside the new ones, and
    reading them raises where the two disagree.
    """
    get, put = torch._C._get_fp32_precision_getter, torch._C._set_fp32_precision_setter
    before = {}
    for scope in _SCOPES:
        before[scope] = get(*scope)
        put(*scope, "none")
    matmuls = {place: get(*place) for place in _PRODUCTS if place[1] == "matmul"}
    put(*_SCOPES[0], "ieee")
    # By default a convolution on a GPU is reduced unless a backend says otherwise, a state that cannot be set: only
    # settings that do not inherit are touched.
    own = {place: get(*place) for place in _PRODUCTS if get(*place) != "ieee"} | matmuls
    for place in own:
        put(*place, "ieee")
    legacy = torch.get_float32_matmul_precision()
    if legacy != "highest":
        torch.set_float32_matmul_precision("highest")
    # torch.backends.cudnn.flags(), which networks use around a recurrence or CTC, and torch's compiler read an older
    # setting that cannot be made to agree; flags() also allows TF32 by default.
    attribute = vars(type(torch.backends.cudnn))["allow_tf32"]
    readers = (torch._C, "_get_cudnn_allow_tf32"), (attribute, "getter")
    writers = (torch._C, "_set_cudnn_allow_tf32"), (attribute, "setter")
    older = [(*name, lambda: False) for name in readers] + [(*name, lambda _: None) for name in writers]
    try:
        with assigned(*older):
            yield
    finally:
        if legacy != "highest":
            torch.set_float32_matmul_precision(legacy)
        for place, value in (own | before).items():
            put(*place, value)


@contextlib.contextmanager
def _no_reduced_float32() -> Iterator[None]:
    """As :func:`_no_reduced_products`, by the settings of torch before 2.9."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with assigned((torch.backends.cudnn, "allow_tf32", False)):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


@contextlib.contextmanager
def _no_reduced_sums() -> Iterator[None]:
    """Sums of products in half precision that are kept in float32."""
    names = [name for name in _REDUCTIONS if hasattr(torch._C, f"_get_{name}")]
    values = {name: getattr(torch._C, f"_get_{name}")() for name in names}
    # Newer versions of torch have a second part, whether a sum may be split, and set both at once.
    before = {name: value if isinstance(value, tuple) else (value,) for name, value in values.items()}
    for name, value in before.items():
        getattr(torch._C, f"_set_{name}")(False, *value[1:])
    try:
        yield
    finally:
        for name, value in before.items():
            getattr(torch._C, f"_set_{name}")(*value)


@contextlib.contextmanager
def _deterministic_kernels() -> Iterator[None]:
    cudnn = torch.backends.cudnn
    with assigned((cudnn, "deterministic", True), (cudnn, "benchmark", False)):
        # Whoever forbids the other kernels gets torch's error.
        if torch.are_deterministic_algorithms_enabled():
            yield
            return
        # The public function imports torch's compiler, and fills all new memory.
        fill = torch._C._get_deterministic_fill_uninitialized_memory()
        torch._C._set_deterministic_fill_uninitialized_memory(False)
        torch._C._set_deterministic_algorithms(True, warn_only=True)
        heard = ("ignore", _Undetermined(), UserWarning, None, 0)
        # Without warnings.filterwarnings(), after which every warning that was shown would be shown again.
        warnings.filters.insert(0, heard)  # type: ignore[attr-defined]
        try:
            yield
        finally:
            with contextlib.suppress(ValueError):  # the filters may have been replaced meanwhile
                warnings.filters.remove(heard)  # type: ignore[attr-defined]
            torch._C._set_deterministic_algorithms(False, warn_only=False)
            torch._C._set_deterministic_fill_uninitialized_memory(fill)
            _Undetermined.remark()


class _Undetermined:
    """Stands for the text in a filter of warnings: collects the operations that have no deterministic kernel."""

    _met: ClassVar[dict[str, bool]] = {}  # and whether a remark was made on it

    def match(self, text: str) -> bool:
        """Whether a warning is about such an operation."""
        operation = re.match(
            "(.*) (?:does not have|defaults to) a (?:non-)?deterministic (?:impl|algo)", text
        )
        if operation is not None:
            self._met.setdefault(operation[1], False)
        # Products are the same each time where, as here, one stream computes them, whatever this variable says.
        return operation is not None or "CUBLAS_WORKSPACE_CONFIG" in text

    @classmethod
    def remark(cls) -> None:
        """Says once a process which operations these are."""
        names = [name for name, is_reported in cls._met.items() if not is_reported]
        cls._met.update(dict.fromkeys(names, True))
        if names:
            warnings.warn(
                f"{', '.join(names)}: torch has no deterministic kernel for this here, so that the last digits can "
                "differ from one computation to the next",
                Remark,
                stacklevel=2,
            )


deterministic_kernels = Shared(_deterministic_kernels)
"""Of every operation on a GPU the kernel that gives the same bits each time, where torch has one."""


_exact = Shared(_exact_products)


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Numbers of the precision that their tensors have, whatever is allowed outside.

    Inside, products of float32 are not computed in TensorFloat-32 or bfloat16, whose mantissas of 10 and 7 bits round
    each factor by up to 5e-4 and 4e-3, kernels are deterministic where there are such, and the modes of this thread are
    off as in :func:`outside_modes`.
    """
    with outside_modes(), _exact:
        yield


no_warnings = Shared(lambda: warnings.catch_warnings(action="ignore"))
"""No warning is printed; Python's filters belong to the process."""


class _Local(threading.local):
    """For each thread, one list for every :func:`plain_checkpoints` that it is inside, and its plain attentions."""

    def __init__(self) -> None:
        self.checkpoints: list[list[str]] = []
        self.plain = 0


_LOCAL = _Local()


def _checkpoints_by_thread() -> contextlib.AbstractContextManager[None]:
    """Patches both forms of activation checkpointing for threads inside one of the contexts of this module."""
    # Torch 2.14 has the work in a function of its own, with the same names of parameters.
    names = "CheckpointFunction", "_checkpoint_without_reentrant_generator"
    names = names[0], f"{names[1]}_impl" if hasattr(checkpoint, f"{names[1]}_impl") else names[1]
    reentrant, other = (getattr(checkpoint, name) for name in names)

    def apply(function: Callable[..., object], preserve: bool, *arguments: object) -> object:
        if not _LOCAL.checkpoints:  # a thread of the user's own
            return reentrant.apply(function, preserve, *arguments)
        _LOCAL.checkpoints[-1].append("reentrant")
        return function(*arguments)

    def other_form(*arguments: Any, **named: Any) -> object:
        # Here, because it takes longer than the rest of this context, and few networks come here.
        call = inspect.signature(other).bind(*arguments, **named)
        call.apply_defaults()
        if _LOCAL.checkpoints:
            # Preserving would set the global generators, which other threads draw from, in every backward pass.
            call.arguments["preserve_rng_state"] = False
        if _LOCAL.plain:
            call.arguments["fn"] = _plainly(call.arguments["fn"])
        return other(*call.args, **call.kwargs)

    return assigned(
        (checkpoint, names[0], types.SimpleNamespace(apply=apply)), (checkpoint, names[1], other_form)
    )


def _plainly(function: Callable[..., object]) -> Callable[..., object]:
    """The function with plain attention: a backward pass computes it again without the mode, or in another thread."""

    def again(*arguments: Any, **named: Any) -> object:
        with PlainAttention():
            return function(*arguments, **named)

    return again


_CHECKPOINTS = Shared(_checkpoints_by_thread)


@contextlib.contextmanager
def plain_checkpoints() -> Iterator[list[str]]:
    """Reentrant activation checkpointing, which ``autograd.grad`` cannot pass, is off in this thread.

    Yields a list that gets an entry whenever a function runs without it.
    """
    met: list[str] = []
    with _CHECKPOINTS:
        _LOCAL.checkpoints.append(met)
        try:
            yield met
        finally:
            _LOCAL.checkpoints.pop()


# The global generators of random numbers

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


class _Generators:
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
_FIRST: list[_Generators] = []


@contextlib.contextmanager
def preserved_randomness(device: torch.device | None = None) -> Iterator[None]:
    """Restores the global generators of torch (CPU and ``device``), numpy and Python on leaving.

    Several threads may be inside; they then draw from the same generators, in whatever order. One that enters later
    cannot know the states of before, so the last to leave restores what the first one met.
    """
    thread = threading.get_ident()
    with RANDOMNESS:
        before = _Generators(device)
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
        before = _Generators(device)
        try:
            if seed is not None:
                torch.default_generator.manual_seed(seed)
                before.device.seed(seed)
            yield
        finally:
            before.restore()


@contextlib.contextmanager
def loading(loader: DataLoader[Any]) -> Iterator[None]:
    """Inside, examples are read: new tensors are where a loader and its samplers draw, by default on the CPU."""
    with on_device("cpu" if loader.generator is None else loader.generator.device), outside_modes():
        yield


def loaded(source: Iterable[T]) -> Iterator[T]:
    """The items of an iterable; those of a ``DataLoader`` are read in :func:`loading`."""
    if not isinstance(source, DataLoader):
        yield from source
        return
    iterator: Iterator[T] | None = None
    while True:
        with loading(source):
            iterator = iter(source) if iterator is None else iterator
            try:
                item = next(iterator)
            except StopIteration:
                return
        yield item


def undisturbed(source: Iterable[T]) -> Iterator[T]:
    """The items of an iterable that may draw from the global generators, as loaders do, with a stream of its own."""
    if isinstance(source, (list, tuple)):
        yield from source
        return
    stream: _Generators | None = None
    iterator: Iterator[T] | None = None
    while True:
        with private_randomness():
            if stream is not None:
                stream.restore()
            iterator = loaded(source) if iterator is None else iterator
            try:
                item = next(iterator)
            except StopIteration:
                return
            stream = _Generators()
        yield item


@dataclass
class WatchedRandomness:
    """The result of :func:`watched_randomness`; ``draws`` tells whether the work draws random numbers."""

    before: _Generators
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
        before = _Generators(device)
        watch = WatchedRandomness(before)
        try:
            yield watch
        except BaseException:
            before.restore()
            raise
        before.restore(of_torch=watch.draws)
