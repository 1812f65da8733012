"""The contexts in which a network is evaluated, with second derivatives or without any."""

import contextlib
from collections.abc import Iterator

import torch

from landscape.isolation.attention import PlainAttention
from landscape.isolation.checkpointing import plain_checkpoints
from landscape.isolation.precision import full_precision


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


def _attention_mode(attention: bool) -> contextlib.AbstractContextManager[object]:
    # A mode sends every operation of torch through Python, which doubles the time of a small network.
    return PlainAttention() if attention else contextlib.nullcontext()
