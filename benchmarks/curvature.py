"""Trace and eigenvalues of the Hessian: ours beside PyHessian, hessian-eigenthings and curvlinops.

    python benchmarks/curvature.py [--quick] [--data imagefolder:root=DIR]

Every line is one method on one job, run with the loosest setting that truly reaches the accuracy asked for: the
error against a truth that was computed beforehand (see ``curvature_cases.py``), not what the method says of itself.
Jobs: the trace to a standard error of 2 %, the eigenvalue of largest magnitude and the five largest to 1e-3.

- Ours: the measures of this project; the trace stops by itself.
- PyHessian's own rule stops the trace far too early (``its default`` lines), so its probes go on until their
  standard error is 2 %; its eigenvalues get the loosest ``tol`` that suffices.
- hessian-eigenthings: Hutch++ (its default) and Hutchinson; Lanczos with as few steps as suffice.
- curvlinops: XTrace with as few products as suffice; scipy's ``eigsh`` on its operator with the loosest ``tol``.

What is random is run with several seeds: the root mean square error must be within the accuracy, the time is the
mean. A line marked ``~`` is extrapolated (seconds a probe × probes needed by the variance seen); one marked ``>`` had
not reached the accuracy when its time was up, so that its seconds and its ratio are lower bounds.

The work is that of matrix products, counted by torch in another run, in units of one gradient's. Unlike the
time it does not depend on what else the machine does.

All run in one process on one thread, ours between the peers. The clock is that of the process, which does not run
while other processes do. Peers get all examples in one batch, which is their quickest way, PyHessian with its graph
kept.
"""

import argparse
import math
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version

import curvature_peers as peers
import torch
from curvature_cases import LOSS, Case, cases, true_eigenvalues, true_trace
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from landscape.measures import dominant_eigenvalue, hessian_trace, top_eigenvalues

TRACE, EIGENVALUE = 0.02, 1e-3
"""The accuracies asked for, relative."""


@dataclass(frozen=True)
class Line:
    """One method on one job.

    Attributes:
        method: Whose, and with what setting.
        error: Root mean square error relative to the truth.
        seconds: Mean of the runs.
        mark: ``""``, ``"~"`` or ``">"``.
        work: Floating-point operations of matrix products, mean of the runs; NaN if they were not counted.
    """

    method: str
    error: float
    seconds: float
    mark: str = ""
    work: float = math.nan


def seconds(run: Callable[[], object]) -> float:
    """What it takes, on the clock of the process."""
    return clocked(run)[1]


def clocked(run: Callable[[], object]) -> tuple[object, float]:
    """What it returns, and what it takes."""
    start = time.process_time()
    found = run()
    return found, time.process_time() - start


def operations(run: Callable[[], object]) -> float:
    """The floating-point operations of its matrix products: work that no other process on the machine changes."""
    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


def distance(found: object, truth: Sequence[float]) -> float:
    """The largest relative error."""
    values = found if isinstance(found, Sequence) else [found]
    return max(abs(float(v) - t) / abs(t) for v, t in zip(values, truth, strict=True))  # type: ignore[arg-type]


def loosest(
    method: str,
    run: Callable[[float, int], object],
    settings: Sequence[float],
    truth: Sequence[float],
    *,
    accuracy: float,
    seeds: int,
    budget: float,
    skipping: bool = False,
) -> Line:
    """The first setting that reaches the accuracy; or the last that was tried in the time, marked ``>``.

    With ``skipping``, settings are numbers of products, and left out where the error would have to fall much faster
    than that of a mean of so many draws.
    """
    spent, least = 0.0, -math.inf
    for setting in settings:
        if setting < least:
            continue
        runs = [clocked(partial(run, setting, seed)) for seed in range(seeds)]
        errors = [distance(found, truth) for found, _ in runs]
        line = Line(
            f"{method}{setting:g}",
            math.sqrt(statistics.fmean(e * e for e in errors)),
            statistics.fmean(taken for _, taken in runs),
        )
        spent += seeds * line.seconds
        if line.error <= accuracy or spent > budget:
            break
        if skipping:
            least = 0.4 * setting * (line.error / accuracy) ** 2
    mark = "" if line.error <= accuracy else ">"
    return replace(line, mark=mark, work=operations(partial(run, setting, 0)))


