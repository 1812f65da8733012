"""What is to be known of a GPU, in one command for whoever has one.

    python benchmarks/gpu.py [--minutes 8] [--device cuda] [-o gpu.json]

First the tests on that device. Then, for each of four networks on random data: a gradient, Hessian products by both
engines, steps of SAM, GSAM and CR-SAM, a point of a surface, the trace to 5 % and the five largest eigenvalues; and the
same of PyHessian, hessian-eigenthings, curvlinops, loss-landscapes and pytorch_optimizer, where they are installed. The
most important comes first, every part has its share of the time, and the file is written after each part, so that a run
cut short is still worth something. A batch that does not fit in memory is halved.

What is compared takes turns, between two synchronisations of the device (on the CPU: by the clock of the process, on
one thread). Printed are the median and the quartiles; the ratio to the first line, for SAM and GSAM to two bare
gradients and for CR-SAM to three (medians of the ratios in a turn); how often the host waits for the device in a call
(on the CPU, where nothing waits, how often it reads a number); the memory that a call takes besides what was taken
before, in multiples of the weights. A line without quartiles was run once.
"""

import argparse
import copy
import datetime
import importlib
import json
import math
import operator
import platform
import re
import signal
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import curvature_peers as peers
import sam_step
import torch
from curvature_cases import LOSS, Case
from gpu_networks import Network, networks
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape.draws import Draws
from landscape.errors import OutOfMemory, Remark, UsageError, is_out_of_memory
from landscape.measures import hessian_trace, top_eigenvalues
from landscape.objective import Objective
from landscape.objective.arguments import device_named
from landscape.optim import CRSAM, GSAM, SAM
from landscape.records.storage import write_whole
from landscape.surfaces.forward_passes import ForwardPass, compiled_pass

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "tests"))
from waits import Waits  # noqa: E402

TRACE, EIGENVALUE = 0.05, 1e-2  # the accuracies, relative
LEAST_TURNS = 3
PEERS = ("PyHessian", "hessian-eigenthings", "curvlinops", "loss-landscapes", "pytorch_optimizer")
sam_step.STEPS = 1  # in a turn
Call = Callable[[], Any]


class TimeIsUp(BaseException):
    """The end of a part; no Exception, which the code that is measured may catch."""


class Part:
    """Calls of one network that are compared, and what is known of each by its name."""

    def __init__(self, device: torch.device, end: float) -> None:
        self.device, self.end, self.lines = device, end, dict[str, dict[str, Any]]()

    def turns(self, calls: dict[str, Call], share: float = 1.0, **against: str) -> None:
        """Runs calls in turn for a share of the time left; ``against`` names yardsticks other than the first."""
        end, turn = time.monotonic() + share * (self.end - time.monotonic()), 0
        ready = [name for name, call in calls.items() if self._works(name, call)]
        times: dict[str, list[float]] = {name: [] for name in ready}
        try:
            while ready and (turn < LEAST_TURNS or time.monotonic() < end):
                for name in ready[turn % len(ready) :] + ready[: turn % len(ready)]:
                    times[name].append(sam_step.seconds(calls[name], self.device.type))
                turn += 1
        finally:
            for name, own in times.items():
                line, unit = self.lines[name], times.get(against.get(name, next(iter(calls))), [])
                if len(own) > 1:
                    line |= {"seconds": statistics.median(own), "quartiles": statistics.quantiles(own)[::2]}
                    line |= {"ratio": statistics.median(map(operator.truediv, own, unit))} if unit else {}

    def once(self, calls: dict[str, Call]) -> None:
        """Runs calls that take long a single time, and keeps what they return."""
        for name, call in calls.items():
            with self._reasons(name), Waits(self.device.type) as waits:
                values: list[Any] = []
                seconds = sam_step.seconds(lambda f=call, v=values: v.append(f()), self.device.type)  # type: ignore[misc]
                self.lines[name] |= {"seconds": seconds, "waits": waits.total, "value": values[0]}

    def _works(self, name: str, call: Call) -> bool:
        """Whether a call succeeds twice: to warm up, and to see its memory and its waits."""
        cuda = torch.cuda if self.device.type == "cuda" else None
        with self._reasons(name), warnings.catch_warnings(record=True) as caught:
            before = cuda.memory_allocated() if cuda else 0
            if cuda:
                cuda.reset_peak_memory_stats()
            call()
            warnings.simplefilter("always")
            with Waits(self.device.type) as waits:
                try:
                    if cuda:
                        cuda.set_sync_debug_mode("warn")
                    call()
                finally:
                    if cuda:
                        cuda.set_sync_debug_mode("default")
            self.lines[name] |= {"waits": waits.total, "waits_by_operator": dict(waits.operations)}
            if cuda:
                self.lines[name]["bytes"] = cuda.max_memory_allocated() - before
                self.lines[name]["waits"] = sum(
                    "called a synchronizing" in str(each.message) for each in caught
                )
        return "reason" not in self.lines[name]

    @contextmanager
    def _reasons(self, name: str) -> Iterator[None]:
        """Notes why a call failed; if one of ours lacks memory, the part begins again with less."""
        self.lines[name] = {}
        try:
            yield
        except Exception as failure:
            if _is_shortage(failure) and not name.endswith(PEERS):
                raise
            self.lines[name]["reason"] = _reason(failure)


