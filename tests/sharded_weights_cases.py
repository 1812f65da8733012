"""What one of several processes computes in the tests of weights that are divided over them."""

import sys
from functools import partial

import problems
import torch
from group_cases import joined
from measured_cases import said as raised
from short_measures import SMALL, short
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel, fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module

from landscape.curvature import OPERATORS, dominant_eigenpair, eigenpairs
from landscape.measures import MEASURES
from landscape.objective import Objective
from landscape.processes import group
from landscape.surfaces.sampling import sample_surface

WORDS, WIDTH, CLASSES = 11, 4, 3
OPTIONS = {**SMALL, "rho": 0.5, "steps": 2, "max_iterations": 6, "max_products": 8, "max_probes": 4}
WHOLE = {"geodesic-sharpness", "path-norm"}  # refuse weights that are divided
FEW = ["gradient-norm", "gradient-noise", "dominant-eigenvalue:method=lanczos,max_iterations=5"]
MEASURED = [
    *FEW,
    *(short(name, OPTIONS) for name in MEASURES if name not in {*WHOLE, *FEW}),
    "dominant-eigenvalue:method=power,max_iterations=6",
    "hessian-trace:method=hutchinson,max_probes=4",
    "hessian-trace:method=hutch++,max_probes=9",
    "basin-width:case=worst,steps=2",
]


class Decoder(nn.Module):
    """Attention, whose projection another module reads, and one matrix at both ends."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.norm, self.inner = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, WORDS, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, words):
        x = self.embedding(words)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(x + torch.tanh(self.inner(self.norm(x)))).mean(1)


def perceptron():
    return problems.network(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, CLASSES))


def convolutions():
    layers = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(12, CLASSES)
    return problems.network(*layers)


def decoder():
    torch.manual_seed(0)
    return Decoder().double().eval()


def frozen():
    """A network whose first layer is held fixed, with a recurrent layer."""

    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.rnn, self.last = (
                nn.Linear(4, 4),
                nn.LSTM(2, 3, batch_first=True),
                nn.Linear(3, CLASSES),
            )
            self.first.requires_grad_(False)

        def forward(self, x):
            return self.last(self.rnn(self.first(x).unflatten(1, (2, 2)))[0][:, -1])

    torch.manual_seed(0)
    return Recurrent().double().eval()


def examples(case):
    x, y = problems.classification(8, 4, CLASSES)
    if case == "decoder":
        generator = torch.Generator().manual_seed(0)
        return torch.randint(WORDS, (8, 3), generator=generator), torch.randint(
            WORDS, (8,), generator=generator
        )
    return (x.repeat(1, 4).unflatten(1, (1, 4, 4)), y) if case.startswith("convolutions") else (x, y)


# Network, options, measures.
CASES = {
    "perceptron": (perceptron, {}, MEASURED),
    "convolutions": (convolutions, {}, FEW),
    "convolutions, recalibrated": (convolutions, {"batch_norm": "recalibrate"}, FEW),
    "decoder": (decoder, {}, [*FEW, "hessian-trace:max_probes=4"]),
    "frozen": (frozen, {"micro_batch": 2}, FEW),
}


def objective(case, world, **changes):
    network, options, _ = CASES[case]
    batches = problems.batches(*examples(case), 3)
    arguments = {"shard_weights": world > 1, **options, **changes}
    return Objective(network(), "cross-entropy", batches, processes="split", **arguments)


def read(weights, name, start, stop):
    return weights[name].detach().flatten()[start:stop]


def whole(point, vector):
    """The vector ``(n, …)`` of the parts of all processes."""
    shards = point.shards
    ranges = shards.ranges or (range(len(vector)),)
    result = vector.new_zeros(shards.whole.dimension, *vector.shape[1:])
    for each, part in shards.group.gathered((ranges, vector)):
        result[torch.cat([torch.arange(r.start, r.stop) for r in each])] = part
    return result.tolist()


def part(point, vector):
    """The part of a vector ``(n, …)`` that is held here."""
    ranges = point.shards.ranges
    return vector if ranges is None else torch.cat([vector[r.start : r.stop] for r in ranges])


def numbers(world, folder):
    found = {}
    for case, (network, _, measures) in CASES.items():
        # Large tensors are exchanged in another way.
        group._LARGE = 0 if case == "convolutions" else 1 << 20
        point = objective(case, world)
        weights = dict(network().named_parameters())
        # Other ways to a trace need whole weights. One process that reads its parts has all, and takes this way too.
        probing = point if world > 1 else objective(case, world, shard_weights=partial(read, weights))
        results = {"value": point.loss, "gradient": whole(point, point.gradient), "n": point.dimension}
        vectors = part(point, torch.linspace(-1, 1, 2 * point.dimension, dtype=torch.float64).reshape(-1, 2))
        for name, operator in OPERATORS.items():
            results[name] = whole(point, operator(point) @ vectors)
        for name in FEW if world == 3 else measures:  # three processes are slow on two cores
            estimate = MEASURES.build(name, probing if "trace" in name else point)
            details = {key: value for key, value in estimate.details.items() if key != "proof"}
            # The gradients of single batches take a pass of their own, in which all processes visit the same.
            cost = estimate.cost.products if "trace" not in name else None
            results[name] = [estimate.value, estimate.standard_error, details, cost]
        if case == "perceptron" and world < 3:
            results["power"] = whole(point, dominant_eigenpair(point, max_iterations=6).vector)
            results["pairs"] = whole(point, eigenpairs(point, k=2, end="smallest", max_products=10).vectors)
        if case == "convolutions" and world < 3:
            for plane in ("random", "random:normalisation=layer", "sam", "eigenvectors:max_products=6"):
                for _ in range(2 if plane == "random" else 1):  # the second time from the journal
                    journal = folder / plane.partition(":max")[0]
                    surface = sample_surface(point, plane, points=2, gradient_norm=True, journal=journal)
                values = {name: values.tolist() for name, values in surface.values.items()}
                meta = surface.meta["plane"]
                results[plane] = [values, meta["norms"], meta["cosine"], surface.meta["centre"]["sha256"]]
        found[case] = results
    return found


def refusals(rank, world):
    """What is raised where one process, the second, has other weights; and last, where it has too little memory."""

    def other():
        torch.manual_seed(rank)
        return Objective(
            nn.Linear(4, CLASSES),
            "cross-entropy",
            examples("perceptron"),
            processes="split",
            shard_weights=True,
        )

    class Large(nn.Linear):
        def forward(self, x):
            if rank == 1:
                raise torch.OutOfMemoryError("out of memory")
            return super().forward(x)

    def large():
        torch.manual_seed(0)
        x, y = examples("perceptron")
        batches = [(x[:3], y[:3]), (x[3:], y[3:])]
        return Objective(
            Large(4, CLASSES).double(), "cross-entropy", batches, processes="split", shard_weights=True
        ).loss

    return {"weights": raised(other), "memory": raised(large)}


def fully_sharded(case, mesh):
    """A network of a case under ``fully_shard``, module by module, with a hook of the user's own."""
    model = CASES[case][0]()
    first = next(model.children())
    first.register_forward_hook(lambda module, inputs, outputs: 1.5 * outputs)
    # A weight that two modules have belongs to what is above both.
    parts = [part for name, part in model.named_children() if name not in ("embedding", "head")]
    for part in (*parts, model):
        if any(True for _ in part.parameters()):
            fully_shard(part, mesh=mesh)
    return model


