"""The step of the base optimizer where only the device knows whether the gradients were finite."""

import torch
from torch import Tensor

from landscape.optim.flat_parameters import FlatParameters

_BITS = {
    torch.float64: torch.int64,
    torch.float32: torch.int32,
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
}


def decides_on_host(base: torch.optim.Optimizer, device: torch.device) -> bool:
    """Whether the host has to know if the gradients were finite before the base takes its step.

    So it is for a base with state that the device cannot put back: torch's Adam and its kind count their steps on the
    host without ``fused=True`` or ``capturable=True``, and a base or a hook from elsewhere may keep anything.
    """
    if not type(base).__module__.startswith("torch.optim."):
        return True
    if base._optimizer_step_pre_hooks or base._optimizer_step_post_hooks:
        return True
    return any(
        value is not None and not (isinstance(value, Tensor) and value.device == device)
        for state in base.state.values()
        for value in state.values()
    )


def step_unless(bad: Tensor, base: torch.optim.Optimizer, flat: FlatParameters) -> None:
    """The step of a base; where ``bad``, 0-dim, is true, weights and state are those of before.

    Nothing is read, except in a step that makes new state, as the first one does: only the host can remove it again.

    Args:
        bad: Whether a gradient was not finite.
        base: An optimizer for which :func:`decides_on_host` is false. Its gradients are finite.
        flat: Its parameters.
    """
    before = {parameter: dict(state) for parameter, state in base.state.items()}
    if all(group.get("fused") for group in base.param_groups):
        # The kernels look at it, as they do for a GradScaler.
        base.grad_scale, base.found_inf = None, bad.to(torch.float32)  # type: ignore[attr-defined]
        try:
            base.step()
        finally:
            del base.grad_scale, base.found_inf  # type: ignore[attr-defined]
    else:
        _undone_if(bad, base, flat)
    is_new = any(
        value is not None and before.get(p, {}).get(key) is None
        for p, state in base.state.items()
        for key, value in state.items()
    )
    if is_new and bad.item():
        base.state.clear()
        base.state.update(before)


def _undone_if(bad: Tensor, base: torch.optim.Optimizer, flat: FlatParameters) -> None:
    """The step of a base that does not look at its gradients, and its undoing by arithmetic."""
    places = [
        (p, key) for p, state in base.state.items() for key, value in state.items() if value is not None
    ]
    before = [base.state[p][key] for p, key in places]
    before = [*flat.split(flat.values), *(torch._foreach_mul(before, 1) if before else ())]
    base.step()
    after = [*flat.tensors, *(base.state[p][key] for p, key in places)]
    # Torch has no `where` for lists. As integers, also of an infinite weight or moment, times zero is zero.
    after, before = ([x.view(_BITS.get(x.dtype, x.dtype)) for x in tensors] for tensors in (after, before))
    torch._foreach_mul_(after, (~bad).to(after[0].dtype))
    torch._foreach_mul_(before, bad.to(after[0].dtype))
    torch._foreach_add_(after, before)
