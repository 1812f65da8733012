"""What the checks of an objective cost beside the measures that rely on them: ResNet-20, 500 pictures.

    python benchmarks/checks.py [--pictures 500]

In one process, seconds of the processor spent in every check, and their share of all that `landscape measure` computes
by default. A check inside another counts once.
"""

import argparse
import functools
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from landscape.curvature import gauss_newton_trace
from landscape.measures import measure
from landscape.models.cifar_resnet import resnet20
from landscape.objective import (
    Objective,
    batches,
    differences,
    first_checks,
    independence,
    loss_weights,
    rounding,
)

CHECKS: dict[str, Callable[..., Any]] = {
    "what autograd sees of the loss": first_checks.judged,
    "weights of the loss": loss_weights.settle_weights,
    "examples do not see each other": independence.examined,
    "second derivatives against differences": differences.refuse_wrong_second_derivative,
    "rounding of the gradient": rounding.gradient_rounding,
    "rounding of an exact trace": gauss_newton_trace.rounding_of_trace,
}


class Clock:
    """Processor seconds in each of several functions, the outermost of them alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inside = False

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, counted under a name."""
        self.seconds[name] = 0.0

        @functools.wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return function(*args, **kwargs)
            self._inside, start = True, time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self._inside = False
                self.seconds[name] += time.process_time() - start

        return counted

    def install(self) -> None:
        """Puts the counted functions wherever the package has imported the plain ones."""
        for name, function in CHECKS.items():
            counted = self.timed(name, function)
            for label, module in list(sys.modules.items()):
                if label.startswith("landscape"):
                    for attribute, value in list(vars(module).items()):
                        if value is function:
                            setattr(module, attribute, counted)
        batches.Content.add = self.timed("hash of the examples", batches.Content.add)  # type: ignore[method-assign]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=500)
    count = parser.parse_args().pictures
    torch.set_num_threads(1)
    torch.manual_seed(0)
    pairs = list(
        zip(torch.randn(count, 3, 32, 32).split(128), torch.randint(0, 10, (count,)).split(128), strict=True)
    )
    model = resnet20().eval()
    clock = Clock()
    clock.install()
    start = time.process_time()
    measure(Objective(model, nn.CrossEntropyLoss(), pairs))
    everything = time.process_time() - start
    print(f"{platform.machine()}, torch {torch.__version__}, 1 thread, {count} random pictures, ResNet-20")
    for name, seconds in clock.seconds.items():
        print(f"{name:<42}{seconds:>8.2f} s{100 * seconds / everything:>7.2f} %")
    checks = sum(clock.seconds.values())
    print(f"{'all checks':<42}{checks:>8.2f} s{100 * checks / everything:>7.2f} % of {everything:.1f} s")


if __name__ == "__main__":
    main()
