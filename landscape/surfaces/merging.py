"""The shards of one surface, put together."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from landscape.errors import InputError, UsageError
from landscape.records.surface import Surface
from landscape.surfaces.barrier import with_barrier

_OF_THE_PROCESS = ("command", "forward", "checkpoints", "disagreement")


def merged(shards: Sequence[Surface]) -> Surface:
    """One surface of several that hold different points of it; the same as one run over all points gives.

    Args:
        shards: Of one grid on one plane, made by ``sample_surface(…, shard=(i, n))``.

    Raises:
        UsageError: None were given.
        InputError: They are of different surfaces, or hold a point with different values.
    """
    if not shards:
        raise UsageError("no shards were given; name the files that `landscape surface --shard` wrote")
    first = shards[0]
    fields = {name: np.full(first.loss.shape, np.nan) for shard in shards for name in shard.values}
    computed = np.zeros(first.loss.shape, bool)
    for number, shard in enumerate(shards, start=1):
        _refuse_another(first, shard, number)
        both = computed & shard.computed
        for name, field in fields.items():
            mine = shard.values.get(name, np.full(first.loss.shape, np.nan))
            if not np.array_equal(field[both], mine[both], equal_nan=True):
                raise InputError(
                    f"shard {number} has another {name} than the shards before it at points they share"
                )
            field[shard.computed] = mine[shard.computed]
        computed |= shard.computed
    ways = sorted({str(shard.meta.get("forward")) for shard in shards})
    meta = {**first.meta, "forward": " and ".join(ways)} if len(ways) > 1 else first.meta
    whole: dict[str, Any] = {"accuracy": None, **fields}
    return with_barrier(dataclasses.replace(first, computed=computed, meta=meta, **whole))


def _refuse_another(first: Surface, shard: Surface, number: int) -> None:
    for axis in ("x", "y"):
        if not np.array_equal(getattr(first, axis), getattr(shard, axis)):
            raise InputError(
                f"shard {number} has other coordinates {axis} than the first: {len(getattr(shard, axis))} against "
                f"{len(getattr(first, axis))} points; run all shards with the same --points and --span"
            )
    kept = [{k: v for k, v in s.meta.items() if k not in _OF_THE_PROCESS} for s in (first, shard)]
    for key in (*kept[0], *kept[1]):
        if kept[0].get(key) != kept[1].get(key):
            raise InputError(
                f"shard {number} is of another surface: its {key} differs from the first's; run all shards with the "
                "same command but for --shard i/n"
            )
