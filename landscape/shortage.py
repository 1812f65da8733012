"""What is done when memory is short, and how the quickest size of a micro-batch is found."""

import time
import warnings
from typing import TYPE_CHECKING

import torch

from landscape.batches import Batch, moved
from landscape.errors import OutOfMemory, Remark, UsageError, is_out_of_memory
from landscape.isolation import twice_differentiable, without_gradients
from landscape.micro_batches import MicroBatches, Piece, divisible, part

if TYPE_CHECKING:
    from landscape.risk import Risk

LARGEST = 4096
"""Examples in the largest micro-batch that is tried."""

GAIN = 1.05
"""A size must be so much quicker than the best smaller one to be taken: more memory is not spent on noise."""

NO_MEAN = "its loss is not the mean over its examples (batch norm in batch mode, or a loss of its own)"


def make_room(risk: "Risk", piece: Piece) -> None:
    """Halves the micro-batch after a piece did not fit, and says so.

    Raises:
        OutOfMemory: It was one example, or the piece cannot be split.
    """
    micro = risk.engine.micro
    _give_back(risk)
    name, n = type(risk.replica.model).__name__, risk.replica.layout.dimension
    if piece.size == 1:
        raise OutOfMemory(
            f"out of memory with a single example ({name}, {n:,} free parameters, {risk.replica.device}); "
            "measure fewer parameters (parameters=[…]), on another device, or by a measure that needs no product"
        )
    if micro.obstacle is None:
        micro.obstacle = obstacle(risk, piece.batch)
    if micro.obstacle:
        raise OutOfMemory(
            f"out of memory at a batch of {piece.size} examples, which cannot be split because {micro.obstacle}; "
            f"try a smaller batch: -b {max(1, piece.size // 4)}"
        )
    micro.size = -(-piece.size // 2)
    warnings.warn(
        f"out of memory at {piece.size} examples; going on with at most {micro.size} at once, "
        "which changes no number by more than rounding",
        Remark,
        stacklevel=2,
    )


def settle(risk: "Risk", piece: Piece) -> None:
    """Finds out whether batches can be split and joined, and the quickest size where that was asked for."""
    micro = risk.engine.micro
    if micro.size is None or micro.obstacle is not None:
        return
    micro.obstacle = obstacle(risk, piece.batch)
    if micro.size == "auto":
        micro.size = None if micro.obstacle else quickest(risk)
    elif micro.obstacle:
        raise UsageError(f"micro_batch={micro.size}: a batch cannot be split because {micro.obstacle}")


def obstacle(risk: "Risk", batch: Batch) -> str:
    """Why the loss of a batch is not the mean of the losses of its parts; empty if it is."""
    from landscape.risk import BatchLoss

    if isinstance(risk.loss, BatchLoss):
        return "a BatchLoss hides its examples"
    if not divisible(batch):
        return "it is not a pair of tensors with a row an example"
    if getattr(risk.loss, "weight", None) is not None:
        return "a loss with class weights is no mean over examples"
    size = min(len(batch[0]), 16)
    while size >= 2:
        try:
            return "" if _is_a_mean(risk, batch, size) else NO_MEAN
        except (RuntimeError, MemoryError) as failure:
            if not is_out_of_memory(failure):
                raise
        size //= 2
    return ""


def _is_a_mean(risk: "Risk", batch: Batch, size: int) -> bool:
    """Whether the loss of the first examples is the mean of those of a third and of the rest of them."""
    cut = size // 3 or 1
    with risk.randomness(), without_gradients():
        whole, first, second = (
            float(risk.forward(moved(part(batch, a, b), risk.replica.device, risk.replica.dtype))[0])
            for a, b in ((0, size), (0, cut), (cut, size))
        )
    mean = (first * cut + second * (size - cut)) / size
    return abs(mean - whole) <= 1e-4 * max(abs(whole), 1e-6)


def quickest(risk: "Risk") -> int:
    """The micro-batch with the most examples a second in a gradient, by trying 16, 32, 64, …"""
    best, best_rate, size = 1, 0.0, 16
    while True:
        batch, count = _first(risk, size)
        rate = _rate(risk, batch, count)
        if rate > GAIN * best_rate:
            best, best_rate = size, rate
        elif rate < best_rate / GAIN:
            break
        if count < size or size >= LARGEST:
            break
        size *= 2
    return best


def _first(risk: "Risk", size: int) -> tuple[Batch, int]:
    """The first examples, fewer if there are not so many."""
    pieces = MicroBatches(1 << 62, "").pieces(_until(risk, size), join=True)
    whole = next(pieces)
    return part(whole.batch, 0, min(size, whole.size)), min(size, whole.size)


def _until(risk: "Risk", size: int) -> list[tuple[int, Batch]]:
    taken, count = [], 0
    for examples, batch in risk.batches:
        taken.append((examples, batch))
        count += examples
        if count >= size:
            break
    return taken


def _rate(risk: "Risk", batch: Batch, size: int) -> float:
    """Gradients of an example a second; 0 where there is no memory for it."""
    device = risk.replica.device
    times = []
    try:
        with risk.randomness(), twice_differentiable():
            there = moved(batch, device, risk.replica.dtype)
            for _ in range(4):  # the first warms up
                start = time.perf_counter()
                loss = risk.forward(there)[0]
                if loss.requires_grad:
                    torch.autograd.grad(loss, risk.replica.parameters, allow_unused=True)
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                times.append(time.perf_counter() - start)
    except (RuntimeError, MemoryError) as failure:
        if not is_out_of_memory(failure):
            raise
        return 0.0
    return size / min(times[1:])


def _give_back(risk: "Risk") -> None:
    if risk.replica.device.type == "cuda":
        torch.cuda.empty_cache()
