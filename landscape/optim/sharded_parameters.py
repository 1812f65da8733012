"""Parameters of ``fully_shard`` as one vector, of which every process has its part.

A step computes with these parts alone. Sums over a vector are sums over the processes (:mod:`landscape.optim.vector`),
so that they all take the same decisions. Displaced weights are written to the shards, which the next forward pass
gathers: nothing is ever whole in one process but what the network itself gathers.
"""

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from landscape.draws import Rows
from landscape.errors import InputError
from landscape.optim.flat_parameters import FlatParameters, Groups
from landscape.parameters import sharded_by
from landscape.processes.group import Group

_WAY_OUT = (
    "apply torch.distributed.fsdp.fully_shard over one mesh of one dimension to the whole network, or wrap it in "
    "DistributedDataParallel, under which every optimizer works"
)


def flat_parameters(groups: Groups, model: nn.Module | None) -> FlatParameters:
    """The vector of the free parameters of all groups, or of this process's part of them.

    Args:
        groups: Those of the optimizer.
        model: The network; needed where its parameters are sharded.

    Raises:
        UsageError: No parameter is free.
        InputError: The parameters are divided in a way in which a step cannot be computed by parts.
    """
    free = [p for group in groups for p in group["params"] if p.requires_grad]
    kinds = {kind for p in free if (kind := sharded_by(p)) is not None}
    if not kinds:
        return FlatParameters(groups)
    if any(kind.startswith("FullyShardedDataParallel") for kind in kinds):
        shape = next(tuple(p.shape) for p in free if sharded_by(p) is not None)
        raise InputError(
            f"a parameter of shape {shape} is sharded over processes ({', '.join(sorted(kinds))}), whose flat pieces a "
            f"sharpness-aware step cannot displace: {_WAY_OUT}"
        )
    return ShardedParameters(groups, model)


class ShardedParameters(FlatParameters):
    """This process's part ``(n,)`` of the free parameters, which ``fully_shard`` divides along their first axis.

    Args:
        groups: Those of the optimizer.
        model: The network, which holds gathered weights between passes.

    Raises:
        InputError: The parameters do not lie on one mesh of one dimension, or there is no network of ``fully_shard``.
    """

    def __init__(self, groups: Groups, model: nn.Module | None) -> None:
        free = list(dict.fromkeys(p for group in groups for p in group["params"] if p.requires_grad))
        mesh = _mesh(free)
        self.group = Group(mesh.get_local_rank(), mesh.size(), mesh.get_group())
        self._modules = _sharded_modules(model)
        super().__init__(groups)
        factors = [2 if p.is_complex() else 1 for p in self.parameters]
        sizes = [f * p.numel() for f, p in zip(factors, self.parameters, strict=True)]
        ends = list(accumulate(sizes, initial=0))
        self.total_dimension = ends[-1]
        # Where the part of each parameter begins in the vector of all.
        self._places = [
            (end + min(self._first_row(p) * (size // max(1, len(p))), size), self._own(p).numel())
            for end, size, p in zip(ends, sizes, self.parameters, strict=False)
        ]

    def begin_step(self) -> None:
        """Forget what the last step saved, and gathered weights that the network may still hold."""
        super().begin_step()
        self._release()

    def displace(self, displacement: Tensor, times: float = 1.0) -> None:
        """Make w + times · displacement ``(n,)`` the weights, until ``restore``."""
        super().displace(displacement, times)
        self._release()

    def restore(self) -> None:
        """Make w the weights again, bit for bit."""
        super().restore()
        self._release()

    def assign(self, vector: Tensor) -> None:
        """Make a vector ``(n,)`` the weights."""
        super().assign(vector)
        self._release()

    def drawn(self, draw: Callable[..., Tensor], rows: Rows, *, like: Tensor) -> Tensor:
        """This process's part of random vectors ``(rows, n)``, which do not depend on how they are divided."""
        parts = [draw(rows, size, first=first, like=like) for first, size in self._places if size > 0]
        count = rows if isinstance(rows, int) else len(rows)
        return torch.cat(parts, dim=1) if parts else like.new_empty(count, 0)

    @property
    def tensors(self) -> list[Tensor]:
        """The part of each parameter that this process has."""
        return [self._own(p) for p in self.parameters]

    def _own(self, tensor: Tensor) -> Tensor:
        # Asked for anew each time: the first forward pass can put other storage behind a parameter.
        with torch.no_grad():
            return super()._own(_local(tensor))

    def _gradients(self) -> list[Tensor | None]:
        return [None if p.grad is None else _local(p.grad) for p in self.parameters]

    def _first_row(self, parameter: Tensor) -> int:
        """The first row of this process: they are dealt out as by ``torch.chunk``."""
        return self.group.rank * -(-len(parameter) // self.group.world)

    def _release(self) -> None:
        # A pass without a backward pass leaves the weights of the root gathered, and the next would not see the shards.
        for module in self._modules:
            module.reshard()


def _local(tensor: Any) -> Tensor:
    own: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return own


def _mesh(parameters: list[Any]) -> Any:
    """The mesh on which all parameters are divided along their first axis."""
    from torch.distributed.tensor import (
        Shard,
    )  # takes a second, and whoever has such parameters has it already

    plain = [p for p in parameters if sharded_by(p) is None]
    if plain:
        raise InputError(
            f"{len(plain)} of {len(parameters)} parameters, such as one of shape {tuple(plain[0].shape)}, are not "
            f"sharded, and the others are: {_WAY_OUT}"
        )
    mesh = parameters[0].device_mesh
    for parameter in parameters:
        if parameter.device_mesh != mesh or mesh.ndim != 1 or tuple(parameter.placements) != (Shard(0),):
            raise InputError(
                f"a parameter of shape {tuple(parameter.shape)} lies as {tuple(parameter.placements)} on "
                f"{parameter.device_mesh}, and a sharpness-aware step needs Shard(0) on one mesh of one dimension: "
                f"{_WAY_OUT}"
            )
    return mesh


def _sharded_modules(model: nn.Module | None) -> list[Any]:
    from torch.distributed.fsdp import FSDPModule  # as above

    modules = [] if model is None else [m for m in model.modules() if isinstance(m, FSDPModule)]
    if not modules:
        raise InputError(
            "the parameters are sharded (DTensor), and a step has to release the weights that the network gathers: "
            f"pass the network of fully_shard, as in SAM(base, model=model); otherwise {_WAY_OUT}"
        )
    return modules