def until_certain(method: str, draw: Callable[[], Sequence[float]], truth: float, *, budget: float) -> Line:
    """Probes until their standard error is small enough; extrapolated where the time is up before."""
    samples: list[float] = []
    spent = 0.0
    while True:
        found, taken = clocked(draw)
        spent += taken
        samples += found  # type: ignore[arg-type]
        mean, spread = statistics.fmean(samples), statistics.stdev(samples)
        needed = math.ceil((spread / (TRACE * mean)) ** 2)
        error = abs(mean - truth) / abs(truth)
        if len(samples) >= max(16, needed):
            line = Line(f"{method}{len(samples)} probes", error, spent)
            return replace(line, work=operations(draw) * len(samples) / peers.BLOCK)
        if spent > budget and len(samples) >= 16:
            longer = spent / len(samples) * needed
            line = Line(f"{method}{needed} probes from {len(samples)}", error, longer, "~")
            return replace(line, work=operations(draw) * needed / peers.BLOCK)


class Ours:
    """Our default trace with one seed after another, between the peers' runs."""

    def __init__(self, case: Case, truth: float) -> None:
        self._case, self._truth = case, truth
        self._errors: list[float] = []
        self._seconds: list[float] = []
        self._work: list[float] = []
        self._kinds: list[str] = []

    def run(self, count: int, *, counted: bool = False) -> None:
        """With some more seeds; the work is counted in a second run of each."""
        for _ in range(count):
            once = partial(self._once, len(self._errors))
            found, taken = clocked(once)
            self._errors.append(distance(found.value, [self._truth]))  # type: ignore[attr-defined]
            self._seconds.append(taken)
            self._kinds.append(f"{found.details['method']} {found.details['probes']}")  # type: ignore[attr-defined]
            if counted:
                self._work.append(operations(once))

    def _once(self, seed: int) -> object:
        return hessian_trace(self._case.objective(), seed=seed)

    def line(self) -> Line:
        """The mean of all seeds."""
        error = math.sqrt(statistics.fmean(e * e for e in self._errors))
        work = statistics.fmean(self._work) if self._work else math.nan
        print("  ours by seed: " + ", ".join(self._kinds))
        return Line(f"ours, {self._kinds[0].split()[0]}", error, statistics.fmean(self._seconds), work=work)


def trace_job(case: Case, *, quick: bool) -> list[Line]:
    """The trace to a standard error of 2 %; ours first."""
    few = case.transformer
    truth, doubt = true_trace(case, (0.005 if few else 0.01 if case.slow else 0.005) if quick else 0.002)
    print(f"  true trace {truth:.6g}" + (f" ± {doubt:.2g}" if doubt else " (exact sum in float64)"))
    seeds, budget = (8, 25.0) if few else (1, 5.0) if case.slow else (2, 5.0)
    if not quick:
        seeds, budget = (8 if few else 4), 240.0
    theirs = case.for_peers()
    pyhessian = peers.pyhessian_of(theirs)
    operator = peers.eigenthings_of(theirs)
    linear = peers.curvlinops_of(theirs)
    ours = Ours(case, truth)

    def default() -> Line:
        found, taken = clocked(lambda: statistics.fmean(pyhessian().trace()))
        return Line("PyHessian, its default", distance(found, [truth]), taken, "!")

    jobs = [
        default,
        lambda: until_certain("PyHessian, ", peers.pyhessian_probes(pyhessian), truth, budget=budget),
        lambda: until_certain(
            "hessian-eigenthings, Hutchinson, ", peers.eigenthings_probes(operator), truth, budget=budget
        ),
        lambda: loosest(
            "hessian-eigenthings, Hutch++, products: ",
            lambda m, seed: peers.hutch_plus_plus(operator, int(m), seed),
            [15, 30, 60, 90, 120, 180, 240, 480],
            [truth],
            accuracy=TRACE,
            seeds=seeds,
            budget=budget,
            skipping=True,
        ),
        lambda: loosest(
            "curvlinops, XTrace, products: ",
            lambda m, seed: peers.xtrace(linear, int(m), seed),
            [10, 20, 40, 60, 80, 120, 160, 240, 480],
            [truth],
            accuracy=TRACE,
            seeds=seeds,
            budget=budget,
            skipping=True,
        ),
    ]
    lines = []
    for k, job in enumerate(jobs):
        ours.run(2 if few and k < 2 else 1, counted=few)
        lines.append(job())
        print(f"  … {lines[-1].method}: error {lines[-1].error:.1e}, {lines[-1].seconds:.2f} s", flush=True)
    ours.run(1)
    return [ours.line(), *lines]


