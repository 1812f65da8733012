"""The trace of a Hessian by plain Hutchinson probes: a reference that shares no code with ``landscape``.

The trace is linear in the examples, so that groups of them may have probes of their own, which needs fewer passes.
"""

import math
import statistics
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

MIN_PASSES = 24
"""Passes over the examples before the first look at the standard error."""


def plain_trace(
    model: nn.Module, batches: Sequence[tuple[Tensor, Tensor]], *, accuracy: float, seed: int = 0
) -> tuple[float, float, int]:
    """Tr H of the mean cross-entropy in float64, its standard error, and the passes that it took.

    Args:
        model: Has one row of scores a target. It is changed to float64.
        batches: Inputs and class numbers by groups of examples with common probes.
        accuracy: The standard error to reach, relative.
        seed: Of the probes.
    """
    generator = torch.Generator().manual_seed(seed)
    weights = list(model.double().parameters())
    total, slopes = sum(len(targets) for _, targets in batches), []
    for inputs, targets in batches:
        with sdpa_kernel(SDPBackend.MATH):
            scores = model(inputs.double() if inputs.is_floating_point() else inputs)
        loss = nn.functional.cross_entropy(scores, targets, reduction="sum") / total
        slopes.append(torch.autograd.grad(loss, weights, create_graph=True))
    passes: list[float] = []
    while True:
        forms = 0.0
        for slope in slopes:
            probe = [2.0 * torch.randint(2, w.shape, generator=generator).double() - 1 for w in weights]
            image = torch.autograd.grad(slope, weights, probe, retain_graph=True)
            forms += sum(float((v * p).sum()) for v, p in zip(probe, image, strict=True))
        passes.append(forms)
        if len(passes) >= MIN_PASSES:
            mean, error = statistics.fmean(passes), statistics.stdev(passes) / math.sqrt(len(passes))
            if error <= accuracy * abs(mean):
                return mean, error, len(passes)
