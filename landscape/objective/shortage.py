"""What is done when memory is short, and how the quickest size of a micro-batch is found."""

import time
import warnings
from typing import TYPE_CHECKING

import torch

from landscape.errors import OutOfMemory, Remark, UsageError, is_out_of_memory
from landscape.isolation import twice_differentiable
from landscape.objective.batches import Batch, rows_in, rows_of
from landscape.objective.micro_batches import MicroBatches, Piece

if TYPE_CHECKING:
    from landscape.objective.risk import Risk

LARGEST = 4096
"""Examples in the largest micro-batch that is tried."""

GAIN = 1.05
"""A size must be so much quicker than the best smaller one to be taken: more memory is not spent on noise."""


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
        micro.obstacle = risk.independence().reason
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


def settle(risk: "Risk") -> None:
    """Finds out whether batches can be split and joined, and the quickest size where that was asked for."""
    micro = risk.engine.micro
    if micro.size is None or micro.obstacle is not None:
        return
    micro.obstacle = risk.independence().reason
    if micro.size == "auto":
        micro.size = None if micro.obstacle else quickest(risk)
    elif micro.obstacle:
        raise UsageError(f"micro_batch={micro.size}: a batch cannot be split because {micro.obstacle}")


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
    return rows_of(whole.batch, slice(0, size)), min(size, whole.size)


def _until(risk: "Risk", size: int) -> list[tuple[int, Batch]]:
    taken, count = [], 0
    for examples, batch in risk.batches:
        taken.append((examples, batch))
        count += rows_in(batch) or examples
        if count >= size:
            break
    return taken


def _rate(risk: "Risk", batch: Batch, size: int) -> float:
    """Gradients of an example a second; 0 where there is no memory for it."""
    device = risk.replica.device
    times = []
    try:
        with risk.randomness(), twice_differentiable():
            there = risk.placed(batch)
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
