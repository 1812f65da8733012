"""Curvature while SAM trains, on train and on test: Wu et al. 2024, Fig. 1 and 2.

The first measurement is that of the initial weights.

That a curve rises and then falls is asked at the epoch where the mean of the *other* seeds is highest, so that a
maximum over noise is not taken for a rise: there, a seed's value has to be above its first and above its last.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from claims import Claim, Record, digits, ordered, signed
from numpy.typing import NDArray
from setups import CIFAR10, DIGITS, PAPER
from study import Results, Study, Work, main

Array = NDArray[np.float64]
SPLITS = ("train", "test")
TRACE, EIGENVALUE, NORMALIZED = "hessian-trace", "dominant-eigenvalue", "normalized-trace"
RATIO = "approximation-ratio"


def compute(work: Work) -> Results:
    """Trains with SAM and measures before it and every second epoch."""
    from landscape import records

    rho = work.arms["SAM"].partition("rho=")[2]
    names = [
        f"{RATIO}:rho={rho}",
        f"{EIGENVALUE}:method=lanczos",
        f"{TRACE}:tolerance=0.05",
        f"{NORMALIZED}:tolerance=0.05",
    ]
    every = 2 if work.setup.name != "paper" else 10
    measuring = {"every": every, "names": names, "limit": work.setup.limit}
    runs = work.train("SAM", work.arms["SAM"], measuring=measuring)
    found: Results = {"SAM": {}}
    for run in runs:
        taken = records.read(run.path / "measures-history.jsonl").estimates
        first = work.remember(f"{run.path.name}-first", lambda run=run: _before(work, run.recipe, names))
        for name in (RATIO, EIGENVALUE, TRACE, NORMALIZED):
            for split in SPLITS:
                later = [e.value for e in taken if e.measure == name and e.provenance.split == split]
                values = [first[f"{name} {split}"], *later]
                found["SAM"].setdefault(f"{name} {split}", []).append([float(f"{v:.5g}") for v in values])
    return found


def _before(work: Work, recipe: Any, names: Sequence[str]) -> dict[str, float]:
    """The measures of the network that a run starts from."""
    from torch import nn

    from landscape import Objective, measure
    from landscape.data import load_data, subset
    from landscape.models import build_model

    data = load_data(recipe.data)
    model = build_model(recipe.model, classes=data.classes, input_shape=data.input_shape, seed=recipe.seed)
    found = {}
    for split in SPLITS:
        examples, _ = subset(data.split(split), work.setup.limit)
        objective = Objective(model.eval(), nn.CrossEntropyLoss(), examples, batch_size=128)
        found |= {f"{estimate.measure} {split}": estimate.value for estimate in measure(objective, names)}
    return found


def claims(record: Record) -> Sequence[Claim]:
    """Fig. 1: the ratio falls while trace and eigenvalue rise and fall; Fig. 2: C rises, and agrees on both sets."""
    curves = {name: np.array(values) for name, values in record["results"]["SAM"].items()}
    rows = [_falls(curves[f"{RATIO} train"])]
    for name, words in ((TRACE, "Tr H"), (EIGENVALUE, "λ")):
        for split in SPLITS:
            rows += _peaks(curves[f"{name} {split}"], f"{words} on {split}")
    for split in SPLITS:
        c = curves[f"{NORMALIZED} {split}"]
        for start, words in ((0, "than before it"), (1, "than at the first measurement in it")):
            rows.append(
                signed(
                    f"C = Tr H/‖∇L‖ on {split} is larger at the end of training {words}",
                    "Fig. 2(c): continual growth",
                    _ends(c[:, start:]),
                    (c[:, -1] - c[:, start]).tolist(),
                    "positive",
                )
            )
    apart = {name: _apart(curves, name) for name in (TRACE, EIGENVALUE, NORMALIZED)}
    rows += [
        signed(
            f"{words} is larger on test than on train at the end (log₁₀ of the ratio)",
            "Fig. 2: up to 50 times",
            f"ratio {digits(10 ** float(np.mean(apart[name])))}, log₁₀",
            apart[name],
            "positive",
        )
        for name, words in ((TRACE, "Tr H"), (EIGENVALUE, "λ"))
    ]
    rows.append(
        ordered(
            "C differs less between train and test than Tr H does (|log₁₀ of the ratio| at the end)",
            "Fig. 2(c): consistent values",
            ("C", [abs(value) for value in apart[NORMALIZED]]),
            ("Tr H", [abs(value) for value in apart[TRACE]]),
        )
    )
    return rows


def _falls(ratio: Array) -> Claim:
    fall = (ratio[:, -1] - ratio[:, 0]).tolist()
    text = "the one-step approximation ratio falls during training, on train (last − first)"
    return signed(text, "Fig. 1: falls, most at the end", _ends(ratio), fall, "negative")


def _peaks(curve: Array, words: str) -> list[Claim]:
    """Two rows: it rises to its peak, and falls from it."""
    places = [int(np.delete(curve, seed, axis=0).mean(0).argmax()) for seed in range(len(curve))]
    peak = curve[np.arange(len(curve)), places]
    where = (
        f"highest at measurement {'–'.join(map(str, sorted({p + 1 for p in places})))} of {curve.shape[1]}; "
    )
    return [
        signed(
            f"{words} rises at first (peak − first)",
            "Fig. 1 and 2: rises, then falls",
            where + _ends(curve),
            (peak - curve[:, 0]).tolist(),
            "positive",
        ),
        signed(
            f"{words} falls in the end (last − peak)",
            "Fig. 1 and 2: rises, then falls",
            where + _ends(curve),
            (curve[:, -1] - peak).tolist(),
            "negative",
        ),
    ]


def _ends(curve: Array) -> str:
    return f"from {digits(float(curve[:, 0].mean()))} to {digits(float(curve[:, -1].mean()))}, change"


def _apart(curves: dict[str, Array], name: str) -> list[Any]:
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio: list[Any] = np.log10(curves[f"{name} test"][:, -1] / curves[f"{name} train"][:, -1]).tolist()
    return ratio


STUDY = Study(
    name="cr_sam_training",
    title="CR-SAM: curvature while SAM trains",
    source="Wu, Luo and Wunsch 2024, arXiv 2312.13555, Fig. 1 and 2",
    compute=compute,
    claims=claims,
    setups={"digits": DIGITS, "cifar10": dataclasses.replace(CIFAR10, limit=1000)},
    paper=PAPER,
    arms={"cpu": {"SAM": "sam:rho=0.1"}, "paper": {"SAM": "sam:rho=0.1"}},
    columns={},
)

if __name__ == "__main__":
    main(STUDY)
