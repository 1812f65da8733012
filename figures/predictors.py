"""Which measure predicts generalisation: Kendall's τ over all networks, and within one changed hyper-parameter.

The networks and numbers are those of ``figures/reproductions/predictors.py``, whose docstring is the protocol.
"""

import runpy
import subprocess
import sys

from gallery import HERE, Data, main
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from landscape.plotting.page import legend_above, page, settle
from landscape.plotting.style import paper

NAME = STUDY = "predictors"
COLUMNS = {"all": "τ, all networks", "within": "Ψ, one changed", "lr": "τ without the learning rate"}
TITLES = {"digits": "digits", "mnist": "MNIST"}


def recompute() -> Data:
    """Runs the study on the digits, or continues it, and takes the coefficients of all its committed records."""
    script = HERE / "reproductions" / f"{STUDY}.py"
    subprocess.run([sys.executable, str(script), "--recompute"], check=True)
    sys.path.insert(0, str(script.parent))
    study = runpy.run_path(str(script))  # of the same name as this file, so that it cannot be imported
    from study import records_of

    found: Data = {}
    for record in records_of(study["STUDY"]):
        for name, of in study["correlations"](record).items():
            numbers = {key: [of[key].tau, of[key].low, of[key].high] for key in COLUMNS}
            found.setdefault(record["setup"], {})[study["MEASURES"][name]] = numbers
    return found


def draw(data: Data) -> Figure:
    """A row a measure, the one with the strongest Ψ on top; a panel for each data set."""
    order = sorted(next(iter(data.values())), key=lambda name: _strength(data, name))
    with paper():
        figure, axes = page(len(data), venue="neurips", width="text", shape=1.25)
        for ax, (setup, found) in zip(axes, data.items(), strict=True):
            for place, name in enumerate(order):
                coefficients = found[name]
                tau, low, high = coefficients["within"]
                ax.plot([low, high], [place, place], color="black", linewidth=0.8)
                ax.plot(tau, place, "o", color="black", markersize=3)
                ax.plot(coefficients["all"][0], place, "s", color="#4292c6", markersize=3, fillstyle="none")
                ax.plot(coefficients["lr"][0], place, "x", color="#a63603", markersize=3)
            ax.axvline(0, color="0.6", linewidth=0.6, zorder=0)
            ax.set(xlabel="correlation with the loss gap", title=TITLES.get(setup, setup), xlim=(-1, 1))
            ax.set_yticks(range(len(order)), order if ax is axes[0] else [""] * len(order))
        keys = [
            Line2D([], [], marker="s", linestyle="", color="#4292c6", markersize=3, fillstyle="none"),
            Line2D([], [], marker="o", color="black", linewidth=0.8, markersize=3),
            Line2D([], [], marker="x", linestyle="", color="#a63603", markersize=3),
        ]
        for key, label in zip(keys, COLUMNS.values(), strict=True):
            key.set_label(label)
        legend_above(figure, keys)
        return settle(figure)


def _strength(data: Data, name: str) -> float:
    """|Ψ|, the mean over the data sets; what has none comes last."""
    values = [
        abs(found[name]["within"][0]) for found in data.values() if found[name]["within"][0] is not None
    ]
    return sum(v if v == v else 0.0 for v in values) / max(len(values), 1)


if __name__ == "__main__":
    main(NAME, draw, recompute)