def eigenvalue_job(case: Case, count: int, *, quick: bool) -> list[Line]:
    """The largest eigenvalues to 1e-3; ours first."""
    truth = true_eigenvalues(case, count)
    print("  true eigenvalues " + ", ".join(f"{value:.6g}" for value in truth))
    few = 1 if case.slow else 2
    seeds, budget = (few, 30.0 if case.slow else 6.0) if quick else (4, 400.0)

    def ours(tolerance: float, seed: int) -> list[float]:
        if count == 1:
            return [
                dominant_eigenvalue(case.objective(), method="lanczos", tolerance=tolerance, seed=seed).value
            ]
        found = top_eigenvalues(case.objective(), k=count, tolerance=tolerance, seed=seed)
        return found.details["eigenvalues"]  # type: ignore[return-value]

    theirs = case.for_peers()
    pyhessian = peers.pyhessian_of(theirs)
    operator, linear = peers.eigenthings_of(theirs), peers.curvlinops_of(theirs)
    given: list[tuple[str, Callable[[float, int], object], Sequence[float]]] = [
        ("ours, Lanczos, tolerance ", ours, [0.1, 0.05, 0.02, 0.01, 5e-3, 1e-3]),
        (
            "PyHessian, tol ",
            lambda tol, seed: peers.power(pyhessian, tol, count, seed),
            [1e-3, 1e-4, 1e-5, 1e-6],
        ),
        (
            "hessian-eigenthings, Lanczos, steps: ",
            lambda steps, seed: peers.lanczos(operator, int(steps), count, seed),
            [4 + 2 * count, 8 + 2 * count, 12 + 2 * count, 20 + 2 * count, 40 + 2 * count],
        ),
        (
            "curvlinops + eigsh, tol ",
            lambda tol, seed: peers.arpack(linear, tol, count, seed),
            [0.3, 0.1, 0.01, 1e-3],
        ),
    ]
    return [
        loosest(name, run, settings, truth, accuracy=EIGENVALUE, seeds=seeds, budget=budget)
        for name, run, settings in given
    ]


def report(job: str, lines: Sequence[Line], unit: tuple[float, float]) -> None:
    """Prints a job; ratios are to its first line, times and work in those of a gradient."""
    duration, work = unit
    print(f"  {job:<56}{'error':>10}{'seconds':>11}{'gradients':>11}{'ratio':>9}{'work':>8}")
    for line in lines:
        ratio = line.seconds / lines[0].seconds
        shown = f"{line.mark if line.mark != '!' else ''}{ratio:.1f}" if line.mark != "!" else "missed"
        print(
            f"    {line.method:<54}{line.error:>10.1e}{line.seconds:>11.2f}{line.seconds / duration:>11.1f}{shown:>9}"
            f"{line.work / work:>8.0f}",
            flush=True,
        )


def gradient_of(case: Case) -> tuple[float, float]:
    """The seconds and the floating-point operations of one gradient on all the examples, the units."""
    case = case.for_peers()
    weights = list(case.model.parameters())

    def gradient() -> object:
        with sdpa_kernel(SDPBackend.MATH):
            return torch.autograd.grad(LOSS(case.model(case.inputs), case.targets), weights)

    turns = [seconds(gradient) for _ in range(6)]
    return statistics.median(turns[1:]), operations(gradient)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="32 images for ResNet-20, 128 for the ViT, fewer seeds, less time each",
    )
    parser.add_argument(
        "--data",
        help="images for ResNet-20 and the ViT, such as imagefolder:root=DIR; else the digits, enlarged",
    )
    parser.add_argument(
        "--jobs", help="some of trace, largest and five; all, but with --quick not the five of ResNet-20"
    )
    parser.add_argument("--only", default="", help="cases whose name holds this, such as relu or ResNet")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")  # of PyHessian's use of backward(create_graph=True)
    torch.set_num_threads(1)
    names = ("torch", "scipy", "PyHessian", "hessian-eigenthings", "curvlinops-for-pytorch")
    print(f"{platform.machine()}, 1 thread; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; Python "
          f"{platform.python_version()}; " + ", ".join(f"{name} {version(name)}" for name in names))  # fmt: skip
    for case in cases(quick=chosen.quick, data=chosen.data, only=chosen.only):
        if chosen.only not in case.name:
            continue
        peers.warm_up(case)
        unit = gradient_of(case)
        print(f"\n{case.name}; {sum(p.numel() for p in case.model.parameters())} parameters, "
              f"{len(case.inputs)} examples, one gradient {1e3 * unit[0]:.1f} ms")  # fmt: skip
        smooth = "tanh" in case.name
        jobs = chosen.jobs or ("trace,largest" if chosen.quick and case.slow else "trace,largest,five")
        if "trace" in jobs:
            report("trace to a standard error of 2 %", trace_job(case, quick=chosen.quick), unit)
        if "largest" in jobs and not smooth:
            report("largest eigenvalue to 1e-3", eigenvalue_job(case, 1, quick=chosen.quick), unit)
        if "five" in jobs and not smooth:
            report("five largest eigenvalues to 1e-3", eigenvalue_job(case, 5, quick=chosen.quick), unit)


if __name__ == "__main__":
    main()
