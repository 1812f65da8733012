"""Stochastic gradient norms under SGD and SAM, and whether they are normal: Jiang et al. 2023, Fig. 1 and 2(b)."""

import tempfile
from pathlib import Path

import numpy as np
from gallery import Data, main
from matplotlib.figure import Figure

from landscape.plotting.history import Curve, history
from landscape.plotting.page import legend_above, page, settle
from landscape.plotting.quantiles import quantile_plot
from landscape.plotting.series import Series
from landscape.plotting.style import paper

NAME = "ae_sam_gradient_norms"
OPTIMIZERS = {"SGD": "sgd", "SAM": "sam:rho=0.1"}
SHOWN = (4, 40)


def recompute() -> Data:
    """Trains both and takes the gradient of every batch of 16 training examples, every second epoch."""
    from landscape import records, train
    from landscape.training import Measuring, Recipe

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for title, optimizer in OPTIMIZERS.items():
            run = train(
                Recipe(optimizer=optimizer, epochs=40, device="cpu"),
                output=Path(folder) / title,
                measuring=Measuring(every=2, names=("gradient-noise",), limit=2048, batch_size=16),
            )
            taken = [
                estimate
                for estimate in records.read(run.path / "measures-history.jsonl").estimates
                if estimate.provenance.split == "train"
            ]
            found[title] = {
                "epochs": list(range(2, 41, 2)),
                "value": [estimate.value for estimate in taken],
                "error": [estimate.standard_error for estimate in taken],
                "qq": {str(e): taken[e // 2 - 1].details["qq"] for e in SHOWN},
                "p": {str(e): taken[e // 2 - 1].details["normality_p"] for e in SHOWN},
                "skewness": {str(e): taken[e // 2 - 1].details["skewness"] for e in SHOWN},
            }
    return found


def draw(data: Data) -> Figure:
    """The mean over training, with a band of two standard errors; then Q–Q plots early and at the end."""
    looks = Series(data)
    with paper():
        figure, (mean, *spreads) = page(1 + len(SHOWN), venue="neurips", width="text", shape=1.0)
        curves = [
            Curve(
                label=title,
                split="train",
                x=np.array(found["epochs"], dtype=np.float64),
                y=np.array(found["value"]),
                error=np.array(found["error"]),
            )
            for title, found in data.items()
        ]
        history(curves, ax=mean, ylabel="E‖∇L(B)‖²", series=looks)
        for ax, epoch in zip(spreads, map(str, SHOWN), strict=True):
            for title, found in data.items():
                # Divided by the mean, so that two optimizers fit on one pair of axes.
                ordered = np.array(found["qq"][epoch]["ordered"])
                quantile_plot(
                    found["qq"][epoch]["theoretical"],
                    ordered / ordered.mean(),
                    ax=ax,
                    colour=looks[title].colour,
                    marker=looks[title].marker,
                    quantity="‖∇L(B)‖² / mean",
                )
            ax.set_title(f"epoch {epoch}")
        legend_above(figure, looks.keys())
        return settle(figure)


if __name__ == "__main__":
    main(NAME, draw, recompute)
