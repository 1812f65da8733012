"""The overhead of a sharpness-aware step without its gradients: microseconds a step, on the CPU.

    python benchmarks/sam_overhead.py

The closure returns gradients that were computed before, and the base does nothing. The rest is displacing,
restoring, flattening, checking. Caches are warmer than in training, where the same work takes longer; on a busy
machine, where sam_step.py only measures noise, this still distinguishes two versions of the code.
"""

import statistics
import time
from collections.abc import Callable

import torch
from sam_step import RHO, SETTINGS, STEPS, Setting
from torch import Tensor

from landscape.optim import ERM, GSAM, SAM, LookSAM, SharpnessAware

TURNS, STEPS_A_TURN = 300, 10


class Resting(torch.optim.SGD):
    """A base that leaves the weights as they are."""

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Do nothing."""

    step.hooked = True  # type: ignore[attr-defined]  # nor let torch announce it


def microseconds(setting: Setting, variant: type[SharpnessAware], **options: float) -> list[float]:
    """The time of a step, one value a turn, in ascending order."""
    model = setting.network()
    ready = [(p, torch.randn_like(p)) for p in model.parameters()]
    loss = torch.tensor(1.0)
    optimizer = variant(Resting(model.parameters(), lr=0.1), model=model, **options)

    def closure() -> Tensor:
        for parameter, gradient in ready:
            parameter.grad = gradient
        return loss

    times = []
    for _ in range(TURNS):
        start = time.process_time()
        for _ in range(STEPS_A_TURN):
            optimizer.step(closure)
        times.append(1e6 * (time.process_time() - start) / STEPS_A_TURN)
    return sorted(times)


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    for setting in SETTINGS["cpu"]:
        print(setting.name)
        for variant, options in (
            (ERM, {}),
            (SAM, {"rho": RHO}),
            (GSAM, {"rho": RHO, "alpha": 0.1}),
            (LookSAM, {"rho": RHO, "k": STEPS}),
        ):
            times = microseconds(setting, variant, **options)
            print(
                f"  {variant.__name__:<9} least {times[0]:7.0f} µs, median {statistics.median(times):7.0f} µs"
            )


if __name__ == "__main__":
    main()
