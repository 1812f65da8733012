"""The network of a run, compiled by ``torch.compile``: its forward pass, and the backward pass that belongs to it.

The optimizer around it stays as it is, because its passes differ in weights, random numbers and batch-norm statistics,
all of which lie outside of what is compiled.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from landscape.errors import UsageError
from landscape.isolation.randomness import private_randomness


class CompiledNetwork(nn.Module):
    """A network whose passes in training mode are compiled for batches of ``size`` examples.

    Other batches, such as a smaller last one, go through the network itself: to compile for their sizes too would cost
    more time than it saves.

    Args:
        network: The network, whose parameters and buffers this one shares.
        size: Examples of a batch.
        graphs: Whether a GPU runs each pass as one CUDA graph. Not for gradients that are added up over several passes,
            because the next run of a graph writes to the memory of the last one's results.
    """

    def __init__(self, network: nn.Module, *, size: int, graphs: bool) -> None:
        super().__init__()
        self.network, self.size = network, size
        # With the random numbers of the eager network, every pass of a step draws the same dropout masks.
        options: dict[str, str | int | bool | Callable[..., object]] = {
            "fallback_random": True,
            **({"triton.cudagraphs": True} if graphs else {}),
        }
        self._compiled = torch.compile(lambda inputs: network(inputs), dynamic=False, options=options)

    def forward(self, inputs: Tensor) -> Tensor:
        """The outputs of the network."""
        if not self.network.training or len(inputs) != self.size:
            outputs: Tensor = self.network(inputs)
            return outputs
        # A copy, because optimizers look at the outputs of an earlier pass, which a CUDA graph overwrites.
        outputs = self._compiled(inputs)
        return outputs.clone() if isinstance(outputs, Tensor) else outputs


def require_compiled(network: nn.Module, run: Callable[[], object], *, device: torch.device) -> None:
    """Compiles a network by a forward and a backward pass, which leave nothing behind.

    Args:
        network: The network, not compiled.
        run: The passes of a compiled one.
        device: Where they are computed.

    Raises:
        UsageError: There is no compiler, or it cannot compile the network.
    """
    before = [buffer.clone() for buffer in network.buffers()]
    try:
        with private_randomness(device):
            for _ in range(
                3 if device.type == "cuda" else 1
            ):  # a CUDA graph is recorded in the second, run in the third
                run()
    except Exception as failure:  # no compiler, no headers of Python, an unsupported operation: many types
        reason = (str(failure).strip().splitlines() or [""])[0]
        raise UsageError(
            f"compile=True: torch.compile failed ({type(failure).__name__}: {reason[:200]}); leave it out (--compile), "
            "which changes no number by more than rounding"
        ) from failure
    finally:
        with torch.no_grad():
            for buffer, values in zip(network.buffers(), before, strict=True):
                buffer.copy_(values)
        network.zero_grad()
