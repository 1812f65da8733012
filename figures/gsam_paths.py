"""The paths of SGD, SAM and GSAM on a toy surface with a sharp and a flat minimum: Zhuang et al. 2022, toy example.

The surface is chosen; the paths are those of the optimizers of `landscape.optim` on it, from the same start.
"""

import numpy as np
from gallery import Data, main
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from landscape.plotting import panels, trajectory
from landscape.plotting.series import colour_of
from landscape.plotting.style import paper
from landscape.records.surface import Surface

NAME = "gsam_paths"
START = (-0.3, 0.5)
STEPS = 400
LEARNING_RATE = 0.05
RHO = 0.15
SHARP, FLAT = (0.0, 0.0, 0.5, 0.2), (1.2, 0.2, 1.2, 1.2)
"""Place, depth and width of the two wells."""
NAMES = ("SGD", "SAM", "GSAM")


def recompute() -> Data:
    """Runs the three optimizers on the surface."""
    import torch

    from landscape.optim import GSAM, SAM

    paths = {}
    for name in NAMES:
        place = torch.nn.Parameter(torch.tensor(START, dtype=torch.float64))
        base = torch.optim.SGD([place], lr=LEARNING_RATE)
        made = {
            "SGD": lambda b: b,
            "SAM": lambda b: SAM(b, rho=RHO),
            "GSAM": lambda b: GSAM(b, rho=RHO, alpha=0.7),
        }
        optimizer = made[name](base)
        path = [list(START)]
        for _ in range(STEPS):

            def closure(optimizer=optimizer, place=place):  # type: ignore[no-untyped-def]
                optimizer.zero_grad()
                value = surface(place[0], place[1], torch.exp)
                value.backward()
                return value

            optimizer.step(closure)
            path.append(place.detach().tolist())
        paths[name] = path
    return {"paths": paths}


def surface(x, y, exp):  # type: ignore[no-untyped-def]
    """The loss at a place, for numbers of any library."""
    wells = [
        depth * exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * width**2)) for a, b, depth, width in (SHARP, FLAT)
    ]
    return 2.0 - wells[0] - wells[1] + 0.05 * ((x - 0.7) ** 2 + y**2)


def draw(data: Data) -> Figure:
    """Contours with the three paths."""
    x, y = np.linspace(-1.0, 2.6, 181), np.linspace(-1.2, 1.8, 151)
    loss = surface(x[None, :], y[:, None], np.exp)
    drawn = Surface(
        x=x,
        y=y,
        loss=loss,
        accuracy=None,
        computed=np.ones_like(loss, dtype=bool),
        meta={"plane": {"labels": ["w₁", "w₂"]}},
    )
    figure = panels([drawn], venue="icml", width="column")
    ax = figure.axes[0]
    # The origin is no checkpoint here.
    ax.lines[0].remove()
    with paper():
        for name, path in data["paths"].items():
            trajectory(np.array(path)[::2], ax=ax, colour=colour_of(name))
            ax.plot(
                *path[-1],
                "*",
                color=colour_of(name),
                markersize=6,
                markeredgecolor="white",
                markeredgewidth=0.4,
                zorder=8,
            )
        keys = [Line2D([], [], color=colour_of(name), marker="*", label=name) for name in NAMES]
        ax.legend(handles=keys, loc="lower right", framealpha=0.9, borderpad=0.3)
    return figure


if __name__ == "__main__":
    main(NAME, draw, recompute)
