"""Progressive sharpening and the edge of stability of gradient descent, and that of SAM, GSAM and CR-SAM.

The numbers are those of ``figures/reproductions/edge_of_stability.py``, whose docstring is the protocol; the curves
are of its first seed.
"""

import json
import runpy
import subprocess
import sys

from gallery import HERE, Data, main
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from landscape.plotting.page import legend_above, page, settle
from landscape.plotting.series import colour_of
from landscape.plotting.style import paper

NAME = STUDY = "edge_of_stability"
RUNS = HERE.parent / "runs" / "reproductions"


def recompute() -> Data:
    """Runs the study, or continues it, and takes the curves of its first seed."""
    script = HERE / "reproductions" / f"{STUDY}.py"
    subprocess.run([sys.executable, str(script), "--recompute", "--runs", str(RUNS)], check=True)
    sys.path.insert(0, str(script.parent))
    protocol = runpy.run_path(str(script))  # of the same name as this file, so that it cannot be imported
    edge, rho = protocol["edge"], protocol["RHO"]
    found: Data = {}
    for label, (_, rate) in protocol["ARMS"].items():
        file = RUNS / STUDY / "digits" / f"{label}-0.json".replace("=", "").replace(" ", "-")
        curves = json.loads(file.read_text(encoding="utf-8"))
        values, norms = curves["dominant-eigenvalue"], curves["gradient-norm"]
        found[label] = {
            "rate": rate,
            "rho": rho,
            "step": curves["step"],
            "loss": curves["loss"],
            "eigenvalue": values,
            "edge": [edge(rate, norm) for norm in norms],
        }
    return found


def draw(data: Data) -> Figure:
    """λ₁ over steps beside each threshold: of gradient descent at three rates, and of the three SAMs at one."""
    shades = dict(
        zip(
            [label for label in data if label.startswith("GD")],
            ("#9ecae1", "#4292c6", "#08519c"),
            strict=True,
        )
    )
    with paper():
        figure, (plain, sharp, loss) = page(3, venue="neurips", width="text", shape=0.9)
        for label, colour in shades.items():
            curves = data[label]
            plain.plot(curves["step"], curves["eigenvalue"], color=colour, linewidth=0.9)
            plain.axhline(2 / curves["rate"], color=colour, linewidth=0.6, linestyle="--")
            loss.plot(curves["step"], curves["loss"], color=colour, linewidth=0.9)
        plain.set(
            xlabel="step", ylabel="largest eigenvalue", title="gradient descent, and 2/η", ylim=(0, None)
        )
        names = [label for label in data if label not in shades]
        for label in names:
            curves, colour = data[label], colour_of(label)
            sharp.plot(curves["step"], curves["eigenvalue"], color=colour, linewidth=0.9)
            loss.plot(curves["step"], curves["loss"], color=colour, linewidth=0.9)
        first = data[names[0]]
        sharp.plot(first["step"], first["edge"], color="black", linewidth=0.6, linestyle=":")
        sharp.axhline(2 / first["rate"], color="black", linewidth=0.6, linestyle="--")
        sharp.set(xlabel="step", title=f"SAMs, ρ = {first['rho']:g}, η = {first['rate']:g}", ylim=(0, None))
        loss.set(xlabel="step", ylabel="loss", yscale="log", title="loss")
        keys = [Line2D([], [], color=colour, label=label) for label, colour in shades.items()]
        keys += [Line2D([], [], color=colour_of(name), label=name) for name in names]
        keys += [
            Line2D([], [], color="black", linewidth=0.6, linestyle="--", label="2/η"),
            Line2D([], [], color="black", linewidth=0.6, linestyle=":", label="SAM's own edge"),
        ]
        legend_above(figure, keys)
        return settle(figure)


if __name__ == "__main__":
    main(NAME, draw, recompute)
