"""One of several processes that train one network: on parts of a batch, and with parts of the weights."""

import copy
import warnings

import torch
from group_cases import joined
from optim.battery import CONTEXT, ON_PLAIN_NETWORKS, VARIANTS, mlp
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from landscape.optim import CRSAM, OPTIMIZERS, SAM, BatchClosure

STEPS = 20
SIZE = 18  # examples of a batch, which two and three processes divide evenly
# Rules of single examples, of which a process has its own only.
LOOKS_AT_EXAMPLES = {"esam", "m-sam", "ssam-f"}
# Rows whose rule has more than one form.
FORMS = [
    "cr-sam:mode=log,alpha=0.01,beta=0.001", "esam:gamma=1", "gsam:adaptive=asam", "hessian-trace-reg:mode=fd",
    "m-sam:m=4", "r-sam:mode=smoothed", "sam-on:layers=others,adaptive=asam", "wsam:mode=coupled",
    "zsharp:threshold=tensor",
]  # fmt: skip
RULES = [*VARIANTS, *FORMS]
# These take twenty steps, in three processes with shards fewer; the others fewer still, for the time.
NAMED = ["sam", "gsam", "cr-sam", "asam", "ae-sam", "looksam"]
NOT_BY_SHARDS = {"hessian-trace-reg", "ssam-f", "ssam-d", "zsharp", "zsharp:threshold=tensor"}
BY_SHARDS = [rule for rule in RULES if rule not in NOT_BY_SHARDS]
# In three processes the named ones, and those that draw a vector, whose part depends on where shards are cut.
BY_UNEVEN_SHARDS = [*NAMED, "r-sam", "vasso", "entropy-sgd", "bsam", "sam-on"]


def build(rule, model, base):
    name, _, options = rule.partition(":")
    chosen = options or ON_PLAIN_NETWORKS.get(name) or ("langevin_steps=3" if name == "entropy-sgd" else "")
    spec = f"{name}:{chosen}" if chosen else name
    return OPTIMIZERS.build(spec, base, model=model, **CONTEXT | {"num_examples": SIZE})


def count(rule, world):
    return STEPS if rule in NAMED else 6 if world == 2 else 3


def count_in_float32(rule):
    """LookSAM divides by the length of what is orthogonal, where rounding grows from step to step."""
    return 3 if rule not in NAMED else 4 if rule == "looksam" else STEPS


def count_by_shards(rule, world):
    if rule in NAMED:
        return STEPS if world == 2 else 8
    return 3 if world == 2 else 2


def batch(number):
    generator = torch.Generator().manual_seed(number)
    x = torch.randn(SIZE, 4, generator=generator, dtype=torch.float64)
    return x, torch.randint(0, 3, (SIZE,), generator=generator)


def steps(optimizer, network, *, rank=0, world=1, count=STEPS):
    """Steps on this process's part of each batch: how many passes each took, and the losses at the weights."""
    passes, losses = [], []
    dtype = next(network.parameters()).dtype
    for number in range(count):
        x, y = (part[rank::world] for part in batch(number))
        x = x.to(dtype)
        if optimizer.needs_batch:
            indices = torch.arange(SIZE)[rank::world]
            loss = nn.CrossEntropyLoss(reduction="none")
            closure = BatchClosure(network, loss, inputs=x, targets=y, indices=indices)
        else:

            def closure(x=x, y=y):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(network(x), y)
                loss.backward()
                return loss

        losses.append(optimizer.step(closure).item())
        passes.append(len(optimizer.losses))
    return passes, losses


def whole(parameter):
    value = parameter.detach()
    return value.full_tensor() if isinstance(value, DTensor) else value


def weights(model):
    return torch.cat([whole(p).reshape(-1).clone() for p in model.parameters()])


def sgd(groups):
    return torch.optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=5e-4)


def trained(rule, *, rank=0, world=1, dtype=torch.float64, count=STEPS):
    """The weights after some steps under DistributedDataParallel, or in one process, and the passes of each step."""
    model = mlp(nn.LayerNorm(5)).to(dtype)
    network = model if world == 1 else DistributedDataParallel(model)
    optimizer = build(rule, network, sgd(model.parameters()))
    passes, _ = steps(optimizer, network, rank=rank, world=world, count=count)
    return weights(model), passes


def uneven():
    """A network whose tensors do not divide evenly: rows of 5 and 3, a single one, and a frozen layer."""
    torch.manual_seed(1)  # for the layers in between
    model = mlp(nn.LayerNorm(5), nn.Linear(5, 5).double(), nn.Linear(5, 1).double(), nn.Linear(1, 5).double())
    model[2].requires_grad_(False)
    return model


def groups_of(model):
    """Two groups with a radius each, and one that is not displaced."""
    return [
        {"params": list(model[0].parameters())},
        {"params": list(model[3].parameters()), "perturb": False},
        {
            "params": [p for m in (model[1], model[4], model[6]) for p in m.parameters()],
            "rho": 0.2,
            "lr": 0.05,
        },
    ]


def sharded(rule, *, rank=0, world=1, count=STEPS):
    """The same with weights of fully_shard, or whole in one process, and vectors put together from all parts."""
    model = uneven()
    if world > 1:
        mesh = init_device_mesh("cpu", (world,))
        for part in (model[0], model[3], model):
            fully_shard(part, mesh=mesh)
    optimizer = build(rule, model, sgd(groups_of(model)))
    passes, _ = steps(optimizer, model, rank=rank, world=world, count=count)
    return weights(model), passes


