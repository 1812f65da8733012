"""Which way is quickest here, by trying: the size of micro-batches, and the kind of Hessian product."""

import time

import torch

from landscape.errors import is_out_of_memory
from landscape.isolation import twice_differentiable
from landscape.objective.batches import Batch, rows_in, rows_of
from landscape.objective.engine import Products
from landscape.objective.graphs import ForwardOverReverse, Graph, HessianGraph
from landscape.objective.micro_batches import MicroBatches
from landscape.objective.risk import Risk

LARGEST = 4096
"""Examples in the largest micro-batch that is tried."""

SIZE_GAIN = 1.05
"""A size must be so much quicker than the best smaller one to be used: more memory is not spent on noise."""

PRODUCT_GAIN = 0.9
"""Forward over reverse must take less than this share of the time: a near tie must not be decided by noise."""


def quickest_size(risk: Risk) -> int:
    """The micro-batch with the most examples a second in a gradient, by trying 16, 32, 64, …"""
    best, best_rate, size = 1, 0.0, 16
    while True:
        batch, count = _first_examples(risk, size)
        rate = _rate(risk, batch, count)
        if rate > SIZE_GAIN * best_rate:
            best, best_rate = size, rate
        elif rate < best_rate / SIZE_GAIN:
            break
        if count < size or size >= LARGEST:
            break
        size *= 2
    return best


def _first_examples(risk: Risk, size: int) -> tuple[Batch, int]:
    """The first examples of the data and their number, fewer than requested if there are not so many."""
    batches, count = [], 0
    for examples, batch in risk.batches:
        batches.append((examples, batch))
        count += rows_in(batch) or examples
        if count >= size:
            break
    # Joined without a limit, as far as the batches are of the same form.
    first = next(MicroBatches(1 << 62, obstacle="").pieces(batches, risk.batches.weight_of))
    return rows_of(first.batch, slice(0, size)), min(size, first.size)


def _rate(risk: Risk, batch: Batch, size: int) -> float:
    """Gradients of an example a second; 0 if memory does not suffice."""
    times = []
    try:
        with risk.randomness(), twice_differentiable():
            placed = risk.placed(batch)
            for _ in range(4):
                start = time.perf_counter()
                loss = risk.forward(placed)[0]
                if loss.requires_grad:
                    torch.autograd.grad(loss, risk.replica.parameters, allow_unused=True)
                _synchronise(risk)
                times.append(time.perf_counter() - start)
    except (RuntimeError, MemoryError) as failure:
        if not is_out_of_memory(failure):
            raise
        return 0.0
    return size / min(times[1:])  # the first warms up


def quicker_product(risk: Risk, batch: Batch) -> Products:
    """The kind of Hessian product to use; timed once, on CUDA, if neither was requested."""
    engine = risk.engine
    if engine.products != "auto":
        return engine.products
    if (
        risk.replica.device.type != "cuda"
    ):  # there, double backward with the graph kept won on every network tried
        return "double-backward"
    if engine.quicker is None:
        engine.quicker = timed_product(risk, batch)
    return engine.quicker


def timed_product(risk: Risk, batch: Batch) -> Products:
    """The quicker kind of product for the second and all later vectors on one micro-batch."""
    backward = _seconds(risk, HessianGraph(risk, batch))
    try:
        forward = _seconds(risk, ForwardOverReverse(risk, batch))
    except (RuntimeError, NotImplementedError) as failure:  # an operation without a forward derivative
        if is_out_of_memory(failure):
            torch.cuda.empty_cache()
        return "double-backward"
    return "forward-over-reverse" if forward < PRODUCT_GAIN * backward else "double-backward"


def _seconds(risk: Risk, graph: Graph) -> float:
    column = torch.ones_like(risk.replica.origin)
    times = []
    for _ in range(3):
        _synchronise(risk)
        start = time.perf_counter()
        graph.products([column], keep=True)
        _synchronise(risk)
        times.append(time.perf_counter() - start)
    return min(times)


def _synchronise(risk: Risk) -> None:
    if risk.replica.device.type == "cuda":
        torch.cuda.synchronize(risk.replica.device)
