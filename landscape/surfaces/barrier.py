"""The barrier between two minima: how far the loss rises on a path between them."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from landscape.records.surface import Surface


def barrier(t: NDArray[np.float64], loss: NDArray[np.float64]) -> dict[str, float]:
    """The ``height`` max over t of L(t) − (1 − t) L(0) − t L(1), and ``at``, that t.

    ``t`` and ``loss`` are ``(n,)``, t from 0 to 1. If a loss is not finite, the height is NaN or infinite too.

    Reference:
        Frankle et al. 2020, arXiv:1912.05671, section 2, whose height is above the mean of the two ends; the line
        between them is that of Entezari et al. 2022, arXiv:2110.06296, definition 1.
    """
    rise = loss - (1 - t) * loss[0] - t * loss[-1]
    top = int(np.argmax(rise))
    return {"height": float(rise[top]), "at": float(t[top])}


def with_barrier(surface: Surface) -> Surface:
    """The surface with ``barrier`` in its ``meta``, if it is a complete line between two checkpoints.

    There is one entry for each loss: ``{"loss": {"height": …, "at": …}, "test_loss": …}``. A surface that disagrees
    with a checkpoint has no barrier, nor one of a curve, but ``disagreement``, which says why.
    """
    plane = surface.meta.get("plane")
    if not isinstance(plane, Mapping):
        return surface
    reason = disagreement(surface)
    if reason is not None:
        kept = dict(plane)
        if "curve" in kept:
            kept["curve"] = {name: part for name, part in kept["curve"].items() if name != "barrier"}
        return surface.described(plane=kept, disagreement=reason)
    from_0_to_1 = surface.x[0] == 0 and surface.x[-1] == 1
    if "between" not in plane or not (surface.is_line and surface.complete and from_0_to_1):
        return surface
    losses = {name: loss[0] for name, loss in surface.values.items() if name.endswith("loss")}
    return surface.described(barrier={name: barrier(surface.x, loss) for name, loss in losses.items()})


def disagreement(surface: Surface) -> str | None:
    """The first checkpoint whose own loss the surface does not have, in words; ``None`` if there is none."""
    checks = surface.meta.get("checkpoints")
    for check in checks if isinstance(checks, Sequence) else ():
        if check["agree"] is not False:
            continue
        here, own = check["surface"], check["own"]
        if check.get("held"):
            return (
                f"{check['label']} differs in parameters that are held fixed ({check['held']}), so that the surface "
                f"does not pass through it: at its place it is {here['loss']:.4g}, and its own loss {own['loss']:.4g}"
            )
        name = max(own, key=lambda name: _apart(here[name], own[name]))
        return (
            f"the {name.replace('_', ' ')} of the surface at {check['label']} is {here[name]:.4g}, and that of the "
            f"checkpoint itself {own[name]:.4g}: they differ in something that no direction moves, such as a frozen "
            "weight or a buffer"
        )
    return None


def _apart(a: float, b: float) -> float:
    return math.inf if math.isnan(a) != math.isnan(b) else abs(a - b)
