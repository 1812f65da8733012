"""Checks derived quantities against autograd on a few examples before use.

The proof and the per-example gradients see the forward pass; autograd may see more: a hook that a forward pass sets, a
weight that is also read through a plain list. A disagreement costs a slower way, never a wrong number.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from landscape.curvature.example_gradients import SquaredNorms
from landscape.curvature.example_probes import OutputCurvature
from landscape.draws import Draws
from landscape.losses.outputs import applied
from landscape.objective import graphs
from landscape.objective.batch import Batch, rows_in, rows_of
from landscape.objective.products import gradient, second_derivatives
from landscape.objective.risk import Risk
from landscape.reductions import dot, norm

TENSORS = 16  # parameter tensors of which one coordinate is checked
BLOCKS = 4  # parameter tensors of which the diagonal block is checked
EXAMPLES = 3  # examples whose gradients are checked


def picked(batch: Batch, count: int) -> Batch:
    """Some examples of a batch at random: its first one may be special, and does not see all the others."""
    order = torch.randperm(rows_in(batch) or 0, generator=torch.Generator().manual_seed(2), device="cpu")
    return rows_of(batch, order[:count])


def _example(risk: Risk, batch: Batch) -> Batch:
    """One example of positive weight, if there is any."""
    few = picked(batch, rows_in(batch) or 0)
    singles = [rows_of(few, slice(k, k + 1)) for k in range(rows_in(few) or 0)]
    return next((single for single in singles if risk.batches.weight_of(single) > 0), singles[0])


def same_without_gradients(model: nn.Module, inputs: Any) -> bool:
    """Whether a few examples have the same outputs with and without autograd, which a network may distinguish."""
    few = picked(inputs, EXAMPLES)
    with torch.enable_grad():
        recorded = applied(model, few).detach()
    with torch.no_grad():
        plain = applied(model, few)
    return _close(recorded, plain, relative=1e-4, absolute=1e-4 * plain.abs().max())


def gradients_agree(model: nn.Module, free: Sequence[str], inputs: Any, norms: SquaredNorms) -> bool:
    """Whether ``norms`` yields the squared gradient norms that autograd yields for a few examples one by one."""
    parameters, few = dict(model.named_parameters()), picked(inputs, EXAMPLES)
    tensors, squares, cotangents = [parameters[name] for name in free], list[Tensor](), list[Tensor]()
    for k in range(rows_in(few) or 0):
        with torch.enable_grad():
            outputs = applied(model, rows_of(few, slice(k, k + 1)))
        # Unequal entries that differ between examples, so that neither outputs nor examples can be confused.
        ramp = torch.linspace(1.0 + k, 2.0, outputs[0].numel(), dtype=outputs.dtype, device=outputs.device)
        cotangents.append(ramp.reshape(outputs.shape))
        slopes = torch.autograd.grad(
            outputs, tensors, cotangents[k], allow_unused=True, materialize_grads=True
        )
        squares.append(torch.stack([norm(slope).square() for slope in slopes]))
    weights, truth = torch.cat(cotangents), torch.stack(squares).sum(0)
    try:
        values = norms(model, free, few, lambda _, rows: weights[rows].unsqueeze(0))
    except (RuntimeError, TypeError, ValueError):  # vmap meets a branch on values, or a detached layer
        return False
    return _close(values, truth, relative=1e-3, absolute=1e-6 * truth.sum())


def diagonals_agree(risk: Risk, batch: Batch) -> bool:
    """Whether H and G of one example have the same diagonal, in the coordinate of largest slope of each tensor."""
    example = _example(risk, batch)
    slopes = risk.replica.layout.split(gradient(risk, example)[0])
    entries = risk.replica.layout.entries
    tensors = range(0, len(entries), max(1, len(entries) // TENSORS))
    steepest = torch.stack([slopes[k].abs().argmax() for k in tensors]).tolist()
    places = [entries[k].offset + index for k, index in zip(tensors, steepest, strict=True)]
    columns = [torch.zeros_like(risk.replica.point) for _ in places]
    for column, place in zip(columns, places, strict=True):
        column[place] = 1.0
    # Graphs of their own: those that the engine keeps belong to whole micro-batches.
    hessian = graphs.HessianGraph(risk, example).products(columns, keep=False)
    inner = graphs.GaussNewtonGraph(risk, example).products(columns, keep=False)
    a = torch.stack([column[place] for column, place in zip(hessian, places, strict=True)])
    b = torch.stack([column[place] for column, place in zip(inner, places, strict=True)])
    return _close(a, b, relative=1e-2, absolute=1e-5 * b.abs().max())


def blocks_agree(risk: Risk, batch: Batch) -> bool:
    """Whether vᵀHv of one example follows from the results of the operations, for some parameter tensors."""
    example = _example(risk, batch)
    with second_derivatives(risk, example):
        return _blocks_agree(risk, example)


def _blocks_agree(risk: Risk, example: Batch) -> bool:
    layout, parameters = risk.replica.layout, risk.replica.parameters
    curvature = OutputCurvature(risk, example, less_gauss_newton=False)
    hessian = graphs.HessianGraph(risk, example)
    values, truth = [], []
    for k in range(0, len(curvature.uses), max(1, len(curvature.uses) // BLOCKS)):
        use = curvature.uses[k]
        drawn = Draws(0).normals(range(k, k + 1), use.parameter.numel(), like=use.place)
        step = drawn.reshape(use.parameter.shape)
        moves = [torch.zeros_like(other.place) for other in curvature.uses]
        moves[k] = use.map.moved(step.unsqueeze(0))
        values.append(curvature.forms(moves, keep=True)[0, k])
        block = next(n for n, parameter in enumerate(parameters) if parameter is use.parameter)
        column = layout.flatten(
            [step if n == block else torch.zeros_like(p) for n, p in enumerate(parameters)]
        )
        (product,) = hessian.products([column], keep=True, block=(block,))
        truth.append(dot(column, product))
    forms = torch.stack(truth)
    return _close(torch.stack(values), forms, relative=1e-2, absolute=1e-4 * forms.abs().max())


def _close(values: Tensor, truth: Tensor, *, relative: float, absolute: Tensor) -> bool:
    """``torch.allclose`` with a tolerance that is a tensor, so that one number is read."""
    near = (values - truth).abs() <= absolute + relative * truth.abs()
    return bool((near | (values == truth)).all())
