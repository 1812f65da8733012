"""The same random numbers in every pass of a step, so that dropout masks are not part of what is compared."""

import torch
from torch import Tensor


class RandomState:
    """Torch's global generators that a forward pass may draw from: the CPU's and one device's.

    Args:
        device: Where the network is; its generator is handled beside the CPU's.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._recorded: tuple[Tensor, Tensor | None] | None = None
        self._present: list[tuple[Tensor, Tensor | None]] = []

    def record(self) -> None:
        """Remember the state from which the coming pass draws."""
        self._recorded = self._read()

    def __enter__(self) -> None:
        """Inside, the numbers of the recorded pass come again; afterwards the streams go on as before."""
        self._present.append(self._read())
        if self._recorded is not None:
            self._write(self._recorded)

    def __exit__(self, *_: object) -> None:
        self._write(self._present.pop())

    def _read(self) -> tuple[Tensor, Tensor | None]:
        return torch.get_rng_state(), self._read_device()

    def _write(self, states: tuple[Tensor, Tensor | None]) -> None:
        # Where a network draws nothing, nothing is written: another thread may be drawing.
        present = self._read()
        if not torch.equal(present[0], states[0]):
            torch.set_rng_state(states[0])
        if states[1] is None or (present[1] is not None and torch.equal(present[1], states[1])):
            return
        module = torch.get_device_module(self.device)
        if self.device.type == "mps":
            module.set_rng_state(states[1])
        else:
            module.set_rng_state(states[1], self.device)

    def _read_device(self) -> Tensor | None:
        if self.device.type in ("cpu", "meta"):
            return None
        module = torch.get_device_module(self.device)
        state: Tensor = (
            module.get_rng_state() if self.device.type == "mps" else module.get_rng_state(self.device)
        )
        return state
