"""How far a network's answers have moved from what it answered before: the term of SAF and MESA."""

from torch import Tensor
from torch.nn import functional


def trajectory_loss(outputs: Tensor, reference: Tensor, *, tau: float) -> Tensor:
    """``τ² KL(softmax(z_ref / τ) ‖ softmax(z / τ))``, one number an example, shape ``(B,)``.

    Args:
        outputs: The logits z, shape ``(B, C)``.
        reference: The earlier logits z_ref, a constant, shape ``(B, C)``.
        tau: Temperature τ > 0; the factor τ² makes the size of the gradient independent of it.
    """
    now = functional.log_softmax(outputs / tau, dim=1)
    before = functional.log_softmax(reference.detach() / tau, dim=1)
    return tau**2 * functional.kl_div(now, before, reduction="none", log_target=True).sum(1)
