"""A foreign device without a GPU: real values, in memory of the CPU, behind the rules of CUDA.

Every operator of torch's PrivateUse1 backend views the memory as tensors of the CPU and computes there. A tensor of the
device is a plain ``torch.Tensor``; views, graphs and transforms of functions are torch's own. Operands on two devices
are refused as CUDA refuses them. What would make the host wait for a GPU is counted by ``tests/waits.py``.

It has no ``torch.Generator`` of its own, because torch makes these in C++ only, and autocast changes nothing on it.
"""

import contextlib
import functools
import importlib
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

NAME = "pretend"
aten = torch.ops.aten
_CPU = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)
_LIBRARIES: list[torch.library.Library] = []  # an operator is registered while its library lives

_INDICES = (torch.int64, torch.int32, torch.bool, torch.uint8)


class _Backend(types.ModuleType):
    """What ``torch.get_device_module`` returns: one device, with a generator of its own."""

    def __init__(self) -> None:
        super().__init__(f"torch.{NAME}")
        self.generator = torch.Generator("cpu").manual_seed(0)

    def is_initialized(self) -> bool:
        return True

    is_available = is_initialized

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def synchronize(self, device: object = None) -> None:
        """There is nothing to wait for."""

    def device(self, device: object) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def _is_in_bad_fork(self) -> bool:
        return False

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]

    def manual_seed(self, seed: int) -> None:
        self.generator.manual_seed(seed)

    manual_seed_all = manual_seed

    def get_rng_state(self, device: object = None) -> Tensor:
        return self.generator.get_state()

    def set_rng_state(self, state: Tensor, device: object = None) -> None:
        self.generator.set_state(state)


class _Hooks(torch._C._acc.PrivateUse1Hooks):  # type: ignore[misc]
    """What autograd asks of a device."""

    def has_primary_context(self, index: int) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    is_built = is_available


def reason_without() -> str:
    """Why this version of torch cannot pretend a device; empty if it can."""
    from torch.utils import backend_registration

    if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
        return f"torch {torch.__version__} has no backends in Python"
    return ""


def prepare() -> None:
    """Makes room for the device; autograd makes its queues at the first backward pass of a process."""
    from torch.utils.backend_registration import _DummyDeviceGuard

    torch._C._acc.register_python_privateuseone_device_guard(_DummyDeviceGuard())


@functools.cache
def pretend_device() -> torch.device:
    """The device, for the rest of this process."""
    prepare()
    torch.utils.rename_privateuse1_backend(NAME)
    torch._register_device_module(NAME, _Backend())
    torch._C._acc.register_python_privateuseone_hook(_Hooks())
    anything = torch.library.Library("_", "IMPL")
    anything.fallback(_on_the_cpu, "PrivateUse1")
    anything.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    ours = torch.library.Library("aten", "IMPL")
    # Views move no elements, so that torch's own kernels serve every device.
    views = [aten.as_strided, aten.view, aten._reshape_alias, aten.unfold]
    settings = [aten.set_.source_Storage_storage_offset, aten.set_.source_Tensor]
    for op in [*(view.default for view in views), *settings]:
        ours.impl(op, functools.partial(op.redispatch, _CPU), "PrivateUse1")
    # The last two are called where torch hides a TorchDispatchMode; there it does not find a fallback in Python.
    for op, kernel in (
        (aten.convolution_overrideable.default, functools.partial(_on_the_cpu, aten.convolution.default)),
        (aten.convolution_backward_overrideable.default, _convolution_backward),
        (
            aten._efficientzerotensor.default,
            functools.partial(_on_the_cpu, aten.zeros.default),
        ),  # without memory
        (aten._to_copy.default, _to_copy),
        (aten._copy_from.default, _copy_from),
        *(
            (op, functools.partial(_on_the_cpu, op))
            for op in (aten.empty.memory_format, aten.empty_strided.default)
        ),
    ):
        ours.impl(op, kernel, "PrivateUse1")
    # From now on torch pins memory for this device, which has no allocator: a DataLoader of any test may ask.
    ours.impl(aten._pin_memory.default, lambda x, device=None: x.clone(), "CPU")
    _LIBRARIES.extend([anything, ours])
    storage = torch.UntypedStorage
    for name, method in (("clone", _clone), ("cpu", _to_host), ("to", _to)):
        setattr(storage, name, functools.partialmethod(method, getattr(storage, name)))
    # nn.DataParallel would move the networks of other tests to any device that it finds.
    parallel: Any = importlib.import_module("torch.nn.parallel.data_parallel")
    find = parallel._get_available_device_type
    parallel._get_available_device_type = lambda: None if find() == NAME else find()
    return torch.device(NAME, 0)


# What copy.deepcopy, torch.save and torch.load do with storages needs an allocator, which only C++ can have.
def _clone(storage: Any, others: Callable[..., Any]) -> Any:
    return _storage(storage.memory.clone()) if storage.device.type == NAME else others(storage)


def _to_host(storage: Any, others: Callable[..., Any]) -> Any:
    return storage.memory.clone() if storage.device.type == NAME else others(storage)


def _to(storage: Any, others: Callable[..., Any], *, device: Any, non_blocking: bool = False) -> Any:
    if torch.device(device).type == NAME:
        return storage if storage.device.type == NAME else _storage(storage.clone())
    return others(storage, device=device, non_blocking=non_blocking)


def _memory(tensor: Tensor) -> Tensor:
    """The same elements, as a tensor of the CPU on the same memory."""
    storage: Any = tensor.untyped_storage()
    view = torch.empty(0, dtype=tensor.dtype, device="cpu")
    return view.set_(storage.memory, tensor.storage_offset(), tensor.shape, tensor.stride())


