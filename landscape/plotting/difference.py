"""The difference of two surfaces on one grid, in a diverging colour map whose middle is zero."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from matplotlib.colors import Normalize

from landscape.errors import InputError
from landscape.plotting.scale import Scale, shared_scale
from landscape.records.surface import Surface

DIVERGING = "RdBu_r"
"""The colour map of differences: blue below zero, red above, equally dark at equal distance."""


def difference(first: Surface, second: Surface) -> Surface:
    """The second loss minus the first, point by point; NaN where one of them is not finite.

    Raises:
        InputError: The surfaces are not on one grid.
    """
    if not (np.array_equal(first.x, second.x) and np.array_equal(first.y, second.y)):
        raise InputError(
            f"the surfaces have grids of {first.loss.shape[::-1]} and {second.loss.shape[::-1]} points from "
            f"{first.x[0]:g} and {second.x[0]:g}; a difference needs the same points: sample both in one command"
        )
    with np.errstate(invalid="ignore"):
        loss = second.loss - first.loss
    name = f"difference of {_quantity(first.meta)}"
    return dataclasses.replace(
        second,
        loss=np.where(np.isfinite(loss), loss, np.nan),
        computed=first.computed & second.computed,
        accuracy=None,
        test_loss=None,
        test_accuracy=None,
        gradient_norm=None,
        meta={**second.meta, "loss": name},
    )


def diverging_scale(surface: Surface) -> Scale:
    """Levels and colours as far below zero as above."""
    finite = surface.loss[np.isfinite(surface.loss)]
    furthest = float(np.abs(finite).max()) if finite.size else 1.0
    furthest = furthest or 1.0
    found = shared_scale([surface], norm=Normalize(-furthest, furthest))
    levels = tuple(sorted({-level for level in found.levels} | set(found.levels)))
    return Scale(levels, Normalize(levels[0], levels[-1]), "neither", DIVERGING)


def _quantity(meta: Mapping[str, object]) -> str:
    return str(meta.get("loss", "loss"))
