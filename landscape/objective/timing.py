"""Which way is quickest here, by trying: the size of micro-batches, and the kind of Hessian product."""

import time
from collections.abc import Callable
from functools import partial

import torch

from landscape.errors import InputError, is_out_of_memory
from landscape.isolation.derivatives import twice_differentiable
from landscape.objective.batch import Batch, rows_in, rows_of
from landscape.objective.engine import Products
from landscape.objective.graphs import ForwardOverReverse, HessianGraph
from landscape.objective.micro_batches import MicroBatches
from landscape.objective.risk import Risk

SIZE_GAIN = 1.05  # over the best smaller size: more memory is not spent on noise
PRODUCT_GAIN = 0.9  # of the other's time, for forward over reverse: noise decides no near tie


def quickest_size(risk: Risk) -> int:
    """The micro-batch with the most examples a second in a gradient, by trying 16, 32, …, 4096"""
    best, best_rate = 1, 0.0
    for size in (16 << k for k in range(9)):
        batch, count = _first_examples(risk, size)
        # Of the first process: all have to take the same decision.
        rate = risk.replica.shards.group.decided(_rate(risk, batch, count))
        if rate > SIZE_GAIN * best_rate:
            best, best_rate = size, rate
        elif rate < best_rate / SIZE_GAIN:
            break
        if count < size:
            break
    return best


def _first_examples(risk: Risk, size: int) -> tuple[Batch, int]:
    """The first examples of the data and their number, fewer than requested if there are not so many."""
    batches, count = [], 0
    for examples, batch in risk.batches.leading():
        batches.append((examples, batch))
        count += rows_in(batch) or examples
        if count >= size:
            break
    # Joined without a limit, as far as the batches are of the same form; their weight does not matter here.
    first = next(MicroBatches(1 << 62, obstacle="").pieces(batches, lambda place, _: (place[1], 1.0)))
    return rows_of(first.batch, slice(0, size)), min(size, first.size)


def _rate(risk: Risk, batch: Batch, size: int) -> float:
    """Gradients of an example a second; 0 if memory does not suffice."""

    def gradient() -> None:
        loss = risk.forward(placed)[0]
        if loss.requires_grad:
            torch.autograd.grad(loss, risk.replica.parameters, allow_unused=True)

    try:
        with risk.randomness(), twice_differentiable():
            placed = risk.placed(batch)
            gradient()  # the first warms up
            return size / _seconds(risk, gradient)
    except (RuntimeError, MemoryError) as failure:
        if not is_out_of_memory(failure) or not risk.replica.shards.group.alone:
            raise
        return 0.0


def quicker_product(risk: Risk, batch: Batch) -> Products:
    """The kind of Hessian product to use; timed once, on CUDA, if neither was requested."""
    engine = risk.engine
    if engine.products != "auto":
        return engine.products
    # On the CPU double backward with the graph kept won on every network that was tried.
    # Forward derivatives keep nothing between the two passes that could be computed again.
    if risk.replica.device.type != "cuda" or engine.recomputation or risk.replica.shards.gathering:
        return "double-backward"
    if engine.quicker is None:
        engine.quicker = timed_product(risk, batch)
    return engine.quicker


def timed_product(risk: Risk, batch: Batch) -> Products:
    """The quicker kind of product for the second and all later vectors on one micro-batch."""
    column = torch.ones_like(risk.replica.point)
    graph = HessianGraph(risk, batch)
    backward = _seconds(risk, lambda: graph.products([column], keep=True))
    try:
        function = ForwardOverReverse(risk, batch)
        forward = _seconds(risk, lambda: function.products([column], keep=True))
    except (RuntimeError, InputError) as failure:  # an operation without a forward derivative
        if is_out_of_memory(failure):
            torch.cuda.empty_cache()
        return "double-backward"
    return "forward-over-reverse" if forward < PRODUCT_GAIN * backward else "double-backward"


def _seconds(risk: Risk, run: Callable[[], object]) -> float:
    """The least time of three runs."""
    on_cuda = risk.replica.device.type == "cuda"
    wait = partial(torch.cuda.synchronize, risk.replica.device)
    synchronise: Callable[[], object] = wait if on_cuda else lambda: None
    times = []
    for _ in range(3):
        synchronise()
        start = time.perf_counter()
        run()
        synchronise()
        times.append(time.perf_counter() - start)
    return min(times)
