"""What one of three processes does in the tests of branches in parallel: two are a pair, the third is alone."""

import torch
from group_cases import joined
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from landscape.optim import CRSAM, Bernoulli
from landscape.processes.group import ALONE

RULES = {
    "linear": {"alpha": 0.5, "beta": 0.1},
    "log": {"alpha": 1e-2, "beta": 1e-3, "mode": "log"},
    "log, floor": {"alpha": 1e-4, "beta": 1e-4, "mode": "log", "log_policy": "floor"},
}
STEPS = 20


def network(dtype=torch.float64, norm=nn.BatchNorm1d):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 8),
        norm(8),
        nn.Tanh(),
        nn.Dropout(0.2),
        nn.Linear(8, 8),
        nn.LayerNorm(8),
        nn.Linear(8, 3),
    ).to(dtype)


def made(model, **options):
    base = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    return CRSAM(base, model=model, rho=0.1, **options)


def closure(model, optimizer, number=0, act=lambda passes: 1.0):
    """The closure of a batch; ``act`` is called with the number of each pass and returns the factor of its loss."""
    generator = torch.Generator().manual_seed(number)
    x, y = torch.randn(16, 4, generator=generator), torch.randint(0, 3, (16,), generator=generator)
    passes = []

    def evaluate():
        optimizer.zero_grad()
        passes.append(len(passes) + 1)
        loss = nn.functional.cross_entropy(model(x.to(next(model.parameters()).dtype)), y) * act(len(passes))
        loss.backward()
        return loss

    evaluate.passes = passes
    return evaluate


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def trained(dtype, **options):
    """Weights, statistics, losses and random numbers after some steps, and the passes of the last one."""
    model = network(dtype)
    optimizer = made(model, **options)
    if "branches" not in options:
        optimizer.replicas = ALONE  # of all processes that have joined
    torch.manual_seed(5)
    losses = []
    for number in range(STEPS):
        evaluate = closure(model, optimizer, number)
        optimizer.step(evaluate)
        losses.append(torch.stack(optimizer.losses))
    return {
        "state": state(model),
        "losses": torch.stack(losses),
        "random": torch.get_rng_state(),
        "passes": len(evaluate.passes),
        "counted": [optimizer.steps, optimizer.sam_steps, optimizer.gradient_evaluations],
    }


def outcome(pair, rank, who, number, what, mode="linear"):
    """What a pair sees in a step in which one of them does something in one pass; and whether its weights moved."""
    model = network()
    optimizer = made(model, branches="parallel", process_group=pair, mode=mode)
    torch.manual_seed(3)
    before = [p.clone() for p in model.parameters()]

    def act(passes):
        return what() if rank == who and passes == number else 1.0

    words = None
    try:
        optimizer.step(closure(model, optimizer, act=act))
    except Exception as failure:
        words = f"{type(failure).__name__}: {failure}"
    moved = not all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    return {"words": words, "moved": moved, "skipped": optimizer.skipped_steps}


def broken():
    raise KeyError("lost")


def refusal(function):
    try:
        function()
    except ValueError as failure:
        return f"{type(failure).__name__}: {failure}"
    return None


def different(pair, rank, *, data=0, seed=0):
    model = network()
    optimizer = made(model, branches="parallel", process_group=pair)
    torch.manual_seed(seed * rank)
    return refusal(lambda: optimizer.step(closure(model, optimizer, data * rank)))


def refusals(pair):
    """What a pair is refused for."""
    parallel = {"branches": "parallel", "process_group": pair}

    def with_policy():
        model = network()
        optimizer = made(model, **parallel)
        optimizer.policy = Bernoulli(0.5)
        optimizer.step(closure(model, optimizer))

    return {
        "all": refusal(lambda: made(network(), branches="parallel")),
        "DistributedDataParallel": refusal(
            lambda: made(DistributedDataParallel(network(), process_group=pair), **parallel)
        ),
        "SyncBatchNorm": refusal(lambda: made(network(norm=nn.SyncBatchNorm), **parallel)),
        "policy": refusal(with_policy),
    }


def run(folder, rank, world):
    """One of the processes: trains as a pair or alone, then fails in all ways."""
    joined(folder, rank, world)
    pair = torch.distributed.new_group([0, 1])
    own = {} if rank == 2 else {"branches": "parallel", "process_group": pair}
    found = {
        f"{rule} {dtype}": trained(getattr(torch, dtype), **options, **own)
        for rule, options in RULES.items()
        for dtype in ("float64", "float32")
    }
    if rank < 2:
        overflow = lambda: float("inf")
        found["outcomes"] = {
            f"{what.__name__ if what is broken else 'inf'} {who} {number} {mode}": outcome(
                pair, rank, who, number, what, mode
            )
            for what in (overflow, broken)
            for who in (0, 1)
            for number in (1, 2)
            for mode in ("linear", "log")
        }
        found["data"] = different(pair, rank, data=1)
        found["seed"] = different(pair, rank, seed=1)
        found["refusals"] = refusals(pair)
    else:
        found["refusals"] = {
            "outside": refusal(lambda: made(network(), branches="parallel", process_group=pair))
        }
    torch.save(found, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()
