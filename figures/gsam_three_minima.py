"""Three minima whose perturbed losses are ordered otherwise than their sharpness: Zhuang et al. 2022, section 3.2.

The sharpest minimum is so deep that its perturbed loss f_p is below that of the second; the surrogate gap h orders all
three as the second derivative does. The function is chosen, everything else is computed from it.
"""

import numpy as np
from gallery import Data, main
from matplotlib.figure import Figure
from numpy.typing import NDArray

from landscape.plotting.page import legend_above, page, settle
from landscape.plotting.style import paper

NAME = "gsam_three_minima"
RHO = 0.2
WELLS = ((-2.0, 1.0, 0.22), (0.0, 0.55, 0.35), (2.2, 0.75, 0.8))
"""Centre, depth and width of each."""


def recompute() -> Data:
    """The function and its maximum within ρ on a grid; its minima, with their eigenvalue by `measure`."""
    import torch

    from landscape import BatchLoss, Objective, measure

    class Point(torch.nn.Module):
        def __init__(self, place: float) -> None:
            super().__init__()
            self.place = torch.nn.Parameter(torch.tensor([place], dtype=torch.float64))

        def forward(self, _: torch.Tensor) -> torch.Tensor:
            return self.place

    def loss(model: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
        place = model(batch)[0]
        wells = [
            depth * torch.exp(-((place - centre) ** 2) / (2 * width**2)) for centre, depth, width in WELLS
        ]
        return 1.2 - sum(wells[1:], wells[0])

    fine = np.linspace(-3.4, 4.4, 7801)
    values = _function(fine)
    reach = round(RHO / (fine[1] - fine[0]))
    highest = np.array([values[max(k - reach, 0) : k + reach + 1].max() for k in range(len(fine))])
    lowest = [k for k in range(1, len(fine) - 1) if values[k] < min(values[k - 1], values[k + 1])]
    minima = []
    for k in lowest:
        objective = Objective(Point(float(fine[k])), BatchLoss(loss), [torch.zeros(1)])
        [eigenvalue] = measure(objective, ["dominant-eigenvalue:method=power"])
        minima.append(
            {
                "w": float(fine[k]),
                "loss": objective.loss,
                "perturbed": float(highest[k]),
                "gap": float(highest[k] - values[k]),
                "eigenvalue": eigenvalue.value,
            }
        )
    return {
        "w": fine[::20].tolist(),
        "loss": values[::20].tolist(),
        "perturbed": highest[::20].tolist(),
        "minima": minima,
    }


def _function(place: NDArray[np.float64]) -> NDArray[np.float64]:
    wells = [depth * np.exp(-((place - centre) ** 2) / (2 * width**2)) for centre, depth, width in WELLS]
    return np.asarray(1.2 - sum(wells), dtype=np.float64)


def draw(data: Data) -> Figure:
    """The loss, the perturbed loss, and the gap at each minimum between them."""
    names = ("loss f", "perturbed loss fₚ")
    looks = ({"color": "black"}, {"color": "#E66100", "linestyle": (0, (3.5, 1.5))})
    with paper():
        figure, (ax,) = page(1, venue="neurips", width="text", shape=0.5)
        for name, key, look in zip(names, ("loss", "perturbed"), looks, strict=True):
            ax.plot(data["w"], data[key], label=name, **look)
        for index, minimum in enumerate(data["minima"], start=1):
            ax.annotate(
                "",
                (minimum["w"], minimum["perturbed"]),
                (minimum["w"], minimum["loss"]),
                arrowprops={
                    "arrowstyle": "|-|,widthA=0.2,widthB=0.2",
                    "linewidth": 0.8,
                    "shrinkA": 0,
                    "shrinkB": 0,
                },
            )
            ax.annotate(
                f"$w_{index}$: h = {minimum['gap']:.2g}\nσ = {minimum['eigenvalue']:.2g}",
                (minimum["w"], minimum["loss"]),
                xytext=(0, -4),
                textcoords="offset points",
                ha="center",
                va="top",
                fontsize=7,
            )
        ax.set(xlabel="w", ylabel="loss", ylim=(-0.2, 1.3), xlim=(data["w"][0], data["w"][-1]))
        legend_above(figure, ax.get_lines())
        return settle(figure)


if __name__ == "__main__":
    main(NAME, draw, recompute)
