"""What a small language model forgets, and what rounding costs it: after Watts et al. 2026 (arXiv 2605.02105).

The numbers are those of ``figures/reproductions/sam_forgetting.py``, whose docstring is the protocol.
"""

import json
import subprocess
import sys

import numpy as np
from gallery import HERE, Data, main
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from landscape.plotting.page import legend_above, log_axis, page, settle
from landscape.plotting.series import COLOURS
from landscape.plotting.style import paper

NAME = "fine_tuning"
STUDY = "sam_forgetting"
BLOCKS = ("embeddings", "attention", "perceptrons", "head")
MORE, TUNED = "pre-training continued by ", "fine-tuned by "
OPTIMIZERS = {
    "SGD": (COLOURS["sgd"], "o"),
    "SAM": (COLOURS["sam"], "s"),
    "AdamW": (COLOURS["adamw"], "^"),
    "SAM-AdamW": (COLOURS["gsam"], "D"),
    "SAM-AdamW, then AdamW": (COLOURS["looksam"], "v"),
}
TWICE = ", gradients of SAM"


def recompute() -> Data:
    """Runs the study, or continues it, and takes the results of its record."""
    script = HERE / "reproductions" / f"{STUDY}.py"
    subprocess.run([sys.executable, str(script), "--recompute"], check=True)
    record = HERE / "data" / "reproductions" / f"{STUDY}-text.json"
    results: Data = json.loads(record.read_text(encoding="utf-8"))["results"]
    return results


def draw(data: Data) -> Figure:
    """Forgetting over the loss on B, the rise by rounding, and eigenvalues by block, a mark a seed."""
    plain = f"{MORE}AdamW"
    tuned = {
        "AdamW": f"{plain}, then {TUNED}AdamW",
        **{name: f"{TUNED}{name}" for name in ("SAM-AdamW", "SGD", "SAM")},
        **{f"{name}{TWICE}": f"{TUNED}{name}{TWICE}" for name in ("AdamW", "SGD")},
    }
    continued = {name: f"{MORE}{name}" for name in ("AdamW", "SAM-AdamW", f"AdamW{TWICE}")}
    with paper():
        figure, (forgotten, coarse, sharp) = page(3, venue="neurips", width="text", shape=1.05)
        sharper = {"SAM-AdamW, then AdamW": f"{MORE}SAM-AdamW, then {TUNED}AdamW"}
        for name, row in (tuned | sharper).items():
            _marks(forgotten, name, data[row]["loss B"], data[row]["forgetting"])
        forgotten.set(xlabel="loss on B, fine-tuned", ylabel="forgetting (loss on A)")
        for place, (name, row) in enumerate(continued.items()):
            _marks(coarse, name, [place] * len(data[row]["rounding A"]), data[row]["rounding A"])
        for place, (name, row) in enumerate(tuned.items(), start=len(continued) + 1):
            _marks(coarse, name, [place] * len(data[row]["rounding B"]), data[row]["rounding B"])
        coarse.set(ylabel="rise by rounding (loss)", xticks=[1, 6.5], xlim=(-0.7, 9.7))
        coarse.set_xticklabels(["continued,\non A", "fine-tuned,\non B"])
        every = []
        for name, row in continued.items():
            for place, block in enumerate(BLOCKS):
                values = data[row][f"eigenvalue A {block}"]
                every += values
                shift = 0.25 * (list(continued).index(name) - 1)
                _marks(sharp, name, [place + shift] * len(values), values)
        log_axis(sharp.yaxis, np.array(every))
        sharp.set(ylabel="eigenvalue (loss/θ²)", xticks=range(len(BLOCKS)))
        sharp.set_xticklabels(BLOCKS, rotation=30, ha="right", rotation_mode="anchor")
        keys = [
            Line2D([], [], color=c, marker=m, linestyle="", fillstyle="none", markersize=3.5, label=name)
            for name, (c, m) in OPTIMIZERS.items()
        ]
        filled = Line2D([], [], color="0.4", marker="o", linestyle="", markersize=3.5)
        filled.set_label("filled: twice the epochs")
        legend_above(figure, [*keys, filled])
        return settle(figure)


def _marks(ax: Axes, name: str, x: list[float], y: list[float]) -> None:
    colour, marker = OPTIMIZERS[name.removesuffix(TWICE)]
    fill = "full" if name.endswith(TWICE) else "none"
    ax.plot(x, y, marker, color=colour, markersize=3.5, fillstyle=fill, markeredgewidth=0.8, clip_on=False)


if __name__ == "__main__":
    main(NAME, draw, recompute)
