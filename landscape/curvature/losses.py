"""The second derivative of a loss in the outputs as ``Σ_k s_k s_kᵀ``: in closed form, or by autograd.

With such a square root of ``∂²ℓ/∂f²`` per example, ``Tr G = (1/N) Σᵢ Σ_k ‖Jᵢᵀ s_{ik}‖²``: squared per-example
gradients, and no products with G.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from landscape.draws import Draws
from landscape.losses.loss_functions import (
    BatchLoss,
    LabelWeights,
    Loss,
    averages_examples,
    label_weights,
    placed_loss,
    taken_apart,
)
from landscape.reductions import exact, exact_dtype


@dataclass(frozen=True)
class CurvatureRoot:
    """A square root of the curvature of a loss in its outputs ``(B, C)``, or ``(B, T, C)`` with scores of each token.

    ``vectors(outputs)`` are all s_k of every example, ``(K, B, C)`` or ``(T·K, B, T, C)``; ``sample(outputs, draws,
    rows)`` is one random s of every example with ``E[s sᵀ] = ∂²ℓ/∂f²``, shaped like the outputs, drawn for the numbers
    of the examples. Of a loss that weights its labels it is that of the weight times the loss, ``wᵢ ∂²ℓᵢ/∂f²``: it is
    the weight of the batch by which the sum over its examples is divided. The outputs are those of the examples whose
    targets the root was made for.
    """

    vectors: Callable[[Tensor], Tensor]
    sample: Callable[[Tensor, Draws, range], Tensor]


def curvature_root(loss: object, targets: Tensor) -> CurvatureRoot | str:
    """The root for cross-entropy, squared error or binary cross-entropy with these targets, or why there is none."""
    function, options = taken_apart(loss)
    if not averages_examples(loss):
        return f"{_name(function)} may do more than the loss that it derives from"
    weight = options.get("weight", getattr(function, "weight", None))
    if _is(function, nn.CrossEntropyLoss) or function is functional.cross_entropy:
        rule = label_weights(loss)
        assert rule is not None
        return _weighted_softmax(rule, targets)
    if _is(function, nn.MSELoss) or function is functional.mse_loss:
        return _SQUARE if weight is None else "squared error with weights"
    if _is(function, nn.BCEWithLogitsLoss) or function is functional.binary_cross_entropy_with_logits:
        positive = options.get("pos_weight", getattr(function, "pos_weight", None))
        return _BINARY if weight is None and positive is None else "binary cross-entropy with weights"
    return f"the curvature of {_name(function)} in the outputs is not known"


def _weighted_softmax(rule: LabelWeights, targets: Tensor) -> CurvatureRoot | str:
    """The root of cross-entropy whose labels, or tokens, have weights."""
    if targets.is_floating_point() and targets.ndim != 2:
        return "cross-entropy with probabilities of more than one label an example"
    if rule.classes is not None and bool((rule.classes < 0).any()):
        return "cross-entropy with negative class weights"
    if targets.is_floating_point() and bool((targets < 0).any()):
        return "cross-entropy with negative targets"

    def scales(outputs: Tensor) -> Tensor:
        return rule.curvature(targets, outputs.shape[-1]).sqrt().to(outputs).unsqueeze(-1)

    def vectors(outputs: Tensor) -> Tensor:
        if outputs.ndim == 2:
            return _softmax_root(outputs) * scales(outputs)
        rows, tokens, classes = outputs.shape
        root = _softmax_root(outputs.flatten(0, 1)).view(-1, rows, tokens, classes) * scales(outputs)
        # A token at a time: each s is 0 at all others.
        places = torch.eye(tokens, dtype=outputs.dtype, device=outputs.device)
        return (places[:, None, None, :, None] * root).flatten(0, 1)

    def sample(outputs: Tensor, draws: Draws, rows: range) -> Tensor:
        # All tokens at once: their samples are independent of each other and have the mean 0.
        flat = outputs.reshape(-1, outputs.shape[-1])
        wide = flat.new_empty(0, dtype=exact_dtype(flat.device))
        digits = draws.uniforms(rows, 2 * (len(flat) // len(rows)), like=wide)
        return _softmax_sample(flat, digits.view(-1, 2)).view(outputs.shape) * scales(outputs)

    return CurvatureRoot(vectors, sample)


def _is(loss: object, kind: type[nn.Module]) -> bool:
    """Whether a loss is of that class, or of a class of ours derived from it: a user's class may do anything."""
    ours = type(loss).__module__.partition(".")[0] == __name__.partition(".")[0]
    return type(loss) is kind or (ours and isinstance(loss, kind))


def _name(loss: object) -> str:
    return str(getattr(loss, "__name__", type(loss).__name__))


