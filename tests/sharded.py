"""One of two processes with parts of the data and of the weights: run by test_processes.py."""

import copy

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

import landscape
from landscape.measures import gradient_norm
from landscape.optim import SAM


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def data():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(40, 4, generator=generator).double(), torch.arange(40) % 3


def norm(model, batches, **options):
    return gradient_norm(landscape.Objective(model, "cross-entropy", batches, **options)).value


def sharded_networks():
    """Networks of FSDP2 and, with either kind of parameters, of FSDP1."""
    model = network()
    for part in (model[0], model[2], model):
        fully_shard(part, mesh=init_device_mesh("cpu", (2,)))
    place = torch.device("cpu")
    flat = [FullyShardedDataParallel(network(), use_orig_params=o, device_id=place) for o in (False, True)]
    return {"fully_shard": model, "flat": flat[0], "original": flat[1]}


def synchronised():
    """The norms of a network on one rank alone, where a collective would wait for ever; and those without any."""
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)).double().eval()
    both = model, nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(model))
    modes = ("stored", "batch", "recalibrate")
    return [[norm(m, data(), batch_norm=b, processes="alone") for b in modes] for m in both]


def refusal(function, *arguments, **options):
    try:
        function(*arguments, **options)
    except ValueError as failure:
        return f"{type(failure).__name__}: {failure}"
    return None


def run(folder, rank, world):
    """One of the processes: what is refused, and what is measured where it is not."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=world
    )
    part = tuple(tensor[rank::world] for tensor in data())
    found = {
        "undivided": refusal(norm, network(), part),
        "part": norm(network(), part, processes="alone"),
        "all": norm(network(), data(), processes="alone"),
        "split": norm(
            network(), [tuple(t[:9] for t in data()), tuple(t[9:] for t in data())], processes="split"
        ),
        "own": norm(network(), part, processes="own"),
    }
    if rank == 0:
        found["synchronised"] = synchronised()
    for name, model in sharded_networks().items():
        found[f"objective {name}"] = refusal(norm, model, data(), processes="alone")
        base = torch.optim.SGD(model.parameters(), lr=0.1)
        found[f"optimizer {name}"] = refusal(SAM, base, rho=0.05)
        state = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))
        gathered = network()
        nn.init.zeros_(gathered[0].weight)
        gathered.load_state_dict(state)
        found[f"gathered {name}"] = norm(gathered, data(), processes="alone")
    torch.save(found, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()
