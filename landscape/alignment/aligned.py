"""A network with its hidden units permuted so that it is close to another one, and the same function as before."""

import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from landscape.alignment.axes import Order
from landscape.alignment.recording import Symmetries, symmetries
from landscape.alignment.weight_matching import Weights, weight_matching
from landscape.errors import InputError, UsageError
from landscape.isolation.modes import outside_modes
from landscape.losses.outputs import applied, labelled
from landscape.objective import Batch, BatchLoss, Objective, Risk
from landscape.objective.batch import mapped, rows_in, rows_of
from landscape.registry.bounds import Seed

_EXAMPLES = 16  # of the first batch, on which the permuted network has to return what it did
_TOLERANCE = {
    torch.float32: 1e-4,
    torch.float64: 1e-9,
}  # of the largest output: sums in another order, and no more


@dataclass(frozen=True, eq=False)
class Alignment:
    """The second of two networks, aligned to the first.

    Attributes:
        objective: Its objective, on the data that it had.
        network: The permuted network; a copy.
        permutations: For each set of units that are permuted alike, under the name of the first tensor that has them
            and the dimension there: entry i is the unit of the second network that takes place i.
        distances: ``‖θ_a − θ_b‖`` over all parameters, before and after.
        held: Why other units stay in place, a line for each reason.
        settings: The arguments, with the start that was best and its number of sweeps.
    """

    objective: Objective
    network: nn.Module
    permutations: Mapping[str, NDArray[np.intp]]
    distances: tuple[float, float]
    held: tuple[str, ...]
    settings: Mapping[str, int]

    @property
    def moved(self) -> tuple[int, int]:
        """How many units changed their place, and how many could have."""
        pairs = [(int((p != np.arange(len(p))).sum()), len(p)) for p in self.permutations.values()]
        return sum(moved for moved, _ in pairs), sum(size for _, size in pairs)

    def describe(self) -> dict[str, object]:
        """The alignment without its permutations, JSON-serialisable."""
        moved, units = self.moved
        return {
            "method": "weight matching",
            "moved": moved,
            "units": units,
            "groups": len(self.permutations),
            "distances": dict(zip(("before", "after"), self.distances, strict=True)),
            "held": list(self.held),
            "settings": dict(self.settings),
        }


@outside_modes()
def align(reference: Objective, other: Objective, *, restarts: int = 0, seed: Seed = 0) -> Alignment:
    """Permutes the hidden units of a network so that its weights are as close as possible to those of a reference.

    Which dimensions of which weights are permuted together is found from one forward pass of ``other``: layers of all
    kinds, batch-norm statistics, residual sums, flattening, groups of convolutions and heads of attention. Units that
    an unknown operation reads stay in place, which :attr:`Alignment.held` says. The permuted network is compared with
    what it was on a batch. Neither objective is changed.

    Args:
        reference: The network that stays as it is.
        other: The network that is permuted, of the same architecture.
        restarts: Random starts of the descent beside the two that are always tried; see
            :func:`landscape.alignment.weight_matching.weight_matching`.
        seed: Of these starts and of the orders of the descent.

    Raises:
        InputError: No unit can be permuted, and which layer is the reason; the networks are different ones; or the
            permuted network does not return the same outputs.
        UsageError: Weights that are divided over processes, or a negative number of restarts.

    Reference:
        Ainsworth, Hayase and Srinivasa, "Git Re-Basin: merging models modulo permutation symmetries", 2023,
        arXiv:2209.04836.
    """
    if restarts < 0:
        raise UsageError(f"restarts={restarts} must be at least 0")
    if not other.shards.group.alone:
        raise UsageError(
            "weights that are divided over processes cannot be aligned; leave out --shard-weights"
        )
    mine, theirs = _looked_at(reference, follow=False), _looked_at(other)
    shapes = [{n: tuple(t.shape) for n, t in each.tensors.items()} for each in (mine, theirs)]
    if shapes[0] != shapes[1]:
        name = next(n for n in (*shapes[0], *shapes[1]) if shapes[0].get(n) != shapes[1].get(n))
        raise InputError(
            f"'{name}' has the shape {shapes[0].get(name, 'of nothing')} in the first network and "
            f"{shapes[1].get(name, 'of nothing')} in the second: they are different networks, and cannot be aligned"
        )
    found = theirs.symmetries
    if not found.free:
        kind = type(theirs.network).__name__
        why = found.held[0] if found.held else "there is nothing between its inputs and its outputs"
        raise InputError(
            f"the hidden units of {kind} cannot be permuted, so that it cannot be aligned: {why}"
        )
    ours, before = mine.numbers(), theirs.numbers()
    weights = Weights([(ours[name], before[name], found.axes[name]) for name in ours], list(found.free))
    matching = weight_matching(weights, restarts=restarts, seed=seed)
    for name, tensor in theirs.tensors.items():
        tensor.data = _reordered(tensor.data, [axis.order(matching.orders) for axis in found.axes[name]])
    aligned = other.of(theirs.network)
    _require_same(theirs.outputs, _looked_at(aligned, follow=False).outputs, other.point.dtype, found)
    after = theirs.numbers()
    squares = [[float(np.vdot(d, d)) for d in (ours[n] - w[n] for n in ours)] for w in (before, after)]
    return Alignment(
        objective=aligned,
        network=theirs.network,
        permutations={name: matching.orders[leaf] for leaf, name in found.free.items()},
        distances=(sum(squares[0]) ** 0.5, sum(squares[1]) ** 0.5),
        held=found.held,
        settings={"restarts": restarts, "seed": seed, "start": matching.start, "sweeps": matching.sweeps},
    )


