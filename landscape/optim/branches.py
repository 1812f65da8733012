"""Two processes with the same batch, each of which computes one of the two gradients of a step that do not depend on
each other, at the same time.

One exchange a step adds up what each contributes to the direction. With it go the losses, whether a process failed, and
what shows that both have the same batch and draw the same dropout masks, so that nothing else has to be exchanged.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from landscape.errors import UsageError
from landscape.optim.flat_parameters import FlatParameters
from landscape.optim.gradients_at import GradientsAt, NotFiniteError
from landscape.optim.vector import HALF
from landscape.processes.group import ALONE, Group
from landscape.reductions import exact_dtype

_FINE, _NOT_FINITE, _FAILED = range(3)
# Losses of one batch at one point differ by rounding, far less than those of two batches.
_SAME = 1e-3


class Branches:
    """The two processes of a step with two branches: rank 0 takes the first branch, rank 1 the second.

    Args:
        process_group: torch's handle of the two; ``None`` for its default group.
        flat: The parameters.
        model: The network, which must not exchange anything between the two; ``None`` where it is not known.

    Raises:
        UsageError: These are not two processes, or the network mixes what they compute.
    """

    def __init__(self, process_group: Any, model: nn.Module | None, flat: FlatParameters) -> None:
        is_joined = dist.is_available() and dist.is_initialized()
        world = dist.get_world_size(process_group) if is_joined else 1
        if world != 2:  # -1 for a process that is not in the group
            seen = f"the group has {world}" if world >= 0 else "this one is not in the group"
            raise UsageError(
                f"branches='parallel' needs two processes with the same batch, and {seen}; start two, as by torchrun "
                "--nproc-per-node 2, or pass process_group=torch.distributed.new_group([0, 1]) to these two"
            )
        self.group = Group(dist.get_rank(process_group), world, process_group)
        if flat.group is not ALONE:
            raise UsageError(
                "branches='parallel' needs the whole network in each of the two processes, and its parameters are "
                "sharded; use branches='serial'"
            )
        _refuse_exchanges(model, set(dist.get_process_group_ranks(process_group)))
        self._shapes: list[bool] = []

    @contextmanager
    def step(self, gradients_at: GradientsAt, weights: Tensor, *, meetings: Sequence[bool]) -> Iterator[None]:
        """A context for the passes of a step; an exception in one process is raised in the other as well.

        Args:
            gradients_at: The passes.
            weights: A vector like those that are added.
            meetings: For each call of :meth:`meet` in the step, whether a vector is added in it.

        Raises:
            NotFiniteError: A gradient of the other process was not finite.
            UsageError, InputError, OutOfMemory, ProcessFailed: The other process failed.
        """
        self._gradients_at, self._shapes = gradients_at, list(meetings)
        try:
            yield
        except Exception as failure:
            if self._shapes:  # the other one waits for this one, or will
                vector = torch.zeros_like(weights) if self._shapes[0] else None
                self._exchange(vector, [], failure)
            raise

    def meet(self, vector: Tensor | None = None) -> None:
        """Replaces the vector ``(n,)`` by the sum of those of both processes, after the passes of both.

        The first meeting of a step also makes the losses those of both: at the weights, of the first branch, of the
        second.

        Raises:
            UsageError: The processes have different batches or draw different random numbers.
        """
        losses = self._gradients_at.losses
        rows = self._exchange(vector, losses, None)
        if len(losses) > 2:
            return
        if rows[0][3] != rows[1][3]:  # before the losses, which differ too then
            raise UsageError(
                "the network draws random numbers, such as dropout masks, and the two processes of branches='parallel' "
                "would draw different ones; call torch.manual_seed with the same seed in both before the first step"
            )
        here, other = rows[0][0], rows[1][0]
        if abs(here - other) > _SAME * max(1.0, abs(here)):
            raise UsageError(
                "branches='parallel' needs the same batch and the same weights in both processes, and their losses "
                f"are {here:.6g} and {other:.6g}; give both the same data in the same order, and the same "
                "initial weights"
            )
        losses[:] = [losses[0].new_tensor(value) for value in (here, rows[0][1], rows[1][1])]

    def _exchange(
        self, vector: Tensor | None, losses: Sequence[Tensor], failure: Exception | None
    ) -> list[list[float]]:
        """One row of numbers of each process: two losses, its state, and a mark of its random numbers."""
        self._shapes.pop(0)
        flat = self._gradients_at.flat
        state = _FINE if failure is None else _FAILED
        if isinstance(failure, NotFiniteError) or (failure is None and self._gradients_at.is_bad()):
            state = _NOT_FINITE
        # In the precision of the vector, so that both travel together.
        dtype = exact_dtype(flat.device) if vector is None or vector.dtype in HALF else vector.dtype
        rows = torch.zeros(2, 4, dtype=dtype, device=flat.device)
        for column, loss in enumerate(losses[:2]):
            rows[self.group.rank, column] = loss
        rows[self.group.rank, 2], rows[self.group.rank, 3] = state, self._gradients_at.random_mark()
        self.group.add([rows] if vector is None else [vector, rows])
        numbers: list[list[float]] = rows.tolist()
        states = [row[2] for row in numbers]
        if _FAILED in states:
            self._shapes.clear()
            self.group.agree(failure if state == _FAILED else None)
        if _NOT_FINITE in states:
            self._shapes.clear()
            raise NotFiniteError("a gradient is not finite")
        return numbers


def _refuse_exchanges(model: nn.Module | None, pair: set[int]) -> None:
    """Raises a :class:`UsageError` for a network whose passes would mix the two branches."""
    if isinstance(model, DistributedDataParallel) and pair <= _members(model.process_group):
        raise UsageError(
            "branches='parallel' has the two processes compute different gradients of one batch, which "
            "DistributedDataParallel over both would average; pass the bare network, or wrap it in a group without the "
            "other process of the pair"
        )
    for module in () if model is None else model.modules():
        if isinstance(module, nn.SyncBatchNorm) and pair <= _members(module.process_group):
            raise UsageError(
                "branches='parallel' has the two processes at different weights, whose batch statistics SyncBatchNorm "
                "would mix; use BatchNorm, which sees the same batch in both"
            )


def _members(process_group: Any) -> set[int]:
    return set(dist.get_process_group_ranks(process_group))
