"""Double backward or forward over reverse: whichever is quicker on this device, for this network and batch."""

import time

import torch

from landscape.errors import is_out_of_memory
from landscape.objective import graphs
from landscape.objective.batches import Batch
from landscape.objective.engine import Products
from landscape.objective.risk import Risk

GAIN = 0.9
"""Forward over reverse must take less than this share of the time: a near tie must not be decided by noise."""


def quicker(risk: Risk, batch: Batch) -> Products:
    """The kind of Hessian product to use; timed once, on CUDA, where nothing was asked for.

    On the CPU double backward with the graph kept has won on every network tried.
    """
    engine = risk.engine
    if engine.products != "auto":
        return engine.products
    if risk.replica.device.type != "cuda":
        return "double-backward"
    if engine.quicker is None:
        engine.quicker = timed(risk, batch)
    return engine.quicker


def timed(risk: Risk, batch: Batch) -> Products:
    """The quicker of the two, for the second and all later vectors on one micro-batch."""
    backward = _seconds(risk, graphs.HessianGraph(risk, batch))
    try:
        forward = _seconds(risk, graphs.ForwardOverReverse(risk, batch))
    except (RuntimeError, NotImplementedError) as failure:  # an operation without a forward derivative
        if is_out_of_memory(failure):
            torch.cuda.empty_cache()
        return "double-backward"
    return "forward-over-reverse" if forward < GAIN * backward else "double-backward"


def _seconds(risk: Risk, graph: graphs.Graph) -> float:
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
