"""What one of several processes does in the tests of a tracker: a loop under DistributedDataParallel."""

import torch
from group_cases import joined
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import landscape

MEASURES = ["loss", "gradient-norm", "dominant-eigenvalue", "critical-sharpness", "preconditioned-sharpness"]
STEPS = 50


def data():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(60, 6, generator=generator), torch.randint(0, 3, (60,), generator=generator)


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def trained(rank, world, output, *, tracked):
    """Weights, optimizer and random state after the steps, and what was measured."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Dropout(0.2), nn.Linear(12, 3))
    parallel = model if world == 1 else DistributedDataParallel(model)
    optimizer = torch.optim.Adam(parallel.parameters(), lr=0.01)
    x, y = data()
    options = {"measures": MEASURES, "every": 20, "output": output}
    probes = [(x[:20], y[:20]), (x[20:40], y[20:40])]
    tracker = landscape.Tracker(parallel, "cross-entropy", probes, **options) if tracked else None
    torch.manual_seed(rank)
    for _ in range(STEPS):
        chosen = torch.randperm(60)[:10]
        optimizer.zero_grad()
        nn.functional.cross_entropy(parallel(x[chosen]), y[chosen]).backward()
        optimizer.step()
        if tracker is not None:
            tracker.step(optimizer)
    left = [model.state_dict(), optimizer.state_dict()["state"], torch.get_rng_state()]
    history = [] if tracker is None else tracker.history
    return left, [(step, {name: e.value for name, e in found.items()}) for step, found in history]


def run(folder, rank, world):
    joined(folder, rank, world)
    with_it, history = trained(rank, world, folder / "run", tracked=True)
    without, _ = trained(rank, world, None, tracked=False)
    torch.save({"with": with_it, "without": without, "history": history}, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()