def _storage(memory: torch.UntypedStorage) -> Any:
    """A storage of this device on memory of the CPU, which lives as long."""
    storage: Any = torch._C._construct_storage_from_data_pointer(
        memory.data_ptr(), torch.device(NAME, 0), memory.nbytes()
    )
    storage.memory = memory
    return storage


def _new(dtype: torch.dtype) -> Tensor:
    """A tensor of this device without elements."""
    new: Tensor = torch._C._acc.create_empty_tensor([0], dtype)
    return new


def _place(tensor: Tensor, storage: Any, like: Tensor) -> Tensor:
    """Puts a tensor of this device on a storage, with the shape of a tensor of the CPU."""
    layout = (like.storage_offset(), like.shape, like.stride())
    aten.set_.source_Storage_storage_offset.redispatch(_CPU, tensor, storage, *layout)
    return tensor


class _Call:
    """One operator on tensors of the CPU that view those of this device."""

    def __init__(self, op: Any) -> None:
        self.op, self.name = op, op._schema.name.removeprefix("aten::")
        self.pairs: list[tuple[Tensor, Tensor]] = []  # ours, and its view
        self.foreign: list[Tensor] = []  # operands of the CPU

    def down(self, value: Any) -> Any:
        if value is None or isinstance(value, (int, float, str)):
            return value
        if isinstance(value, Tensor):
            if value.device.type != NAME:
                self.foreign.append(value)
                return value
            view = _memory(value)
            self.pairs.append((value, view))
            return view
        if isinstance(value, (list, tuple)):
            return type(value)(map(self.down, value))
        if isinstance(value, torch.device):
            return torch.device("cpu") if value.type == NAME else value
        if isinstance(value, torch.Generator):
            raise RuntimeError(f"Expected a '{NAME}' device type for generator but found '{value.device}'")
        return value

    def up(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            for ours, view in self.pairs:
                if value is view:
                    return ours
            memory = value.untyped_storage()
            for ours, view in self.pairs:  # a view of an operand
                if memory.nbytes() and memory.data_ptr() == view.untyped_storage().data_ptr():
                    return _place(_new(value.dtype), ours.untyped_storage(), value)
            return _place(_new(value.dtype), _storage(memory), value)
        return type(value)(map(self.up, value)) if isinstance(value, (list, tuple)) else value

    def check(self, args: Sequence[Any]) -> None:
        """What CUDA refuses: two devices, but for numbers (of no dimension) and for indices."""
        if not self.pairs:
            return
        indices = self.name in ("index", "index_put", "_index_put_impl_") and args[0].device.type == NAME
        on_cpu = [x for x in self.foreign if x.ndim and not (indices and x.dtype in _INDICES)]
        written = [x for x, role in zip(args, self.op._schema.arguments, strict=False) if _is_written(role)]
        if on_cpu or any(isinstance(x, Tensor) and x.device.type != NAME for x in written):
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but got operands of {self.op} on {NAME}:0 and "
                f"{(on_cpu or self.foreign)[0].device}"
            )

    def resized(self) -> None:
        """An output may have been given another size, and so other memory."""
        for ours, view in self.pairs:
            memory, storage = view.untyped_storage(), ours.untyped_storage()
            if memory.data_ptr() != storage.data_ptr():
                _place(ours, _storage(memory), view)
            elif view.shape != ours.shape or view.stride() != ours.stride():
                _place(ours, storage, view)


def _is_written(role: Any) -> bool:
    return role.alias_info is not None and role.alias_info.is_write


def _number(value: Any, role: Any) -> Any:
    """A number in place of a tensor, as C++ passes it, which few operators accept from Python."""
    if isinstance(value, (int, float)) and isinstance(role.type, torch.TensorType):
        dtype = torch.float64 if isinstance(value, float) else torch.int64
        return torch.scalar_tensor(value, dtype=dtype, device="cpu")
    return value


def _on_the_cpu(op: Any, *args: Any, **kwargs: Any) -> Any:
    """Any operator, on the memory of its operands."""
    call = _Call(op)
    inputs, options = call.down(args), {name: call.down(value) for name, value in kwargs.items()}
    call.check(args)
    with _own_randomness() if torch.Tag.nondeterministic_seeded in op.tags else contextlib.nullcontext():
        try:
            result = op(*inputs, **options)
        except RuntimeError as error:
            if "Cast error details" not in str(error):
                raise
            result = op(*map(_number, inputs, op._schema.arguments), **options)
    call.resized()
    return call.up(result)


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    """A copy between devices."""
    here, there = (_memory(x) if x.device.type == NAME else x for x in (source, target))
    there.copy_(here)
    return target


def _to_copy(tensor: Tensor, *, non_blocking: bool = False, **options: Any) -> Tensor:
    """A copy to the host blocks in any case: an asynchronous one goes to pinned memory, which we lack."""
    to_host = options.get("device") is not None and options["device"].type == "cpu"
    copy: Tensor = aten._to_copy.default.redispatch(
        _CPU, tensor, non_blocking=non_blocking and not to_host, **options
    )
    return copy


def _convolution_backward(slope: Tensor, x: Tensor, weight: Tensor, *rest: Any) -> Any:
    """The gradients of a convolution, by the CPU's operator, which asks for the shape of the bias."""
    transposed, groups = rest[3], rest[5]
    bias = [weight.shape[1] * groups if transposed else weight.shape[0]]
    return _on_the_cpu(aten.convolution_backward.default, slope, x, weight, bias, *rest)


@contextlib.contextmanager
def _own_randomness() -> Iterator[None]:
    """The generator of this device in place of the CPU's."""
    ours, default = torch.get_device_module(NAME).generator, torch.default_generator
    before = default.get_state()
    default.set_state(ours.get_state())
    try:
        yield
        ours.set_state(default.get_state())
    finally:
        default.set_state(before)