def _is_shortage(failure: Exception) -> bool:
    return isinstance(failure, OutOfMemory) or is_out_of_memory(failure)


def _reason(failure: Exception) -> str:
    return f"{type(failure).__name__}: {(str(failure).splitlines() or [''])[0]}"[:300]


def _later(build: Callable[[], Call]) -> Call:
    """A call that is built when it is first made, so that a failure to build it is the reason in its line."""
    built: list[Call] = []

    def call() -> Any:
        if not built:
            built.append(build())
        return built[0]()

    return call


def _objective(case: Case, **options: Any) -> Objective:
    return Objective(case.model, LOSS, case.batches(), **options)


def _gradient(case: Case) -> Call:
    weights = list(case.model.parameters())
    return lambda: torch.autograd.grad(LOSS(case.model(case.inputs), case.targets), weights)


def products(part: Part, case: Case, *, compiling: bool) -> None:
    """Hessian products by both engines, and the drawing of a probe for them."""
    engines = {way: _objective(case, products=way) for way in ("double-backward", "forward-over-reverse")}
    point = engines["double-backward"].point
    draw = partial(Draws(0).signs, 1, len(point), like=point)
    calls = {f"product, {way}": partial(each.hessian_product, draw()[0]) for way, each in engines.items()}
    part.turns({"gradient": _gradient(case), "drawing of a probe": draw, **calls})


class Shared(sam_step.Problem):
    """One copy of a network for all optimizers, which take turns."""

    def __init__(self, case: Case) -> None:
        self.model, self.inputs, self.targets = copy.deepcopy(case.model).train(), case.inputs, case.targets
        self.base = torch.optim.SGD(self.model.parameters(), lr=1e-4, momentum=sam_step.MOMENTUM)


def steps(part: Part, case: Case, *, compiling: bool) -> None:
    """Sharpness-aware steps beside as many bare gradients and a step of the base."""
    problem, ours = Shared(case), partial(sam_step.ours, rho=sam_step.RHO)
    calls: dict[str, Call] = {f"bare gradients: {k}": sam_step.yardstick(problem, [k]) for k in (1, 2, 3)}
    calls |= {variant.__name__: ours(problem, variant) for variant in (SAM, GSAM, CRSAM)}
    calls["SAM, pytorch_optimizer"] = _later(lambda: sam_step.their_sam(problem))
    calls["GSAM, pytorch_optimizer"] = _later(lambda: sam_step.their_gsam(problem))
    against = {name: f"bare gradients: {3 if name == 'CRSAM' else 2}" for name in calls if "SAM" in name}
    part.turns(calls, share=0.3 if compiling else 1.0, **against)
    if compiling:
        twin = Shared(case)
        twin.model = torch.compile(twin.model)  # type: ignore[assignment]
        two = sam_step.yardstick(problem, [2])
        part.turns({"bare gradients: 2, again": two, "SAM, compiled": ours(twin, SAM)})


def surface(part: Part, case: Case, *, compiling: bool) -> None:
    """A point of a surface in every way of a forward pass."""
    objective = _objective(case)
    point = 1.001 * objective.point
    bare = torch.inference_mode()(lambda: LOSS(case.model(case.inputs), case.targets).item())
    calls: dict[str, Call] = {"forward pass, bare": bare}
    for way in ("plain", "channels-last") if case.images else ("plain",):
        calls[f"point, {way}"] = partial(ForwardPass(way).evaluation(objective), point)  # type: ignore[arg-type]
    if compiling:
        compiled = partial(compiled_pass, [objective], point)
        calls["point, compiled"] = _later(lambda: partial(compiled().evaluation(objective), point))
    part.turns(calls)


def _trace(case: Case) -> dict[str, Any]:
    trace = hessian_trace(_objective(case), tolerance=TRACE)
    return {"trace": trace.value, "standard error": trace.standard_error, "method": trace.details["method"]}


def _eigenvalues(case: Case) -> Any:
    return top_eigenvalues(_objective(case), k=5, tolerance=EIGENVALUE).details["eigenvalues"]


def spectrum(part: Part, case: Case, *, compiling: bool) -> None:
    """The trace and the largest eigenvalues."""
    part.turns({"gradient": _gradient(case)}, share=0.05)
    part.once({"trace to 5 %": partial(_trace, case), "five eigenvalues": partial(_eigenvalues, case)})


