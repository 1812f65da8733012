"""SAF: self-distillation towards the predictions of some epochs ago."""

import torch
from torch import Tensor
from torch.nn import functional

from landscape.errors import UsageError
from landscape.optim.batch_closure import Evaluation
from landscape.optim.erm import ERM
from landscape.optim.sharpness_aware import Closure, GradientsAt
from landscape.optim.vector import number
from landscape.registry.bounds import Count, NonNegative, NonNegativeCount, Positive


class SAF(ERM):
    """Sharpness-aware training for free: the gradient of ``L + λ τ² KL(softmax(z_ref/τ) ‖ softmax(z/τ))``.

    z_ref are the logits of each example ``lag`` of its visits ago, whatever the augmentation and the
    dropout mask then. The term is added from visit ``start_epoch + 1`` on, and once there is such a record;
    before, the step is that of the base. One gradient a step.

    The step needs a :class:`~landscape.optim.BatchClosure` with ``indices``: which examples these are.
    Each of several processes remembers the examples that it has seen itself: where a sampler deals them out
    anew in every epoch, an example counts its visits in each process.
    Targets that are mixed from two examples (mixup) give the logits of one example no meaning.

    Args:
        num_examples: Examples N of the training set. ``N × C × lag`` logits are kept, for C classes.
        lam: Weight λ ≥ 0 of the term.
        tau: Temperature τ > 0.
        start_epoch: Epochs without the term.
        lag: How many epochs ago, at least 1. 2 or 3.

    Reference:
        Du, Zhou, Feng, Tan, Zhou, 2022, arXiv 2205.14083, algorithm 1; the defaults and the factor τ² are those
        of the authors' code (unverified: the factor in the paper), which takes log(softmax), −∞ for a logit
        that is far below the others, where this takes log_softmax. The epoch of an example is the number of
        its visits, so that one which a loader left out has a record all the same.
    """

    is_by_shards = True
    needs_batch = is_single_pass = True
    num_examples: Count
    lam: NonNegative = 0.3
    tau: Positive = 5.0
    start_epoch: NonNegativeCount = 5
    lag: Count = 3

    def first_closure(self, gradients_at: GradientsAt) -> Closure | None:
        """The loss and the term, where there is one."""
        batch = gradients_at.batch
        numbers = None if batch.indices is None else batch.whole(batch.indices)
        indices = self._indices = self._numbers_in_range(numbers)
        logits, all_visits = self.remembered("logits"), self.remembered("visits")
        if logits is None or all_visits is None or self.lam == 0:
            return None
        visits = all_visits[indices, 0]
        active = visits >= max(self.start_epoch, self.lag)
        # On the CPU, where reading is free, a term of no example is left out; elsewhere it is zero.
        if active.device.type == "cpu" and not number(active.any()):
            return None
        # The slot of an example at this visit still holds its logits of `lag` visits ago.
        reference = batch.own(logits[visits % self.lag, indices])
        counted = batch.own(active)

        def term(evaluation: Evaluation) -> Tensor:
            divergence = trajectory_loss(evaluation.outputs, reference, tau=self.tau)
            return self.lam * torch.where(counted, divergence, 0.0).mean()

        return batch.plus(term)

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradient itself."""
        self._outputs = gradients_at.batch.whole(gradients_at.batch.first_outputs)
        return gradients

    def after_step(self) -> None:
        """Record the outputs of pass 1."""
        indices, outputs = self._indices, self._outputs
        del self._indices, self._outputs
        logits, visits = self.remembered("logits"), self.remembered("visits")
        if logits is None or visits is None:
            # The last axis keeps either from ever having the shape of the weights.
            logits = self.memory["logits"] = outputs.new_zeros(self.lag, self.num_examples, outputs.shape[1])
            visits = self.memory["visits"] = indices.new_zeros(self.num_examples, 1)
        # Written in place, as they can be large, and so not by a step that is skipped.
        place = visits[indices, 0] % self.lag, indices
        logits[place] = torch.where(self.step_is_good, outputs, logits[place])
        visits[indices, 0] += self.step_is_good

    def _numbers_in_range(self, indices: Tensor | None) -> Tensor:
        if indices is None:
            raise UsageError(
                "SAF remembers each example; pass their numbers in the data set: "
                "BatchClosure(model, loss, inputs=inputs, targets=targets, indices=indices)"
            )
        low, high = torch.stack(torch.aminmax(indices)).tolist()
        if low < 0 or high >= self.num_examples:
            raise UsageError(f"indices from {low} to {high} do not fit num_examples={self.num_examples}")
        return indices.to(self.flat.device, non_blocking=True)


def trajectory_loss(outputs: Tensor, reference: Tensor, *, tau: float) -> Tensor:
    """``τ² KL(softmax(z_ref / τ) ‖ softmax(z / τ))`` ``(B,)`` of logits z and a constant reference, both ``(B, C)``."""
    now = functional.log_softmax(outputs / tau, dim=1)
    before = functional.log_softmax(reference.detach() / tau, dim=1)
    # The factor τ² makes the size of the gradient independent of τ.
    return tau**2 * functional.kl_div(now, before, reduction="none", log_target=True).sum(1)
