"""MESA: self-distillation towards the predictions of averaged weights."""

import torch
from torch import Tensor

from landscape.optim.batch_closure import Evaluation
from landscape.optim.erm import ERM
from landscape.optim.saf import trajectory_loss
from landscape.optim.sharpness_aware import Closure, GradientsAt
from landscape.registry.bounds import Count, NonNegative, NonNegativeCount, Positive, Share


class MESA(ERM):
    """Memory-efficient SAF: the gradient of ``L + λ τ² KL(softmax(z_ref/τ) ‖ softmax(z/τ))``.

    z_ref are the logits, in evaluation mode, of the average ``v ← decay v + (1 − decay) w`` of the weights after
    each step. The term is added once ``start_epoch`` epochs are over; before, the step is that of the base. One
    gradient and, with the term, a forward pass, 4/3 gradients a step. Needs a
    :class:`~landscape.optim.BatchClosure`.

    Args:
        steps_per_epoch: Steps in an epoch.
        lam: Weight λ ≥ 0 of the term.
        tau, start_epoch: See :class:`~landscape.optim.saf.SAF`.
        decay: Of the average, in [0, 1]. It remembers 1/(1 − decay) steps, which for the default is thousands:
            a shorter run needs less, or the average stays near its start.

    Reference:
        Du, Zhou, Feng, Tan, Zhou, 2022, arXiv 2205.14083, algorithm 2; the defaults and the factor τ² are those
        of the authors' code (unverified: a decay of 0.9995 in the paper). The batch-norm statistics of
        the averaged network are the running ones of the network, an average themselves; the authors' code
        averages those once more.
    """

    is_by_shards = True
    needs_batch = True
    steps_per_epoch: Count
    lam: NonNegative = 0.8
    tau: Positive = 5.0
    start_epoch: NonNegativeCount = 5
    decay: Share = 0.9998

    def first_closure(self, gradients_at: GradientsAt) -> Closure | None:
        """The loss and the term, once it has started."""
        average = self.remembered("average")
        if average is None:
            average = self.memory["average"] = self.weights.clone()
        if self.lam == 0 or self.attempts < self.start_epoch * self.steps_per_epoch:
            return None
        batch = gradients_at.batch
        with batch.evaluation_mode():
            reference = gradients_at.forward(average - self.weights).outputs

        def term(evaluation: Evaluation) -> Tensor:
            return self.lam * trajectory_loss(evaluation.outputs, reference, tau=self.tau).mean()

        return batch.plus(term)

    def after_step(self) -> None:
        """Move the average."""
        average = self.remembered("average")
        assert average is not None
        self.memory["average"] = torch.lerp(self.weights, average, self.decay)
