"""Leaving no trace: random number generators as they were, autograd on whatever the caller had set."""

import contextlib
import random
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import checkpoint


@contextlib.contextmanager
def preserved_randomness(device: torch.device | None = None) -> Iterator[None]:
    """Restores the global generators of torch (CPU and ``device``), numpy and Python on leaving."""
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = [device] if device is not None and device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002


@contextlib.contextmanager
def twice_differentiable() -> Iterator[None]:
    """Autograd on, and attention computed by the kernel that has a second derivative, in full precision."""
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        plain_attention(),
        full_precision(),
        plain_checkpoints(),
    ):
        yield


@contextlib.contextmanager
def without_gradients() -> Iterator[None]:
    """Autograd off; attention by the same kernel as in :func:`twice_differentiable`."""
    with torch.inference_mode(), plain_attention(), full_precision():
        yield


@contextlib.contextmanager
def plain_attention() -> Iterator[None]:
    """Attention by matrix products and a softmax: no fused kernel, and no fused encoder layer."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextlib.contextmanager
def plain_checkpoints() -> Iterator[list[str]]:
    """Reentrant activation checkpointing, which ``autograd.grad`` cannot pass, computes without it.

    Yields:
        A list that gets an entry whenever that was done.
    """
    met: list[str] = []

    class Plain:
        @staticmethod
        def apply(function: Callable[..., object], preserve: bool, *arguments: object) -> object:
            met.append("reentrant")
            return function(*arguments)

    before = checkpoint.CheckpointFunction
    checkpoint.CheckpointFunction = Plain  # type: ignore[misc, assignment]
    try:
        yield met
    finally:
        checkpoint.CheckpointFunction = before  # type: ignore[misc]


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """No TensorFloat-32 in matrix products and convolutions: its 10-bit mantissa is 1e-3 off."""
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
