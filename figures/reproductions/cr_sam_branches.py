"""CR-SAM's claim about the time of a step whose two gradients are computed at the same time.

The record is written by ``python benchmarks/branches.py --write``. A step by two processes is compared with steps of
SAM and of CR-SAM within each round, in the processor time of the busier process: what a step takes on idle cores, but
for the waiting for the exchange.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from claims import Claim, close_to, ordered

RECORD = Path(__file__).parents[1] / "data" / "cr_sam_branches.json"
TITLE = "CR-SAM: two gradients at the same time"
SOURCE = "Wu, Luo and Wunsch 2024, arXiv 2312.13555, caption of Fig. 3"
COMMAND = "python benchmarks/branches.py --rounds {} --write"
BRANCHES = "CR-SAM, branches in parallel"
Times = Mapping[str, Sequence[float]]


def record() -> Mapping[str, Any]:
    """The committed record."""
    content: Mapping[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return content


def claims(times: Times) -> list[Claim]:
    """The claim on one network, and the same step beside the other use of two processes."""
    ratios = [a / b for a, b in zip(_of(times, BRANCHES), _of(times, "SAM, one process"), strict=True)]
    divided = "CR-SAM, data-parallel"
    milliseconds = {name: [1e3 * value for value in _of(times, name)] for name in (BRANCHES, divided)}
    return [
        close_to(
            "a step of CR-SAM on two processes takes about the time of one of SAM on one",
            "Fig. 3: almost the same as SAM",
            "ratio",
            ratios,
            target=1.0,
            within=0.1,
        ),
        ordered(
            "and less than one of data-parallel CR-SAM on the same two processes (ms)",
            "no such control",
            (BRANCHES, milliseconds[BRANCHES]),
            (divided, milliseconds[divided]),
        ),
    ]


def table(times: Times) -> str:
    """The medians of all steps, by both clocks."""
    lines = ["| | processor time (ms) | wall time (ms) |", "|---|---:|---:|"]
    names = [name.removesuffix(", wall") for name in times if name.endswith(", wall")]
    for name in names:
        values = [1e3 * statistics.median(times[f"{name}, {clock}"]) for clock in ("processor", "wall")]
        cells = [f"{value:.2f}" if value < 100 else f"{value:,.0f}" for value in values]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _of(times: Times, name: str) -> Sequence[float]:
    return times[f"{name}, processor"]