def refusal(function):
    try:
        function()
    except ValueError as failure:
        return f"{type(failure).__name__}: {failure}"
    return None


def overflowed(network, rank):
    """What is counted, and whether weights move, when the gradient of one process is not finite."""
    optimizer = build("sam", network, sgd(network.parameters()))
    x, y = batch(0)
    before = weights(network)

    def closure():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(x), y) * (float("inf") if rank == 1 else 1.0)
        loss.backward()
        return loss

    optimizer.step(closure)
    return [optimizer.steps, optimizer.skipped_steps, torch.equal(before, weights(network))]


def common_decisions(rank, world):
    """Decisions that depend on what a process has alone."""

    def step(rule, size, wrapped=True, **options):
        model = mlp()
        network = DistributedDataParallel(model) if wrapped else model
        optimizer = OPTIMIZERS.build(rule, sgd(model.parameters()), model=network, **options)
        x, y = (part[:size] for part in batch(rank))
        optimizer.step(BatchClosure(network, nn.CrossEntropyLoss(reduction="none"), inputs=x, targets=y))

    masks = {"steps_per_epoch": 1}
    return {
        "slices": refusal(lambda: step("m-sam:m=4", 8 + 4 * rank)),
        "examples": refusal(lambda: step("ssam-f:n_fisher=8", 6 + rank, **masks)),
        "enough": refusal(lambda: step("ssam-f:n_fisher=4", 6 + rank, **masks)),
        "unknown": refusal(lambda: step("m-sam:m=4", 8, wrapped=False)),
        "known": refusal(lambda: step("sam", 8, wrapped=False)),
    }


def shard_state(rank, world):
    """A state of shards: steps after loading go on; that of another part is refused."""
    ends = []
    for resumed in (False, True):
        model = uneven()
        fully_shard(model, mesh=init_device_mesh("cpu", (world,)))
        optimizer = build("looksam", model, sgd(model.parameters()))
        steps(optimizer, model, rank=rank, world=world, count=3)
        if resumed:
            state = copy.deepcopy(optimizer.state_dict())
            optimizer = build("looksam", model, sgd(model.parameters()))
            optimizer.load_state_dict(state)
        steps(optimizer, model, rank=rank, world=world, count=3)
        ends.append(weights(model))
    state["part"] = [rank, world + 1]
    return ends, refusal(lambda: optimizer.load_state_dict(state))


class Own(SAM):
    """A rule of a user's, which may sum over a vector in its own way."""

    def direction(self, gradients, gradients_at):
        return gradients / gradients.norm()


def shard_refusals(world):
    model = uneven()
    fully_shard(model, mesh=init_device_mesh("cpu", (world,)))
    base = lambda: sgd(model.parameters())
    partly = uneven()
    fully_shard(partly[0], mesh=init_device_mesh("cpu", (world,)))
    found = {rule: refusal(lambda rule=rule: build(rule, model, base())) for rule in sorted(NOT_BY_SHARDS)}
    return found | {
        "own": refusal(lambda: Own(base(), model=model)),
        "no network": refusal(lambda: SAM(base())),
        "partly": refusal(lambda: SAM(sgd(partly.parameters()), model=partly)),
        "branches": refusal(lambda: CRSAM(base(), model=model, branches="parallel")),
    }


def own_all_reduce(rank, world):
    """CR-SAM with logarithms in a loop that averages gradients itself and says so."""
    from landscape.processes.group import current_group

    model = mlp()
    optimizer = build("cr-sam:mode=log,alpha=0.01,beta=0.001", model, sgd(model.parameters()))
    unsaid = refusal(lambda: optimizer.step(lambda: _reduced(model, rank, world))) if world > 1 else None
    optimizer.replicas = current_group()
    for _ in range(3):
        optimizer.step(lambda: _reduced(model, rank, world))
    return unsaid, weights(model)


def _reduced(model, rank, world):
    x, y = (part[rank::world] for part in batch(0))
    model.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    if world > 1:
        for p in model.parameters():
            torch.distributed.all_reduce(p.grad)
            p.grad /= world
    return loss


def run(folder, rank, world):
    """One of the processes: trains with every rule and saves what it found."""
    warnings.simplefilter("ignore")
    joined(folder, rank, world)
    found = {
        "float64": {rule: trained(rule, rank=rank, world=world, count=count(rule, world)) for rule in RULES},
        "float32": {
            rule: trained(rule, rank=rank, world=world, dtype=torch.float32, count=count_in_float32(rule))
            for rule in RULES
        },
        "overflowed": overflowed(DistributedDataParallel(mlp()), rank),
        "common": common_decisions(rank, world),
        "own": own_all_reduce(rank, world),
    }
    torch.save(found, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def run_sharded(folder, rank, world):
    """The same with weights of fully_shard."""
    warnings.simplefilter("ignore")
    joined(folder, rank, world)
    model = mlp()
    fully_shard(model, mesh=init_device_mesh("cpu", (world,)))
    found = {
        "steps": {
            rule: sharded(rule, rank=rank, world=world, count=count_by_shards(rule, world))
            for rule in (BY_SHARDS if world == 2 else BY_UNEVEN_SHARDS)
        },
        "overflowed": overflowed(model, rank),
        "state": shard_state(rank, world),
        "refusals": shard_refusals(world),
    }
    torch.save(found, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()
