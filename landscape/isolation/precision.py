"""Products in full precision by deterministic kernels, and every setting afterwards as it was."""

import contextlib
import re
import warnings
from collections.abc import Iterator
from typing import ClassVar

import torch

from landscape.errors import Remark
from landscape.isolation.modes import outside_modes
from landscape.isolation.switches import Shared, assigned

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


def _exact_products() -> contextlib.ExitStack:
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
    # torch.backends.cudnn.flags(), which networks use around a recurrence or CTC, and torch's compiler read an older
    # setting that cannot be made to agree; flags() also allows TF32 by default.
    attribute = vars(type(torch.backends.cudnn))["allow_tf32"]
    readers = (torch._C, "_get_cudnn_allow_tf32"), (attribute, "getter")
    writers = (torch._C, "_set_cudnn_allow_tf32"), (attribute, "setter")
    older = [(*name, lambda: False) for name in readers] + [(*name, lambda _: None) for name in writers]
    try:
        with _highest_precision(), assigned(*older):
            yield
    finally:
        for place, value in (own | before).items():
            put(*place, value)


@contextlib.contextmanager
def _no_reduced_float32() -> Iterator[None]:
    """As :func:`_no_reduced_products`, by the settings of torch before 2.9."""
    with _highest_precision(), assigned((torch.backends.cudnn, "allow_tf32", False)):
        yield


@contextlib.contextmanager
def _highest_precision() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    if before == "highest":
        yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _no_reduced_sums() -> contextlib.ExitStack:
    """Sums of products in half precision that are kept in float32."""
    turned = contextlib.ExitStack()
    for name in _REDUCTIONS:
        if hasattr(torch._C, f"_get_{name}"):
            before, put = getattr(torch._C, f"_get_{name}")(), getattr(torch._C, f"_set_{name}")
            # Newer versions of torch have a second part, whether a sum may be split, and set both at once.
            before = before if isinstance(before, tuple) else (before,)
            turned.callback(put, *before)
            put(False, *before[1:])
    return turned


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
