"""The surrogate gap against the dominant eigenvalue, h ≈ ½σρ²: Zhuang et al. 2022, lemma 3.3, on the digits."""

import tempfile
from pathlib import Path

import numpy as np
from gallery import Data, main
from matplotlib.figure import Figure

from landscape.plotting.page import legend_above, log_axis, page, settle
from landscape.plotting.series import Series
from landscape.plotting.style import paper

NAME = "gsam_gap_eigenvalue"
RHO = 0.05
OPTIMIZERS = ("sgd", "sam:rho=0.05", "sam:rho=0.2", "gsam:rho=0.1", "cr-sam:rho=0.1")
SEEDS = (0, 1, 2)


def recompute() -> Data:
    """Trains to the end, then takes eigenvalue, gradient and gap on the training set."""
    from landscape import load_checkpoint, measure, train
    from landscape.measures.approximation_ratio import rises
    from landscape.training import Recipe

    found: Data = {}
    with tempfile.TemporaryDirectory() as folder:
        for optimizer in OPTIMIZERS:
            for seed in SEEDS:
                recipe = Recipe(optimizer=optimizer, seed=seed, epochs=40, device="cpu", label_smoothing=0.1)
                run = train(recipe, output=Path(folder) / f"{optimizer}-{seed}".replace(":", "-"))
                objective = load_checkpoint(run.checkpoint).objective("train")
                names = ["gradient-norm", "dominant-eigenvalue:method=lanczos", f"surrogate-gap:rho={RHO}"]
                norm, eigenvalue, gap = measure(objective, names)
                found.setdefault(optimizer, []).append(
                    {
                        "seed": seed,
                        "gradient_norm": norm.value,
                        "eigenvalue": eigenvalue.value,
                        "gap": gap.value,
                        "highest": rises(objective, rho=RHO, steps=20)[1],
                    }
                )
    return found


def draw(data: Data) -> Figure:
    """A dot a network, and the line of the lemma."""
    looks = Series(data)
    with paper():
        figure, (ax,) = page(1, venue="icml", width="column", shape=0.9)
        every = [point for points in data.values() for point in points]
        for optimizer, points in data.items():
            ax.plot(
                [point["eigenvalue"] for point in points],
                [point["highest"] for point in points],
                looks[optimizer].marker,
                color=looks[optimizer].colour,
                markersize=3.5,
                fillstyle="none",
                markeredgewidth=0.8,
            )
        eigenvalues = np.array([point["eigenvalue"] for point in every])
        ends = np.array([eigenvalues.min() / 1.2, eigenvalues.max() * 1.2])
        ax.plot(ends, ends * RHO**2 / 2, color="0.35", linewidth=0.8, zorder=0)
        log_axis(ax.xaxis, eigenvalues)
        log_axis(ax.yaxis, np.array([point["highest"] for point in every]))
        ax.set(xlabel="dominant eigenvalue σ (loss/θ²)", ylabel=f"gap h, ρ = {RHO} (loss)")
        legend_above(figure, looks.dots())
        return settle(figure)


if __name__ == "__main__":
    main(NAME, draw, recompute)
