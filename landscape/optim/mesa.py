"""MESA: flat minima from what a slowly moving average of the network answers."""

import torch
from torch import Tensor, nn

from landscape.optim.batch_closure import Evaluation
from landscape.optim.bounds import within
from landscape.optim.gradients_at import Closure, GradientsAt
from landscape.optim.sharpness_aware import SharpnessAware
from landscape.optim.trajectory_loss import trajectory_loss


class MESA(SharpnessAware):
    """Memory-efficient SAF: the gradient of ``L + λ τ² KL(softmax(z_ref/τ) ‖ softmax(z/τ))``.

    z_ref are the logits, in evaluation mode, of the average ``v ← decay v + (1 − decay) w`` of the weights after
    each step. The term is there once ``start_epoch`` epochs are over; before, the step is that of the base. One
    gradient and, with the term, a forward pass, 4/3 gradients a step. Needs a
    :class:`~landscape.optim.BatchClosure`.

    Args:
        base: The optimizer that takes the step.
        model: The network.
        steps_per_epoch: Steps in an epoch.
        lam: Weight λ ≥ 0 of the term.
        tau: Temperature τ > 0.
        start_epoch: Epochs without the term.
        decay: Of the average, in [0, 1]. It remembers 1/(1 − decay) steps, which for the default is thousands:
            a shorter run needs less, or it is held where it began.
        max_grad_norm: Length to which the direction is clipped, once; ``None`` for no clipping.

    Reference:
        Du, Zhou, Feng, Tan, Zhou, 2022, arXiv 2205.14083, algorithm 2; the defaults and the factor τ² are those
        of the authors' code (unverified: a decay of 0.9995 in the paper). The batch-norm statistics of
        the averaged network are the running ones of the network, an average themselves; the authors' code
        averages those once more.
    """

    needs_batch = True

    def __init__(
        self,
        base: torch.optim.Optimizer,
        *,
        model: nn.Module | None = None,
        steps_per_epoch: int,
        lam: float = 0.8,
        tau: float = 5.0,
        start_epoch: int = 5,
        decay: float = 0.9998,
        max_grad_norm: float | None = None,
    ) -> None:
        super().__init__(base, model=model, max_grad_norm=max_grad_norm)
        self.steps_per_epoch = int(within("steps_per_epoch", steps_per_epoch, 1))
        self.lam = within("lam", lam, 0.0)
        self.tau = within("tau", tau, 0.0, open_low=True)
        self.start_epoch = int(within("start_epoch", start_epoch, 0))
        self.decay = within("decay", decay, 0.0, 1.0)

    def first_closure(self, gradients_at: GradientsAt) -> Closure | None:
        """The loss and the term, once it has started."""
        if "average" not in self.memory:
            self.memory["average"] = self.weights.clone()
        started = self.steps + self.skipped_steps >= self.start_epoch * self.steps_per_epoch
        if self.lam == 0 or not started:
            return None
        batch = gradients_at.batch
        with batch.evaluation_mode():
            reference = gradients_at.forward(self._average() - self.weights).outputs

        def term(evaluation: Evaluation) -> Tensor:
            return self.lam * trajectory_loss(evaluation.outputs, reference, tau=self.tau).mean()

        return batch.plus(term)

    def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
        """The gradient itself."""
        return gradients

    def after_step(self) -> None:
        """Move the average."""
        self.memory["average"] = torch.lerp(self.weights, self._average(), self.decay)

    def _average(self) -> Tensor:
        average = self.memory["average"]
        assert isinstance(average, Tensor)
        return average
