"""Hessian-trace regularisation: a penalty on the trace of the Hessian."""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from landscape.errors import InputError, UsageError
from landscape.isolation.attention import PlainAttention
from landscape.isolation.modes import outside_modes
from landscape.isolation.replacing import Replacing
from landscape.optim.batch_closure import Evaluation
from landscape.optim.sharpness_aware import Closure, GradientsAt, SharpnessAware, length
from landscape.processes.group import ALONE
from landscape.registry.bounds import NonNegative, Positive, PositiveInt, PositiveShare


class HessianTraceRegularised(SharpnessAware):
    """The gradient of ``L + λ mean_j vⱼᵀ ∇²L vⱼ`` with random signs vⱼ, an estimate of ``L + λ Tr ∇²L``.

    In mode ``"exact"`` the term is differentiated through, about four gradients a probe (estimated), which
    takes a :class:`~landscape.optim.BatchClosure` and a network of operations with third derivatives. In mode
    ``"fd"`` its gradient is ``(∇L(w + hv) + ∇L(w − hv) − 2g) / h²``, two gradients a probe, with any closure.
    Steps between are those of the base.

    Args:
        lam: Weight λ ≥ 0. 1e-4 to 0.1 in the paper.
        n_probe: Probes a step, at least 1.
        interval: Apply the term every ``interval`` steps, starting with the first. 10 or 50.
        keep_prob: Probability in (0, 1] that a weight is probed: below 1 it is the paper's SEHT-D, which
            regularises the trace over random subsets. 0.05 to 1.
        mode: ``"exact"`` or ``"fd"``.
        fd_step: h of mode ``"fd"``, > 0, relative to the root mean square of the weights (or to 1 where
            those are zero).

    Reference:
        Liu, Yu, Lin, 2023, Neurocomputing 536, 13–20. The authors' code turns the trace into a number without
        a gradient, so that it changes nothing; this is the objective that they state. It probes weights and
        logits, this all perturbed parameters. Mode ``"fd"`` is not theirs (unverified: its default step).
    """

    is_by_shards = True

    lam: NonNegative = 1e-3
    n_probe: PositiveInt = 5
    interval: PositiveInt = 10
    keep_prob: PositiveShare = 1.0
    mode: Literal["exact", "fd"] = "exact"
    fd_step: Positive = 1e-2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.needs_batch = self.mode == "exact"
        if self.needs_batch and self.flat.group is not ALONE:
            raise InputError(
                "mode='exact' differentiates twice, and the parameters are sharded over processes by fully_shard, "
                "through which that is not possible; use mode='fd' (mode=fd)"
            )

    def first_closure(self, gradients_at: GradientsAt) -> Closure | None:
        """The loss and the term, in mode ``"exact"``."""
        if self.mode != "exact" or not self._is_active():
            return None
        gradients_at.cost += 4 * self.n_probe
        regularised = gradients_at.batch.plus(self._term)

        def closure() -> Tensor:
            # Only the plain kernel of attention can be differentiated again, and none of batch norm.
            with PlainAttention(), Replacing({functional.batch_norm: _batch_norm}):
                try:
                    return regularised()
                except RuntimeError as failure:
                    if "derivative" not in str(failure):
                        raise
                    raise UsageError(
                        f"{failure}; mode='fd' (mode=fd) needs first derivatives only"
                    ) from failure

        return closure

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradient; in mode ``"fd"`` with the differences of gradients around it."""
        if self.mode != "fd" or not self._is_active():
            return gradients
        size = length(self.weights) / self.flat.total_dimension**0.5
        h = self.fd_step * torch.where(size > 0, size, 1.0)
        differences = torch.zeros_like(gradients)
        for probe in self.probes():
            displacement = h * probe
            differences += gradients_at(displacement) + gradients_at(-displacement) - 2 * gradients
        return torch.addcmul(gradients, differences, self.lam / (self.n_probe * h.square()))

    @torch.no_grad()
    def probes(self) -> Iterator[Tensor]:
        """The vectors ``(n,)`` of random signs of this step, with zeros where nothing is probed."""
        flat, like = self.flat, self.weights
        chances = flat.drawn_one_by_one(self.draws.uniforms, self.n_probe, like=like)
        for signs in flat.drawn_one_by_one(self.draws.signs, self.n_probe, like=like):
            yield self.perturbed(signs if self.keep_prob == 1 else signs * (next(chances) < self.keep_prob))

    def _is_active(self) -> bool:
        return self.lam > 0 and self.attempts % self.interval == 0

    def _term(self, evaluation: Evaluation) -> Tensor:
        gradients = self._derivatives(evaluation.loss)
        traces = [self._curvature(gradients, self.flat.split(probe)) for probe in self.probes()]
        return self.lam * torch.stack(traces).mean()

    def _curvature(self, gradients: tuple[Tensor, ...], probe: list[Tensor]) -> Tensor:
        """``vᵀ ∇²L v``, with a graph."""
        slope = sum((g * v).sum() for g, v in zip(gradients, probe, strict=True))
        assert isinstance(slope, Tensor)
        if not slope.requires_grad:  # a loss that is linear in the weights
            return slope.new_zeros(())
        curvature = sum((h * v).sum() for h, v in zip(self._derivatives(slope), probe, strict=True))
        assert isinstance(curvature, Tensor)
        return curvature

    def _derivatives(self, value: Tensor) -> tuple[Tensor, ...]:
        with outside_modes():
            return torch.autograd.grad(value, self.flat.parameters, create_graph=True, materialize_grads=True)


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``functional.batch_norm`` with a third derivative; its parameters have the same names."""
    if training:
        with torch.no_grad():  # for the running statistics, and to refuse what torch refuses
            functional.batch_norm(input, running_mean, running_var, None, None, True, momentum, eps)
        others = [axis for axis in range(input.dim()) if axis != 1]
        mean, var = input.mean(others), input.var(others, correction=0)
    else:
        assert running_mean is not None
        assert running_var is not None
        mean, var = running_mean, running_var
    shape = [1, -1] + [1] * (input.dim() - 2)
    result = (input - mean.view(shape)) * (var.view(shape) + eps).rsqrt()
    if weight is not None:
        result = result * weight.view(shape)
    return result if bias is None else result + bias.view(shape)