def curvature_by_autograd(
    loss: Loss, outputs: Tensor, targets: Tensor, *, weight: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Vectors s_k with ``Σ_k s_k s_kᵀ`` the positive and the negative part of ``weight · ∂²ℓ_B/∂f²``, ``(C, B, C)``.

    It is computed block by block, an example each, so that the loss must be a mean over examples that do not see each
    other. A convex loss has no negative part. ``weight`` is the divisor of the batch's mean.
    """
    wide = exact_dtype(outputs.device)
    try:
        blocks = _blocks(placed_loss(loss, outputs.device, wide), outputs.to(wide), targets, weight)
    except RuntimeError:  # a tensor in the closure of a loss keeps single precision
        blocks = _blocks(loss, outputs, targets, weight)
    # The mean over no label is NaN.
    blocks = torch.where(torch.as_tensor(weight, device=blocks.device) > 0, (blocks + blocks.mT) / 2, 0.0)
    # A device without float64 has no eigenvalues either.
    values, vectors = torch.linalg.eigh(blocks.double() if wide == torch.float64 else blocks.cpu().double())
    # Eigenvalues that are zero but for rounding, of either sign, belong to neither part.
    smallest = (1e-12 if wide == torch.float64 else 1e-6) * values.abs().amax(dim=1, keepdim=True)

    def root(part: Tensor) -> Tensor:
        lengths = torch.where(part > smallest, part, 0.0).sqrt()
        columns: Tensor = vectors * lengths[:, None, :]
        return columns.permute(2, 0, 1).to(outputs)

    return root(values), root(-values)


def _blocks(loss: Loss, outputs: Tensor, targets: Tensor, weight: float | Tensor) -> Tensor:
    """The second derivative of ``weight`` times the loss in the outputs of each example, ``(B, C, C)``."""
    assert not isinstance(loss, BatchLoss)
    scores = outputs.detach().requires_grad_()
    known = targets.to(scores.dtype) if targets.is_floating_point() else targets
    slope: Tensor
    (slope,) = torch.autograd.grad(weight * loss(scores, known), scores, create_graph=True)
    if not slope.requires_grad:
        return scores.new_zeros(*scores.shape, scores.shape[1])
    rows = [
        torch.autograd.grad(column.sum(), scores, retain_graph=True, materialize_grads=True)[0]
        for column in slope.unbind(1)
    ]
    return torch.stack(rows, dim=1)


def _softmax_root(outputs: Tensor) -> Tensor:
    """The columns of the Cholesky factor of diag(p) − p pᵀ; there are only C − 1, for the last is zero.

    With q_k = Σ_{j>k} p_j, column k is √(p_k q_k / q_{k−1}) on the diagonal and −p_i/q_k times that below it:
    no differences, hence no cancellation where one class has nearly all the probability.

    Reference:
        Tanabe and Sagae, "An exact Cholesky decomposition and the generalized inverse of the variance–covariance
        matrix of the multinomial distribution", J. R. Statist. Soc. B 54(1), 1992.
    """
    p = torch.softmax(outputs, dim=1)
    rest = p.flip(1).cumsum(1).flip(1)  # q_{k−1}, which includes p_k
    tail = rest[:, 1:]
    diagonal = (p[:, :-1] * (tail / rest[:, :-1]).nan_to_num(0.0)).sqrt()
    shares = (p[:, None, :] / tail[:, :, None]).nan_to_num(0.0, posinf=0.0)  # (B, C − 1, C)
    unit = torch.eye(p.shape[1], dtype=p.dtype, device=p.device)[:-1]
    root: Tensor = diagonal[:, :, None] * (unit - shares.triu(1))
    return root.movedim(1, 0)


def _softmax_sample(outputs: Tensor, digits: Tensor) -> Tensor:
    """e_c − p with c ~ p, by two uniform numbers a row."""
    p = torch.softmax(outputs, dim=1)
    below = exact(p).cumsum(1)
    # A number of 48 bits, because with many classes a grid of 2⁻²⁴ is too coarse for their probabilities.
    level = (digits[:, :1] + digits[:, 1:] / 2**24) * below[:, -1:]
    classes = torch.searchsorted(below, level, right=True).clamp_(max=p.shape[1] - 1)
    return torch.zeros_like(p).scatter_(1, classes, 1.0) - p


def _square_root(outputs: Tensor) -> Tensor:
    """√(2/C) e_k: ∂²ℓ/∂f² = 2/C for the mean over C outputs."""
    rows, classes = outputs.shape
    axes = math.sqrt(2.0 / classes) * torch.eye(classes, dtype=outputs.dtype, device=outputs.device)
    return axes.unsqueeze(1).expand(classes, rows, classes)


def _square_sample(outputs: Tensor, draws: Draws, rows: range) -> Tensor:
    return draws.signs(rows, outputs.shape[1], like=outputs).mul_((2.0 / outputs.shape[1]) ** 0.5)


def _binary_root(outputs: Tensor) -> Tensor:
    """√(p_k (1 − p_k)/C) e_k: the labels are independent."""
    return torch.diag_embed(_binary_scale(outputs)).movedim(1, 0)


def _binary_sample(outputs: Tensor, draws: Draws, rows: range) -> Tensor:
    return draws.signs(rows, outputs.shape[1], like=outputs) * _binary_scale(outputs)


def _binary_scale(outputs: Tensor) -> Tensor:
    p = torch.sigmoid(outputs)
    return (p * (1 - p) / outputs.shape[1]).sqrt()


_SQUARE = CurvatureRoot(_square_root, _square_sample)
_BINARY = CurvatureRoot(_binary_root, _binary_sample)
