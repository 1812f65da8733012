"""The factor of ``torch.amp.GradScaler``, removed from the gradients of each pass.

The scaler knows one pass a step, so it cannot un-scale several. Here each pass is un-scaled with the one scale of
the step, so that every rule sees true gradients, and the scaler is notified once whether one of them overflowed.
"""

import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from landscape.errors import UsageError
from landscape.optim.flat_parameters import FlatParameters

STEPS_THE_OPTIMIZER = """GradScaler.step cannot take a step of {name}, which evaluates the loss several times; write

    def closure():
        optimizer.zero_grad()
        with torch.autocast(device, torch.float16):
            loss = loss_function(model(inputs), targets)
        scaler.scale(loss).backward()
        return loss

    optimizer.step(closure, scaler=scaler)
    scaler.update()"""


_NOT_USED = "the closure did not use the scaler of this step; it has to call scaler.scale(loss).backward()"


class LossScale:
    """The scale of a step; 1 in steps without a scaler."""

    def __init__(self) -> None:
        self._scaler: GradScaler | None = None
        self._inverse: Tensor | None = None
        # A scaler learns of an overflow only from the gradients of an optimizer that it un-scales: this one's.
        self._messenger = torch.optim.SGD(
            [nn.Parameter(torch.zeros((), dtype=torch.float32, device="cpu"))], lr=0.0
        )

    def begin_step(self, scaler: GradScaler | None, flat: FlatParameters) -> None:
        """Begin a step with a scaler; raises :class:`UsageError` for weights in half precision."""
        self._scaler = scaler if scaler is not None and scaler.is_enabled() else None
        self._inverse = None
        if self._scaler is not None and any(p.dtype == torch.float16 for p in flat.parameters):
            raise UsageError(
                "a GradScaler needs float32 weights, and some are float16, where a displacement rounds away; keep the "
                "model in float32 and run its forward pass under torch.autocast"
            )

    def taken_out(self, gradients: Tensor) -> bool:
        """Divide gradients by the scale, in place; whether there is one."""
        if self._scaler is None:
            return False
        if self._inverse is None:
            if self._scaler._scale is None:  # private, but the public `get_scale` waits for the device
                raise UsageError(_NOT_USED)
            self._inverse = self._scaler.scale(
                torch.ones((), dtype=torch.float32, device=gradients.device)
            ).reciprocal()
        gradients.mul_(self._inverse)
        return True

    def tell(self, device: torch.device, *, overflow: bool | Tensor) -> None:
        """Notify the scaler, so that its ``update`` lowers or raises the scale.

        Args:
            device: That of the gradients.
            overflow: Whether one of them was not finite, on that device if it is a tensor.

        Raises:
            UsageError: The scaler was not used in the closure, or not updated after the last step.
        """
        if self._scaler is None:
            return
        [message] = self._messenger.param_groups[0]["params"]
        message.data, message.grad = message.data.to(device), None
        message.grad = torch.where(torch.as_tensor(overflow, device=device), torch.inf, message.data)
        scaler, self._scaler = self._scaler, None
        try:
            scaler.unscale_(self._messenger)
        except RuntimeError:
            raise UsageError("the scaler was not updated; call scaler.update() after each step") from None
        except AssertionError:
            raise UsageError(_NOT_USED) from None
