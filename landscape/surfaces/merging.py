"""The shards of one surface, combined."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from landscape.errors import InputError, UsageError
from landscape.records.surface import Surface
from landscape.surfaces.barrier import with_barrier

# Entries of the meta data that may differ between shards of one surface.
_OF_THE_PROCESS = ("command", "forward", "checkpoints", "disagreement")


def merged(shards: Sequence[Surface]) -> Surface:
    """One surface of several that hold different points of it, identical to that of a single run over all points.

    The shards are made by ``sample_surface(…, shard=(i, n))`` on one grid and one plane; others are refused.
    """
    if not shards:
        raise UsageError("no shards were given; name the files that `landscape surface --shard` wrote")
    first = shards[0]
    empty = np.full(first.loss.shape, np.nan)
    fields = {name: empty.copy() for shard in shards for name in shard.values}
    computed = np.zeros(first.loss.shape, bool)
    for number, shard in enumerate(shards, start=1):
        _refuse_another(first, shard, number)
        both = computed & shard.computed
        for name, field in fields.items():
            values = shard.values.get(name, empty)
            if not np.array_equal(field[both], values[both], equal_nan=True):
                raise InputError(f"shard {number} has another {name} than the shards before at shared points")
            field[shard.computed] = values[shard.computed]
        computed |= shard.computed
    ways = sorted({str(shard.meta.get("forward")) for shard in shards})
    meta = {**first.meta, "forward": " and ".join(ways)} if len(ways) > 1 else first.meta
    arrays: dict[str, Any] = {"accuracy": None, **fields}
    return with_barrier(dataclasses.replace(first, computed=computed, meta=meta, **arrays))


def _refuse_another(first: Surface, shard: Surface, number: int) -> None:
    for axis in ("x", "y"):
        if not np.array_equal(getattr(first, axis), getattr(shard, axis)):
            raise InputError(
                f"shard {number} has other coordinates {axis} than the first; give all the same --points and --span"
            )
    for key in (*first.meta, *shard.meta):
        if key not in _OF_THE_PROCESS and first.meta.get(key) != shard.meta.get(key):
            raise InputError(
                f"shard {number} is of another surface: its {key} differs from the first's; run all shards with the "
                "same command but for --shard i/n"
            )
