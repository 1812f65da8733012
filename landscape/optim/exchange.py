"""What processes with parts of one batch exchange in a pass: one sum, in which everything else rides along."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from landscape.processes.group import Group, current_group


class Exchange:
    """The exchange of a pass: gradients are summed, losses are joined, and a failure of one is raised in all.

    Args:
        group: The processes; by default those of torch's process group.
        riders: Called in every pass for numbers whose sums over the processes are wanted, such as whether somebody asks
            for the end of the run.

    Attributes:
        sums: The sums of the riders in the last pass, ``(k,)``, on the device of the weights.
        failure: What failed in this process since the last pass, such as the reading of its examples; the next pass
            raises it in all processes.
        couples: Whether a forward pass itself exchanges something, as synchronised batch norm does. Then a process
            without an example takes part in it with one that does not count.
        is_idle: Whether the present forward pass is such a one.
    """

    def __init__(
        self, group: Group | None = None, *, riders: Callable[[], Sequence[float]] = lambda: ()
    ) -> None:
        self.group = current_group() if group is None else group
        self.sums: Tensor | None = None
        self.failure: Exception | None = None
        self.couples = self.is_idle = False
        self._riders = riders

    def __deepcopy__(self, memo: object) -> "Exchange":
        return self  # one for a run, whatever of it is copied

    def completed(
        self,
        work: Callable[[], Tensor | None],
        parameters: Sequence[nn.Parameter],
        *,
        rows: Tensor,
        size: int,
        gradients: bool,
    ) -> Tensor:
        """The losses of a whole batch ``(size,)``, after its gradients have replaced those of the part of this process.

        Args:
            work: Computes the losses ``(b,)`` of this process's examples, and their gradients; ``None`` without one.
            parameters: Those of the network.
            rows: The places ``(b,)`` of these examples in the batch, on the CPU.
            size: The examples of the batch.
            gradients: Whether every ``.grad`` is summed.

        Raises:
            Exception: What ``work`` raised here or, on the CPU, in another process.
        """
        own, failure, self.failure = None, self.failure, None
        if failure is None:
            try:
                own = work()
            except Exception as raised:
                failure = raised
        trained = [p for p in parameters if p.requires_grad] if gradients else []
        like = _like(parameters)
        # Two that meet in different exchanges wait for ever or add what does not belong together, and only the host can
        # read that another one has failed: whoever watches the processes has to end the others then.
        if failure is not None and (self.couples or not like.is_cpu):
            raise failure
        missing = [p.grad is None for p in trained]
        status = [float(failure is not None), *self._riders(), *(float(not m) for m in missing)]
        counts = torch.tensor(status, dtype=like.dtype, device="cpu").to(like.device, non_blocking=True)
        losses = like.new_zeros(size)
        if own is not None and failure is None:
            losses[rows.to(like.device, non_blocking=True)] = own.detach().to(like.dtype)
        self.group.add([*map(_gradient, trained), losses, counts])
        riders = len(status) - 1 - len(missing)
        self.sums = counts[1 : 1 + riders]
        if like.is_cpu and counts[0] > 0:
            self.group.agree(failure)
        if any(missing):  # read by nobody else, because it makes the host wait for the device
            for parameter, count in zip(trained, counts[1 + riders :].tolist(), strict=True):
                if count == 0:
                    parameter.grad = None
        return losses


def _like(parameters: Sequence[nn.Parameter]) -> Tensor:
    """A tensor of the device of a network, and of the precision in which losses are exchanged: no less than float32."""
    tensor = next(
        (p for p in parameters if p.is_floating_point()), torch.empty(0, dtype=torch.float32, device="cpu")
    )
    return tensor.new_empty(0, dtype=torch.promote_types(tensor.dtype, torch.float32), requires_grad=False)


def _gradient(parameter: nn.Parameter) -> Tensor:
    """The gradient in ``.grad`` as an array of reals, which is summed there: zeros where this process has none."""
    gradient = parameter.grad
    if gradient is None:
        gradient = torch.zeros_like(parameter, requires_grad=False)
    elif gradient.layout is not torch.strided:
        gradient = gradient.to_dense()
    parameter.grad = gradient
    return torch.view_as_real(gradient) if gradient.is_complex() else gradient