def trained(model, batch):
    """The parts of the weights that are here after a step of training."""
    x, y = batch
    nn.functional.cross_entropy(model(x), y).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.sub_(parameter.grad, alpha=0.1)
            parameter.grad = None
    return [parameter.to_local().clone() for parameter in model.parameters()]


def of_fully_shard(case, world):
    """Numbers of a network of ``fully_shard`` and of one with the same weights, and whether it trains as before."""
    mesh = init_device_mesh("cpu", (world,))
    (x, y), options = examples(case), {"processes": "split"}
    batches = [(x[:3], y[:3]), (x[3:], y[3:])]
    model, other = fully_sharded(case, mesh), fully_sharded(case, mesh)
    before = trained(model, (x, y)), trained(other, (x, y))
    state = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))
    whole = CASES[case][0]()
    next(whole.children()).register_forward_hook(lambda module, inputs, outputs: 1.5 * outputs)
    whole.load_state_dict(state)
    with torch.no_grad():
        model(x)  # which leaves weights whole
    points = [
        Objective(model, "cross-entropy", batches, shard_weights=True, **options),
        Objective(whole, "cross-entropy", batches, **options),
    ]
    values = [[point.loss, *(MEASURES.build(name, point).value for name in FEW)] for point in points]
    kinds = [
        type(module).__name__ for module in points[0].network.modules() if isinstance(module, FSDPModule)
    ]
    after = trained(model, (x, y)), trained(other, (x, y))
    same = [all(map(torch.equal, *pair)) for pair in (before, after)]
    refused = raised(lambda: Objective(model, "cross-entropy", batches, **options))
    held = [len(points[0].point), len(points[1].point)]
    provenance = points[0].provenance.model, points[1].provenance.model
    return {
        "values": values,
        "kinds": kinds,
        "same": same,
        "refused": refused,
        "held": held,
        "models": provenance,
    }


def of_others(world):
    """What is raised for networks that something else has divided."""
    mesh = init_device_mesh("cpu", (world,))
    parallel = parallelize_module(nn.Sequential(nn.Linear(4, 4)).double(), mesh, {"0": ColwiseParallel()})
    old = FullyShardedDataParallel(perceptron(), use_orig_params=True, device_id=torch.device("cpu"))
    options = {"processes": "split", "shard_weights": True}
    data = examples("perceptron")
    return [raised(lambda m=m: Objective(m, "cross-entropy", data, **options)) for m in (parallel, old)]


def decisions(point, rank):
    """What depends on free memory, which differs between the processes."""
    eigen, trace = (sys.modules[f"landscape.curvature.{name}"] for name in ("eigenpairs", "trace"))
    available = eigen.available_bytes
    eigen.available_bytes = trace.available_bytes = lambda device: (100 + 100 * rank) * point.point.nbytes
    estimator = trace._Estimator(point, None, 0.02, 1000, None, None)
    taken = [eigen.longest_basis(point, len(point.point), count=2), estimator._columns(0)]
    eigen.available_bytes = trace.available_bytes = available
    return taken


def run(folder, rank, world):
    joined(folder, rank, world)
    point = objective("decoder", world)
    found = {
        "numbers": numbers(world, folder),
        "held": len(point.point),
        "tensors": len(point.layout.entries),
    }
    if world == 2:
        found["fully_shard"] = {case: of_fully_shard(case, world) for case in ("perceptron", "decoder")}
        found["others"] = of_others(world)
    found["decisions"] = decisions(point, rank)
    found["refusals"] = refusals(rank, world)
    torch.save(found, folder / f"{rank}.pt")
