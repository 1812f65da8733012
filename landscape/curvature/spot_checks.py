"""What was derived about a network, held against autograd on one example before it is relied upon.

The proof and the per-example gradients see the forward pass; autograd may see more: a hook that a forward pass sets, a
weight that is also read through a plain list. A disagreement costs a slower way, never a wrong number.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from landscape import derivatives, graphs
from landscape.batches import Batch
from landscape.risk import Risk

TENSORS = 16
"""Parameter tensors in which one coordinate is looked at."""

SquaredNorms = Callable[[nn.Module, Sequence[str], Tensor, Callable[[Tensor], Tensor]], Tensor]


def gradients_agree(model: nn.Module, free: Sequence[str], inputs: Tensor, norms: SquaredNorms) -> bool:
    """Whether ``norms`` finds the squared gradient norms that autograd finds for the first example.

    Args:
        model: The network.
        free: Names of its free parameters, which require gradients.
        inputs: A batch.
        norms: One of the functions of :mod:`landscape.curvature.example_gradients`.
    """
    parameters = dict(model.named_parameters())
    with torch.enable_grad():
        outputs = model(inputs[:1])
    ramp = torch.linspace(1.0, 2.0, outputs.shape[1], dtype=outputs.dtype, device=outputs.device)
    weights = ramp.expand_as(outputs)
    wanted = [parameters[name] for name in free]
    slopes = torch.autograd.grad(outputs, wanted, weights, allow_unused=True, materialize_grads=True)
    truth = torch.stack([slope.double().square().sum() for slope in slopes])
    try:
        found = norms(model, free, inputs[:1], lambda _: weights.unsqueeze(0))
    except (
        RuntimeError,
        TypeError,
        ValueError,
    ):  # vmap meets a branch on values, or a layer that was cut off
        return False
    return bool(torch.allclose(found, truth, rtol=1e-3, atol=1e-6 * float(truth.sum())))


def diagonals_agree(risk: Risk, batch: Batch) -> bool:
    """Whether H and G have the same diagonal where the first example bends the loss, a coordinate a tensor.

    Args:
        risk: Network and loss; standing at the point in question.
        batch: ``(inputs, targets)``.
    """
    one = (batch[0][:1], batch[1][:1])
    slopes = risk.replica.layout.split(derivatives.gradient(risk, one)[0])
    entries = risk.replica.layout.entries
    columns, places = [], []
    for k in range(0, len(entries), max(1, len(entries) // TENSORS)):
        places.append(entries[k].offset + int(slopes[k].abs().argmax()))
        columns.append(torch.zeros_like(risk.replica.origin))
        columns[-1][places[-1]] = 1.0
    # Graphs of their own: those that the engine keeps belong to whole micro-batches.
    whole = graphs.HessianGraph(risk, one).products(columns, keep=False)
    inner = graphs.GaussNewtonGraph(risk, one).products(columns, keep=False)
    a = torch.stack([column[place] for column, place in zip(whole, places, strict=True)])
    b = torch.stack([column[place] for column, place in zip(inner, places, strict=True)])
    return bool(torch.allclose(a, b, rtol=1e-2, atol=1e-5 * float(b.abs().max())))
