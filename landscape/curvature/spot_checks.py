"""What was derived about a network, held against autograd on a few examples before it is relied upon.

The proof and the per-example gradients see the forward pass; autograd may see more: a hook that a forward pass sets, a
weight that is also read through a plain list. A disagreement costs a slower way, never a wrong number.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from landscape.curvature.example_gradients import Cotangents
from landscape.curvature.example_probes import OutputCurvature
from landscape.objective import derivatives, graphs
from landscape.objective.batches import Batch, rows_in, rows_of
from landscape.objective.outputs import applied
from landscape.objective.risk import Risk

TENSORS = 16
"""Parameter tensors in which one coordinate is looked at."""

BLOCKS = 4
"""Parameter tensors whose diagonal block is looked at."""

EXAMPLES = 3
"""Examples whose gradients are looked at."""

SquaredNorms = Callable[[nn.Module, Sequence[str], Any, Cotangents], Tensor]


def picked(batch: Batch, count: int) -> Batch:
    """Some examples of a batch at random: its first one may be special, and does not see all the others."""
    order = torch.randperm(rows_in(batch) or 0, generator=torch.Generator().manual_seed(2))
    return rows_of(batch, order[:count])


def _one(risk: Risk, batch: Batch) -> Batch:
    """One example of some weight."""
    few = picked(batch, rows_in(batch) or 0)
    singles = (rows_of(few, slice(k, k + 1)) for k in range(rows_in(few) or 0))
    return next((one for one in singles if risk.batches.weight_of(one) > 0), rows_of(few, slice(0, 1)))


def same_without_gradients(model: nn.Module, inputs: Any) -> bool:
    """Whether the outputs of a few examples are the same with and without autograd: a network may ask for it."""
    few = picked(inputs, EXAMPLES)
    with torch.enable_grad():
        recorded = applied(model, few).detach()
    with torch.no_grad():
        plain = applied(model, few)
    return torch.allclose(recorded, plain, rtol=1e-4, atol=1e-4 * float(plain.abs().max()))


def gradients_agree(model: nn.Module, free: Sequence[str], inputs: Any, norms: SquaredNorms) -> bool:
    """Whether ``norms`` finds the squared gradient norms that autograd finds for a few examples one by one.

    Args:
        model: The network.
        free: Names of its free parameters, which require gradients.
        inputs: A batch.
        norms: One of the functions of :mod:`landscape.curvature.example_gradients`.
    """
    parameters, few = dict(model.named_parameters()), picked(inputs, EXAMPLES)
    wanted, truth, along = [parameters[name] for name in free], torch.zeros(()), list[Tensor]()
    for k in range(rows_in(few) or 0):
        with torch.enable_grad():
            outputs = applied(model, rows_of(few, slice(k, k + 1)))
        ramp = torch.linspace(1.0 + k, 2.0, outputs[0].numel(), dtype=outputs.dtype, device=outputs.device)
        along.append(ramp.reshape(outputs.shape))
        slopes = torch.autograd.grad(outputs, wanted, along[k], allow_unused=True, materialize_grads=True)
        truth = truth.to(outputs.device) + torch.stack([slope.double().square().sum() for slope in slopes])
    weights = torch.cat(along)
    try:
        found = norms(model, free, few, lambda _, rows: weights[rows].unsqueeze(0))
    except (
        RuntimeError,
        TypeError,
        ValueError,
    ):  # vmap meets a branch on values, or a layer that was cut off
        return False
    return bool(torch.allclose(found, truth, rtol=1e-3, atol=1e-6 * float(truth.sum())))


def diagonals_agree(risk: Risk, batch: Batch) -> bool:
    """Whether H and G have the same diagonal where an example bends the loss, a coordinate a tensor.

    Args:
        risk: Network and loss; standing at the point in question.
        batch: Inputs and targets.
    """
    one = _one(risk, batch)
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


def blocks_agree(risk: Risk, batch: Batch) -> bool:
    """Whether vᵀHv for an example is what the results of the operations say, a parameter tensor at a time.

    Args:
        risk: Network and loss; standing at the point in question.
        batch: Inputs and targets.
    """
    one = _one(risk, batch)
    with derivatives.second_derivatives(risk, one):
        return _blocks_agree(risk, one)


def _blocks_agree(risk: Risk, one: Batch) -> bool:
    layout = risk.replica.layout
    curvature, whole = OutputCurvature(risk, one, less_gauss_newton=False), graphs.HessianGraph(risk, one)
    parameters = risk.replica.parameters
    generator = torch.Generator().manual_seed(0)
    found, truth = [], []
    for k in range(0, len(curvature.uses), max(1, len(curvature.uses) // BLOCKS)):
        use = curvature.uses[k]
        step = torch.randn(use.parameter.shape, generator=generator, dtype=torch.float64).to(use.place)
        moves = [torch.zeros_like(other.place) for other in curvature.uses]
        moves[k] = use.map.moved(step.unsqueeze(0))
        found.append(float(curvature.forms(moves, keep=True)[0, k]))
        block = next(n for n, parameter in enumerate(parameters) if parameter is use.parameter)
        column = layout.flatten(
            [step if n == block else torch.zeros_like(p) for n, p in enumerate(parameters)]
        )
        (product,) = whole.products([column], keep=True, block=block)
        truth.append(float(column.double() @ product.double()))
    scale = max(abs(value) for value in truth)
    return bool(torch.allclose(torch.tensor(found), torch.tensor(truth), rtol=1e-2, atol=1e-4 * scale))