def _their_trace(case: Case) -> dict[str, Any]:
    """32 probes of PyHessian, and how many would reach the accuracy by their spread."""
    draw = peers.pyhessian_probes(peers.pyhessian_of(case))
    samples = [value for _ in range(4) for value in draw()]
    mean, needed = statistics.fmean(samples), statistics.variance(samples)
    return {"trace": mean, "probes needed for 5 %": math.ceil(needed / (TRACE * mean) ** 2)}


def _loss_landscapes(case: Case) -> Call:
    from surface import loss_landscapes

    def points() -> None:
        with case.inputs.device:  # its directions are drawn on the default device
            loss_landscapes(case.model, (case.inputs, case.targets), 2)

    return points


def beside(part: Part, case: Case, *, compiling: bool) -> None:
    """Ours and the peers: products, points, and at usual settings traces and eigenvalues."""
    objective = _objective(case)
    v = Draws(0).normals(1, objective.dimension, like=objective.point)[0]
    hessian = partial(peers.pyhessian_of, case)
    things, linear = partial(peers.eigenthings_of, case), partial(peers.curvlinops_of, case)
    fast: dict[str, Call] = {
        "product, ours": partial(objective.hessian_product, v),
        "8 probes, PyHessian": _later(lambda: peers.pyhessian_probes(hessian())),
        "product, hessian-eigenthings": _later(lambda: partial(things().matvec, v)),
        "product, curvlinops": _later(lambda: partial(linear().__matmul__, v)),
    }
    points = {"point, ours": partial(objective.evaluate, 1.001 * objective.point)}
    points["4 points, loss-landscapes"] = _later(partial(_loss_landscapes, case))
    slow: dict[str, Call] = {
        "five eigenvalues, ours": partial(_eigenvalues, case),
        "Lanczos, 30 steps, hessian-eigenthings": lambda: peers.lanczos(things(), 30, 5, 0),
        "power, tol 1e-3, PyHessian": lambda: peers.power(hessian(), 1e-3, 5, 0),
        "eigsh, curvlinops": lambda: peers.arpack(linear(), EIGENVALUE, 5, 0),
        "trace to 5 %, ours": partial(_trace, case),
        "Hutch++, 60, hessian-eigenthings": lambda: peers.hutch_plus_plus(things(), 60, 0),
        "XTrace, 60, curvlinops": lambda: peers.xtrace(linear(), 60, 0),
        "trace, 32 probes, PyHessian": partial(_their_trace, case),
    }
    with sdpa_kernel(SDPBackend.MATH):  # without it their second derivatives fail
        part.turns(fast, share=0.2)
        part.turns(points, share=0.1)
        part.once(slow)


Kind = Callable[..., None]
KINDS: dict[str, Kind] = {"products": products, "steps": steps, "surface": surface, "spectrum": spectrum}
KINDS |= {"peers": beside}
SHARES = {"products": 2, "steps": 2, "surface": 1, "spectrum": 2, "peers": 4}  # of the time