@dataclass(frozen=True)
class _Look:
    """A copy of a network, its outputs on a few examples, and which units may be permuted, if that was asked for."""

    network: nn.Module
    outputs: Any
    symmetries: Symmetries

    @property
    def tensors(self) -> dict[str, Tensor]:
        return dict(itertools.chain(self.network.named_parameters(), self.network.named_buffers()))

    def numbers(self) -> dict[str, NDArray[np.float64]]:
        """Its parameters."""
        parameters = self.network.named_parameters()
        return {name: np.asarray(tensor.detach().cpu().double().numpy()) for name, tensor in parameters}


def _looked_at(objective: Objective, *, follow: bool = True) -> _Look:
    """The network at the objective's point, on the first examples of its data."""
    results: list[_Look] = []

    def first(risk: Risk, batch: Batch) -> list[Tensor]:
        few = batch if rows_in(batch) is None else rows_of(batch, slice(0, _EXAMPLES))
        # Its own tensors, as operations are followed by the identities of these.
        few = mapped(few, torch.clone)
        model, forward = risk.replica.model, partial(_outputs, risk, few)
        with torch.set_grad_enabled(risk.checks.differentiates), risk.randomness():
            # Before the outputs, as batch norm in training mode writes to its statistics.
            network = copy.deepcopy(model)
            found = symmetries(model, forward, few) if follow else Symmetries({}, {}, ())
            results.append(_Look(network, forward(), found))
        return [torch.zeros((), dtype=torch.float32, device=objective.point.device)]

    next(objective.per_batch()).average(first)
    return results[0]


def _outputs(risk: Risk, batch: Batch) -> Any:
    """The outputs of the network, or the loss of a :class:`BatchLoss`."""
    if isinstance(risk.loss, BatchLoss):
        loss, outputs, _ = risk.forward(batch)
        return loss if outputs is None else outputs
    return applied(risk.replica.model, labelled(batch)[0])


def _reordered(tensor: Tensor, orders: Sequence[Order]) -> Tensor:
    for dimension, order in enumerate(orders):
        tensor = tensor.index_select(dimension, torch.as_tensor(order, device=tensor.device))
    return tensor


def _require_same(before: Any, after: Any, dtype: torch.dtype, found: Symmetries) -> None:
    """Raises :class:`InputError` if the permuted network returns something else."""
    for old, new in zip(_floats(before), _floats(after), strict=True):
        size, apart = float(old.abs().max()), float((old - new).abs().max())
        if not apart <= _TOLERANCE.get(dtype, 1e-4) * size:
            raise InputError(
                f"the permuted network does not return the same outputs (they differ by {apart:.3g}, of at most "
                f"{size:.3g}): it does something with its units that a forward pass does not show, and cannot be "
                f"aligned; the units permuted begin with those of {next(iter(found.free.values()))}"
            )


def _floats(outputs: Any) -> list[Tensor]:
    if isinstance(outputs, Tensor):
        return [outputs] if outputs.is_floating_point() and outputs.numel() else []
    if isinstance(outputs, Mapping):
        outputs = list(outputs.values())
    return [t for each in outputs for t in _floats(each)] if isinstance(outputs, (list, tuple)) else []
