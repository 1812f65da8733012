"""The spectra of the blocks of a network as small panels, and the distances between them as a matrix."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from landscape.plotting.page import page, settle
from landscape.plotting.spectrum import spectrum
from landscape.plotting.style import Width, paper

MOST_DENSITIES = 11
"""Of more blocks, some are drawn, evenly spaced; the matrix has all."""
_LONGEST = 32  # characters of a title


def block_panels(details: Mapping[str, Any], *, venue: str, width: Width, unit: str = "loss/θ²") -> Figure:
    """A density a panel, all on the same axes, and the matrix of the Jensen–Shannon distances.

    Args:
        details: Those of the measure ``block-spectra``.
        venue: A name in :data:`landscape.registry.venues.VENUES`.
        width: ``column`` or ``text``.
        unit: Unit of the eigenvalues.
    """
    names = list(details["blocks"])
    shown = drawn_blocks(len(names))
    numbered = [f"{k + 1}: {_short(names[k])}" for k in shown]
    with paper():
        figure, axes = page(len(shown) + 1, venue=venue, width=width, titles=[*numbered, "distance"])
        for ax, k in zip(axes, shown, strict=False):
            errors = details["density_errors"]
            spectrum(
                details["grid"],
                details["densities"][k],
                None if errors is None else errors[k],
                ax=ax,
                unit=unit,
            )
            ax.xaxis.set_major_locator(MaxNLocator(3))
        _share(axes[: len(shown)])
        _matrix(axes[-1], details["distances"])
        return settle(figure)


def drawn_blocks(count: int) -> Sequence[int]:
    """The numbers of the blocks that get a panel."""
    spaced = np.linspace(0, count - 1, min(count, MOST_DENSITIES))
    return [int(number) for number in spaced.round()]


def _share(axes: Sequence[Axes]) -> None:
    """The same limits for all panels, and labels at the edges of the page alone."""
    lowest, highest = min(ax.get_ylim()[0] for ax in axes), max(ax.get_ylim()[1] for ax in axes)
    for ax in axes:
        ax.set_ylim(lowest, highest)
        place = ax.get_subplotspec()
        if place is not None and not place.is_first_col():
            ax.set_ylabel("")
            ax.tick_params(labelleft=False)
        ax.set_xlabel("eigenvalue")


def _matrix(ax: Axes, distances: Sequence[Sequence[float]]) -> None:
    values = np.asarray(distances, dtype=np.float64)
    half = len(values) + 0.5
    top = max(
        float(values.max()), 0.05
    )  # below that, distances are hardly more than the noise of the densities
    image = ax.imshow(values, vmin=0, vmax=top, cmap="viridis", extent=(0.5, half, half, 0.5))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(4, integer=True))
    ax.set(xlabel="block", ylabel="block")
    # Inside the room that a square leaves beside it, so that the columns of panels stay evenly spaced.
    bar = ax.figure.colorbar(image, cax=ax.inset_axes((1.06, 0, 0.07, 1)))
    bar.locator = MaxNLocator(3)
    bar.update_ticks()


def _short(name: str) -> str:
    """The end of a long name, which tells blocks apart."""
    return name if len(name) <= _LONGEST else f"…{name[1 - _LONGEST :]}"
