"""What has to be the same in all processes that compute together, compared before the first number.

Sums over networks, losses or options that differ would be numbers of nothing, and no later check would see it.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import UsageError
from landscape.losses.loss_functions import taken_apart
from landscape.objective.risk import Risk
from landscape.processes.group import Group
from landscape.version import __version__

_ADVICE = {
    "weights": "load the same checkpoint in all of them, or seed torch before the network is made",
    "buffers": "batch-norm statistics of a training with several processes: broadcast them from one",
    "data": "processes='split' is for the same data in all of them, processes='own' for a part in each",
}


def refuse_differences(risk: Risk, origin: Mapping[str, Any], processes: str | None, group: Group) -> None:
    """Compares network, loss, data and options over all processes, which call this together.

    Raises:
        UsageError: Any of them differs; the text names the process and the thing.
    """
    with group.together("reading of the data"):
        here = _described(risk, origin, processes)
    everywhere = group.gathered(here)
    first = everywhere[0]
    for rank, there in enumerate(everywhere):
        # In this order: a difference of the first ones explains those of the others.
        name = next((name for name in here if there[name] != first[name]), None)
        if name is not None:
            values = (
                f" ({there[name]} and {first[name]})" if len(str(there[name]) + str(first[name])) < 80 else ""
            )
            advice = _ADVICE.get(name, "all of them have to pass the same")
            raise UsageError(
                f"process {rank} of {group.world} has other {name} than process 0{values}: {advice}"
            )


def _described(risk: Risk, origin: Mapping[str, Any], processes: str | None) -> dict[str, str]:
    """What is compared, by the name that a message has for it; hashes of what is long."""
    replica, batches = risk.replica, risk.batches
    shapes = [(entry.name, entry.shape) for entry in replica.shards.whole.entries]
    weights = [replica.point, *(p for p in replica.model.parameters() if not p.requires_grad)]
    if (
        replica.shards.gathering is not None
    ):  # these are parts, which differ: compared is what they were taken from
        weights = [parameter for _, parameter in replica.originals() if not parameter.is_meta]
    same = {
        "versions of landscape": __version__,
        "values of processes=": repr(processes),
        "networks": str(origin["model"]),
        "free parameters": hashed(shapes),
        "precision": str(replica.dtype),
        "values of batch_norm=": str(origin["batch_norm"]),
        "kinds of products": risk.engine.products,
        "losses": _named(risk.loss, str(origin["loss"])),
        "weights": hashed(weights),
        "buffers": hashed(replica.model.buffers()),
    }
    if processes == "split":
        same |= {"data": str(batches.content), "batch sizes": hashed(batches.sizes)}
    return same


def _named(loss: object, name: str) -> str:
    """The loss by its name, with a hash of its options and tensors."""
    function, options = taken_apart(loss)
    parts: list[object] = [name, sorted((key, _plain(value)) for key, value in options.items())]
    if isinstance(function, nn.Module):
        plain = {
            key: value for key, value in vars(function).items() if isinstance(value, (bool, int, float, str))
        }
        parts += [sorted(plain.items()), *function.state_dict().values(), *function.buffers()]
    return f"{name}, {hashed(parts)}"


def _plain(value: object) -> object:
    if isinstance(value, Tensor):
        return hashed([value])
    return value if isinstance(value, (bool, int, float, str)) else ""


def hashed(parts: Iterable[object]) -> str:
    """The first 12 digits of the SHA-256 of tensors, by their bytes, and of what has a text."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            plain = part.detach().cpu().contiguous().reshape(-1)
            digest.update(repr((part.dtype, tuple(part.shape))).encode())
            digest.update(plain.view(torch.uint8).numpy().data if plain.numel() else b"")
        else:
            digest.update(repr(part).encode())
    return digest.hexdigest()[:12]