def _tests(device: torch.device, limit: float, *, tiny: bool) -> dict[str, Any]:
    """The tests on this device, by pytest in a process of its own."""
    where, name = "tests" if device.type == "cuda" else "tests/test_devices.py", device.type
    name = f"product and {name}" if tiny else name
    command = [sys.executable, *"-m pytest -n0 --no-header -W ignore -k".split(), name, where]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"summary": "not done in time"}
    lines = [line[:200] for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    summary = next(
        (line for line in reversed(lines) if re.search(r"\d+ (passed|failed|error)", line)), lines[-1]
    )
    return {"summary": summary, "failed": failed, "exit_code": done.returncode}


def _run(network: Network, kind: str, device: torch.device, limit: float, flags: Any) -> dict[str, Any]:
    """A part, again with half of the batch as often as memory is short."""
    start, batch, case = time.monotonic(), network.batch, None
    content: dict[str, Any] = {"limit": limit, "ended": "", "parameters": 0, "failed": False}
    while True:
        part = Part(device, start + (0 if flags.tiny else 0.8) * limit)
        with warnings.catch_warnings(record=True) as caught:
            signal.setitimer(signal.ITIMER_REAL, max(0.01, start + limit - time.monotonic()))
            try:
                case = network.case(device, batch)
                content["parameters"] = sum(p.numel() for p in case.model.parameters())
                KINDS[kind](part, case, compiling=flags.compile)
            except TimeIsUp:
                content["ended"] = "its time was up"
            except Exception as failure:
                if _is_shortage(failure) and batch > 1:
                    batch, case = batch // 2, None
                    torch.cuda.empty_cache()
                    continue
                content |= {"ended": _reason(failure), "failed": True}
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        remarks = sorted({str(each.message) for each in caught if issubclass(each.category, Remark)})
        content |= {"batch": batch, "remarks": remarks, "lines": part.lines}
        return content | {"seconds": time.monotonic() - start}


def _show(title: str, content: dict[str, Any], *, on_device: bool) -> None:
    """Prints a part in 80 columns."""
    ended = content["ended"] and f"; {content['ended']}"
    print(f"\n{title}: {content['parameters']:,} parameters, batch {content['batch']}{ended}")
    reads = "waits" if on_device else "reads"  # nothing waits on a CPU, where reading costs nothing
    print(f"{'':30}{'ms':>10} {'quartiles':>18}{'ratio':>7}{reads:>6}{'memory':>7}")
    for name, line in content["lines"].items():
        if "seconds" not in line:
            print(f"  {name}: {line.get('reason', 'not reached in time')}"[:80])
            continue
        spread = "–".join(f"{1e3 * value:.4g}" for value in line.get("quartiles", []))
        ratio = f"{line['ratio']:.2f}" if "ratio" in line else ""
        memory = f"{line['bytes'] / 4 / content['parameters']:.1f}" if "bytes" in line else ""
        cells = f"{1e3 * line['seconds']:>10.4g} {spread:>18}{ratio:>7}{line['waits']:>6}{memory:>7}"
        print(f"  {name:<28}{cells}" if len(name) < 29 else f"  {name}\n{'':30}{cells}")
    sys.stdout.flush()


def _conditions(device: torch.device, flags: argparse.Namespace) -> dict[str, Any]:
    """The hardware, the versions and the settings."""
    versions, cuda = {}, device.type == "cuda"
    for package in ("torch", "torchvision", *PEERS):
        with suppress(Exception):  # imported before anything is timed
            importlib.import_module(package.replace("-", "_").lower())
            versions[package] = version("curvlinops-for-pytorch" if package == "curvlinops" else package)
    driver, query = "", "nvidia-smi --query-gpu=driver_version --format=csv,noheader".split()
    with suppress(OSError):
        driver = subprocess.run(query, capture_output=True, text=True).stdout.strip() if cuda else ""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": torch.cuda.get_device_name(device) if cuda else f"{device} on {platform.machine()}",
        "driver": driver,
        "cuda": torch.version.cuda,
        "versions": {**versions, "python": platform.python_version(), "system": platform.platform()},
        "settings": vars(flags),
    }


def _stop(*_: object) -> None:
    raise TimeIsUp


def main() -> None:
    """Measure, write and print."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--minutes", type=float, default=8.0, help="time for everything (default: 8)")
    parser.add_argument("--device", default="auto", help="cuda, cuda:1, mps or cpu (default: the best)")
    parser.add_argument("--tiny", action="store_true", help="small networks, to see that everything runs")
    parser.add_argument("--compile", action="store_true", help="also compiled steps and points")
    parser.add_argument("--skip", default="", help="parts to leave out: tests," + ",".join(KINDS))
    parser.add_argument("-o", "--output", default="gpu.json", help="the file (default: gpu.json)")
    flags = parser.parse_args()
    try:
        device = device_named(flags.device, spelling="--device ")
    except UsageError as failure:
        parser.error(str(failure))
    if device.type == "cpu":
        torch.set_num_threads(1)
    elif device.index is not None:
        torch.get_device_module(device).set_device(device)
    signal.signal(signal.SIGALRM, _stop)
    end, skipped = time.monotonic() + 60 * flags.minutes, flags.skip.split(",")
    content: dict[str, Any] = {**_conditions(device, flags), "parts": {}}
    print(f"{content['device']}; torch {torch.__version__}; {content['date']}")
    first, *others = networks(tiny=flags.tiny)
    order = [(first, kind) for kind in KINDS]
    order += [(each, kind) for each in others for kind in KINDS if kind != "peers"]
    order += [] if flags.tiny else [(each, "peers") for each in others]
    order = [(network, kind) for network, kind in order if kind not in skipped]
    if "tests" not in skipped:
        content["tests"] = _tests(device, 20 * flags.minutes, tiny=flags.tiny)
        print("tests:", content["tests"]["summary"])
    for number, (network, kind) in enumerate(order):
        shares, title = [SHARES[each] for _, each in order[number:]], f"{network.name}: {kind}"
        limit = shares[0] / sum(shares) * (end - time.monotonic())
        content["parts"][title] = done = _run(network, kind, device, limit, flags)
        write_whole(Path(flags.output), json.dumps(content, indent=1).encode())
        _show(title, done, on_device=device.type != "cpu")
    failed = any(done["failed"] for done in content["parts"].values())
    raise SystemExit(int(failed or content.get("tests", {}).get("exit_code", 0) != 0))


if __name__ == "__main__":
    main()
