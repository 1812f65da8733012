"""The gap and the dominant eigenvalue where SGD, SAM and GSAM end: Zhuang et al. 2022, what its section 4 is for.

A network that has learned more is flatter on the examples that it knows, so both are also compared at the same
training loss: the largest at which one of the three ends, read off each run's own curve.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from claims import Claim, Record, ordered
from setups import CIFAR10, DIGITS, PAPER
from study import Results, Study, Work, main

RHO = 0.05
MEASURES = {"loss": "loss", "surrogate-gap": "h", "dominant-eigenvalue": "λ"}


def compute(work: Work) -> Results:
    """Trains all three and measures on the training set on the way."""
    from landscape import records

    names = ["loss", f"surrogate-gap:rho={RHO}", "dominant-eigenvalue:method=lanczos"]
    every = max(1, work.recipe("sgd", 0).epochs // 10)
    measuring = {"every": every, "names": names, "limit": work.setup.limit}
    curves: dict[str, list[dict[str, list[float]]]] = {}
    for label, optimizer in work.arms.items():
        given = optimizer if label != "SGD" else work.recipe("sgd", 0).base
        for run in work.train(label, given, measuring=measuring):
            taken = records.read(run.path / "measures-history.jsonl").estimates
            curves.setdefault(label, []).append(
                {
                    name: [e.value for e in taken if e.measure == name and e.provenance.split == "train"]
                    for name in MEASURES
                }
            )
    found: Results = {label: {} for label in curves}
    for seed in range(len(work.seeds)):
        level = max(runs[seed]["loss"][-1] for runs in curves.values())
        for label, runs in curves.items():
            for name in MEASURES:
                found[label].setdefault(name, []).append(runs[seed][name][-1])
                matched = _at_loss(runs[seed]["loss"], runs[seed][name], level)
                found[label].setdefault(f"{name} at equal loss", []).append(matched)
    return found


def _at_loss(loss: list[float], values: list[float], level: float) -> Any:
    """The value where the loss falls to ``level`` for the last time, between two measurements in its logarithm."""
    above = [place for place, value in enumerate(loss) if value > level]
    if not above:
        return values[0]
    before = above[-1]
    if before + 1 == len(loss):
        return values[-1]
    ends = np.log([loss[before], loss[before + 1], level])
    share = (ends[0] - ends[2]) / (ends[0] - ends[1])
    return float(values[before] + share * (values[before + 1] - values[before]))


def claims(record: Record) -> Sequence[Claim]:
    """GSAM below SAM below SGD, at the end and at equal loss."""
    found = record["results"]
    rows = []
    for suffix, words in (("", "at the end"), (" at equal loss", "at equal training loss")):
        for name in ("surrogate-gap", "dominant-eigenvalue"):
            for less, more in (("SAM", "SGD"), ("GSAM", "SAM")):
                measure = name + suffix
                pair = (less, found[less][measure]), (more, found[more][measure])
                text = f"{MEASURES[name]} on train, {words}: {less} < {more}"
                rows.append(ordered(text, "claimed in words", *pair))
    return rows


STUDY = Study(
    name="gsam_minima",
    title="GSAM: the gap and the dominant eigenvalue after training",
    source="Zhuang et al. 2022, arXiv 2203.08065, sections 3 and 4",
    compute=compute,
    claims=claims,
    setups={"digits": DIGITS, "cifar10": CIFAR10},
    paper=PAPER,
    arms={
        "cpu": {"SGD": "sgd", "SAM": "sam:rho=0.1", "GSAM": "gsam:rho=0.1,alpha=0.4"},
        "paper": {"SGD": "sgd", "SAM": "sam:rho=0.1", "GSAM": "gsam:rho=0.1,alpha=0.4"},
    },
    columns={
        **MEASURES,
        "surrogate-gap at equal loss": "h at equal loss",
        "dominant-eigenvalue at equal loss": "λ at equal loss",
    },
)

if __name__ == "__main__":
    main(STUDY)
