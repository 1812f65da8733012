"""What one of several processes measures in the tests of divided objectives, and what it raises."""

import dataclasses
import itertools

import problems
import torch
from group_cases import joined
from short_measures import SMALL, short
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from landscape.curvature import OPERATORS, dominant_eigenpair, eigenpairs
from landscape.losses.loss_functions import IGNORED
from landscape.measures import MEASURES
from landscape.objective import BatchLoss, Objective, batches, sameness
from landscape.surfaces.directions import Waypoint
from landscape.surfaces.plane import build_plane

FEATURES, HIDDEN, CLASSES, SIZE = 4, 3, 3, 3
OPTIONS = {**SMALL, "rho": 0.5, "examples": 10, "max_iterations": 12, "max_products": 12}
# Path norms are undefined with tanh: of the case "exact".
EVERY = [short(name, OPTIONS) for name in MEASURES if name != "path-norm"]
TRACE = short("hessian-trace")
STATISTICS = ["loss", "gradient-norm", "dominant-eigenvalue:method=lanczos,max_iterations=5"]


class Tied(nn.Module):
    """One matrix, used twice."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, CLASSES)

    def forward(self, x):
        return self.outer(torch.tanh(self.inner(torch.tanh(self.inner(x)))))


def plain(activation=nn.Tanh, classes=CLASSES):
    return problems.network(nn.Linear(FEATURES, HIDDEN), activation(), nn.Linear(HIDDEN, classes))


def normalised():
    layers = nn.Linear(FEATURES, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, CLASSES)
    return problems.network(*layers)


def examples(count=14, classes=CLASSES, ignored=0):
    x, y = problems.classification(count, FEATURES, classes)
    y[2 : 2 + ignored] = IGNORED
    return x, y


def weighted():
    return nn.CrossEntropyLoss(weight=torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64))


def hidden():
    loss = nn.CrossEntropyLoss()
    return BatchLoss(lambda model, batch: loss(model(batch[0]), batch[1]))


# Network, loss, examples, options, measures.
CASES = {
    "weighted": (plain, weighted, {"ignored": 5}, {}, EVERY),
    "exact": (
        lambda: plain(nn.ReLU),
        nn.CrossEntropyLoss,
        {},
        {},
        [TRACE, "layer-traces", "normalized-trace", "path-norm"],
    ),
    "float32": (
        lambda: plain(nn.ReLU),
        nn.CrossEntropyLoss,
        {},
        {"dtype": torch.float32},
        [*STATISTICS, "gradient-noise", TRACE],
    ),
    "recalibrated": (
        normalised,
        nn.CrossEntropyLoss,
        {},
        {"batch_norm": "recalibrate"},
        [*STATISTICS, "approximation-ratio:steps=2", "average-sharpness:max_pairs=2"],
    ),
    "of each batch": (normalised, nn.CrossEntropyLoss, {}, {"batch_norm": "batch"}, [*STATISTICS, TRACE]),
    "hidden": (plain, hidden, {}, {}, [TRACE, "gradient-noise"]),
    "tied": (Tied, nn.CrossEntropyLoss, {}, {"dtype": torch.float64}, [TRACE]),
    "micro-batches": (
        Tied,
        nn.CrossEntropyLoss,
        {},
        {"dtype": torch.float64, "micro_batch": 8},
        [TRACE, "loss"],
    ),
    "many classes": (lambda: plain(nn.ReLU, 70), nn.CrossEntropyLoss, {"classes": 70}, {}, [TRACE]),
    "one batch": (plain, nn.CrossEntropyLoss, {"count": 3}, {}, ["gradient-norm", "gradient-noise", TRACE]),
}
OWN = ["weighted", "recalibrated"]
UNEVEN = {1: [5], 2: [1, 4], 3: [2, 1, 2]}  # batches a process


def part_of_own(rank, world, x=None, y=None):
    """The batches of this process, of parts that are uneven."""
    x, y = examples() if x is None else (x, y)
    ends = [0, *itertools.accumulate(UNEVEN[world])]
    return problems.batches(x, y, SIZE)[ends[rank] : ends[rank + 1]]


def objective(case, processes, rank, world, **changes):
    network, loss, data, options, _ = CASES[case]
    torch.manual_seed(0)
    x, y = examples(**data)
    given = part_of_own(rank, world, x, y) if processes == "own" else problems.batches(x, y, SIZE)
    arguments = {"model": network(), "loss": loss(), "batches": given, **options, **changes}
    return Objective(**arguments, processes=processes)


def measured(point, names):
    """Everything that an estimate says but its time."""
    found = {}
    for name in names:
        estimate = MEASURES.build(name, point)
        cost = dataclasses.asdict(estimate.cost)
        del cost["seconds"]
        if point.recalibrated_on:
            # Statistics are known already where a process begins: in more processes more often.
            del cost["evaluations"]
        found[name] = {
            "value": estimate.value,
            "standard_error": estimate.standard_error,
            "converged": estimate.converged,
            "details": dict(estimate.details),
            "cost": cost,
            "data": [estimate.provenance.num_examples, estimate.provenance.batch_size],
        }
    return found


def solved(point):
    """Products, eigenvectors, planes, estimators by name, and readings over parts."""
    vectors = torch.linspace(-1, 1, 2 * point.dimension, dtype=point.point.dtype).reshape(-1, 2)
    found = {name: (operator(point) @ vectors).tolist() for name, operator in OPERATORS.items()}
    found["power"] = dominant_eigenpair(point, max_iterations=8).vector.tolist()
    found["smallest"] = eigenpairs(point, k=2, end="smallest", max_products=10).vectors.tolist()
    plane = build_plane("eigenvectors:max_products=10", point)
    found["plane"] = [plane.x.tolist(), plane.y.tolist()]
    ends = [Waypoint("a", point.point), Waypoint("b", point.point.flip(0))]
    curve = build_plane("bezier:steps=4", point, through=ends)
    found["curve"] = [curve.y.tolist(), curve.details["curve"]["loss"]]
    for method in ("hutchinson", "hutch++"):
        estimate = MEASURES.build(f"hessian-trace:method={method},max_probes=8", point)
        found[method] = [estimate.value, estimate.standard_error]
    found["batches"] = point.by_batch(lambda part: part.loss)
    found["examples"] = point.by_example(lambda part: part.loss, only={1, 2, 8})
    found["ratio"] = MEASURES.build("approximation-ratio:reading=example,examples=3,steps=1", point).value
    return found


def differences(found, expected, tolerance, place=""):
    """Where two results differ: in a number by more than the tolerance, relative to it where it is above 0.1.

    Details that are differences of measured numbers have ten times their rounding.
    """
    import pytest  # here, because the processes that are measured do without it

    if isinstance(expected, dict) and isinstance(found, dict) and found.keys() == expected.keys():
        return [
            d for key in expected for d in differences(found[key], expected[key], tolerance, f"{place}/{key}")
        ]
    if (
        isinstance(expected, (list, tuple))
        and isinstance(found, (list, tuple))
        and len(found) == len(expected)
    ):
        pairs = enumerate(zip(found, expected, strict=True))
        return [d for k, pair in pairs for d in differences(*pair, tolerance, f"{place}[{k}]")]
    if isinstance(expected, float) and isinstance(found, float):
        allowed = 10 * tolerance if "/details/" in place else tolerance
        same = found == pytest.approx(expected, rel=allowed, abs=allowed / 10, nan_ok=True)
    else:
        same = found == expected
    return [] if same else [f"{place}: {found} instead of {expected}"]


def numbers(rank, world):
    found = {}
    for case in CASES:
        point = objective(case, "split", rank, world)
        found[f"split {case}"] = measured(point, CASES[case][-1])
        found[f"split {case}"]["examples"] = point.provenance.examples
        if case == "weighted":
            found["split solvers"] = solved(point.at(point.point))
    for case in OWN:
        point = objective(case, "own", rank, world)
        found[f"own {case}"] = measured(point, CASES[case][-1])
        if case == "weighted":
            found["own solvers"] = solved(point.at(point.point))
    for processes in ("split", "own"):
        kept = {} if processes == "split" else {"calibration": part_of_own(rank, world)}
        point = objective("of each batch", processes, rank, world, batch_norm="auto", **kept).recalibrating()
        found[f"{processes} sample"] = [point.loss, point.recalibrated_on, float(point.gradient.norm())]
    return found


def said(work):
    """What is raised."""
    try:
        work()
    except Exception as failure:
        return f"{type(failure).__name__}: {failure}"
    return "nothing"


def shifted(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(FEATURES, CLASSES)).double()


def refusals(rank, world):
    """What each process raises if one of them, the second, has something else, fails, or calls something else."""
    second = rank == 1
    split, own = (objective("weighted", processes, rank, world) for processes in ("split", "own"))
    x, y = examples()
    mine = slice(7 * rank, 7 * rank + 7) if rank < 2 else slice(13, 14)
    broken = x[mine].clone()
    broken[0, 0] = torch.nan if second else 1.0

    def version():
        before = sameness.__version__
        sameness.__version__ = "0.0.1" if second else before
        try:
            objective("weighted", "split", rank, world)
        finally:
            sameness.__version__ = before

    def fails(part):
        if second:
            raise KeyError("lost")
        return part.loss

    class Stubborn(nn.Linear):
        """Refuses one batch, of the second process, and only once the first checks are done."""

        def forward(self, x):
            if second and len(x) == 2:
                raise ValueError("no pairs")
            return super().forward(x)

    def stubborn():
        given = [(x[:3], y[:3]), (x[3:6], y[3:6])] if rank == 0 else [(x[:2], y[:2])]
        torch.manual_seed(0)
        return Objective(Stubborn(FEATURES, CLASSES).double(), "cross-entropy", given, processes="own").loss

    class Large(nn.Linear):
        """Fits into the memory of the second process only in parts."""

        def forward(self, x):
            if second and len(x) > 2:
                raise torch.OutOfMemoryError("out of memory")
            return super().forward(x)

    def short_of_memory(size):
        torch.manual_seed(0)
        model = Large(FEATURES, CLASSES).double()
        return Objective(
            model, "cross-entropy", (x, y), batch_size=7, micro_batch=size, processes="split"
        ).loss

    moved = split.at(split.point * (1.01 if second else 1))
    found = {
        "not finite": said(lambda: Objective(plain(), weighted(), (broken, y[mine]), processes="own")),
        "empty": said(lambda: Objective(plain(), weighted(), [] if second else [(x, y)], processes="own")),
        "weights": said(lambda: Objective(shifted(rank), "cross-entropy", (x, y), processes="split")),
        "data": said(lambda: Objective(plain(), "cross-entropy", (x + rank, y), processes="split")),
        "batch sizes": said(
            lambda: objective("exact", "split", rank, world, batches=problems.batches(x, y, 4 + rank))
        ),
        "loss": said(
            lambda: objective(
                "exact", "split", rank, world, loss=nn.CrossEntropyLoss(label_smoothing=rank / 9)
            )
        ),
        "class weights": said(
            lambda: objective(
                "exact", "split", rank, world, loss=nn.CrossEntropyLoss(torch.ones(3).double() + rank)
            )
        ),
        "batch norm": said(
            lambda: objective(
                "recalibrated", "split", rank, world, batch_norm="batch" if second else "stored"
            )
        ),
        "precision": said(
            lambda: objective("exact", "split", rank, world, dtype=torch.float32 if second else torch.float64)
        ),
        "processes": said(lambda: objective("exact", "own" if second else "split", rank, world)),
        "version": said(version),
        "a part": said(lambda: split.by_batch(fails)),
        "a visit": said(stubborn),
        "other calls": said(
            lambda: split.at(split.point).accuracy if second else split.at(split.point).gradient
        ),
        "another point": said(lambda: moved.loss),
        "another vector": said(lambda: split.hessian_product(torch.ones(split.dimension).double() + rank)),
        "another network": said(lambda: split.of(plain() if second else problems.network(*plain(), seed=1))),
        "a loop over own parts": said(lambda: list(own.per_batch())),
        "a loop over own examples": said(lambda: list(own.per_example())),
    }
    found["afterwards"] = split.at(split.point).loss
    losses = []
    found["short of memory"] = said(lambda: losses.extend(map(short_of_memory, (None, 4, "auto"))))
    found["losses in pieces"] = losses
    found["parts of the split"] = [part.loss for part in split.per_batch()]
    return found


class Counted(TensorDataset):
    """Examples that are counted as they are read."""

    read = 0

    def __getitem__(self, index):
        self.read += 1
        return super().__getitem__(index)


def streamed(rank, world):
    """The loss of data that are too many to keep, and the examples that this process reads for one more pass."""
    kept, batches.KEPT_BYTES = batches.KEPT_BYTES, 0
    try:
        data = Counted(*examples())
        point = Objective(plain(), "cross-entropy", DataLoader(data, batch_size=SIZE), processes="split")
        loss, data.read = point.loss, 0
        found = {"loss": loss, "gradient": float(point.gradient.norm()), "read": data.read}
        part = slice(len(data) * rank // world, len(data) * (rank + 1) // world)
        loader = DataLoader(TensorDataset(*data[part]), batch_size=SIZE)
        return found | {"own": Objective(plain(), "cross-entropy", loader, processes="own").loss}
    finally:
        batches.KEPT_BYTES = kept


def run(folder, rank, world):
    joined(folder, rank, world)
    found = {
        name: work(rank, world)
        for name, work in (("numbers", numbers), ("refusals", refusals), ("streamed", streamed))
    }
    torch.save(found, folder / f"{rank}.pt")
