"""What one of several processes does in the tests of their exchanges."""

import time

import torch

from landscape.errors import InputError
from landscape.processes.group import current_group


def joined(folder, rank, world):
    """The group of processes that meet in a folder."""
    torch.set_num_threads(1)
    store = f"file://{folder / 'store'}"
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    return current_group()


def exchanges(folder, rank, world):
    group = joined(folder, rank, world)
    generator = torch.Generator().manual_seed(rank)
    own = [torch.randn(shape, generator=generator) for shape in ((3,), (2, 2), (1,))]
    own[1] = own[1].double()
    sums = [tensor.clone() for tensor in own]
    group.add(sums)
    found = {
        "own": own,
        "sums": sums,
        "world": group.world,
        "rows": group.joined(torch.full((rank, 2), float(rank))),
        "decided": group.decided(rank),
        "gathered": group.gathered(rank),
        "original": {},
    }
    for failure in (InputError("batch 3 holds NaN"), MemoryError("out of memory"), KeyError("key")):
        name = type(failure).__name__
        found["original"][name] = f"{name}: {failure}"
        try:
            with group.together():
                if rank == 1:
                    raise failure
        except Exception as raised:
            found[name] = f"{type(raised).__name__}: {raised}"
    torch.save(found, folder / f"{rank}.pt")


def killed(folder, rank, world):
    group = joined(folder, rank, world)
    group.gathered(rank)
    if rank == 1:
        (folder / "1.ready").touch()
        time.sleep(60)
    try:
        group.gathered(rank)
    except RuntimeError as failure:
        (folder / f"{rank}.txt").write_text(str(failure))
