"""One of several processes that train the same network on their parts of a batch: run by test_replicas.py."""

from pathlib import Path

import torch
from optim.battery import VARIANTS, batch, build, mlp, sgd, weights
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from landscape.optim import BatchClosure

STEPS = 4


def trained(name: str, *, rank: int = 0, world: int = 1) -> tuple[Tensor, list[int]]:
    """The weights after some steps on this process's part of each batch, and how many passes each step took."""
    model = mlp(nn.LayerNorm(5))
    network = model if world == 1 else DistributedDataParallel(model)
    optimizer = build(name, network, sgd(model))
    passes = []
    for number in range(STEPS):
        x, y = (part[rank::world] for part in batch(seed=number))
        if optimizer.needs_batch:
            indices = torch.arange(16)[rank::world]
            loss = nn.CrossEntropyLoss(reduction="none")
            optimizer.step(BatchClosure(network, loss, inputs=x, targets=y, indices=indices))
        else:

            def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(network(x), y)
                loss.backward()
                return loss

            optimizer.step(closure)
        passes.append(len(optimizer.losses))
    return weights(model), passes


def overflowed(rank: int) -> list[int]:
    """What the processes count when the gradient of one of them is not finite."""
    model = mlp()
    network = DistributedDataParallel(model)
    optimizer = build("sam", network, sgd(model))
    x, y = batch()

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(x), y) * (float("inf") if rank == 1 else 1.0)
        loss.backward()
        return loss

    optimizer.step(closure)
    return [optimizer.steps, optimizer.skipped_steps]


def run(folder: Path, rank: int, world: int) -> None:
    """One of the processes: trains with every variant and saves what it found."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=world
    )
    found = {name: trained(name, rank=rank, world=world) for name in VARIANTS}
    torch.save({"trained": found, "overflowed": overflowed(rank)}, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()
