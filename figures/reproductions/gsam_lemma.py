"""The gap as a measure of sharpness: Zhuang et al. 2022, lemma 3.3, its three minima and its toy example.

The numbers of the lemma, the minima and the paths are those of three figures of the gallery, redrawn by
``figures/gsam_gap_eigenvalue.py``, ``gsam_three_minima.py`` and ``gsam_paths.py``; here the sign of the gap is added,
batch by batch and over the radius.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from claims import Claim, Record, counted, digits
from setups import DIGITS
from study import Results, Study, Work, main

RADII = (0.01, 0.05, 0.2, 1.0, 5.0)
GALLERY = Path(__file__).parents[1] / "data"


def compute(work: Work) -> Results:
    """The share of batches whose loss falls where it should rise, early and at the end of training."""
    found: Results = {}
    early = max(1, work.recipe("sgd", 0).epochs // 10)
    for label, optimizer in work.arms.items():
        for run in work.train(label, optimizer, save_every=early):
            shares = work.remember(run.path.name, lambda run=run: _negative(run, early))
            for name, value in shares.items():
                found.setdefault(label, {}).setdefault(name, []).append(value)
    return found


def _negative(run: Any, early: int) -> dict[str, float]:
    import torch

    from landscape import load_checkpoint, measure

    found = {}
    first = run.path / "checkpoints" / f"epoch-{early:04d}.pt"
    for time, checkpoint in (("early", first), ("late", run.checkpoint)):
        whole = load_checkpoint(checkpoint).objective("train", dtype=torch.float64)
        parts = list(whole.per_batch())
        for rho in RADII:
            gaps = [measure(part, [f"surrogate-gap:rho={rho}"])[0].value for part in parts]
            found[f"h < 0, ρ = {rho:g}, {time}"] = sum(gap < 0 for gap in gaps) / len(gaps)
    return found


def claims(record: Record) -> Sequence[Claim]:
    """The lemma over fifteen networks, the sign of the gap, the three minima and the paths."""
    rows = [
        *_lemma("highest", "h: the best of 20 steps of ascent"),
        *_lemma("gap", "h: SAM's one step"),
        *_signs(record),
    ]
    first, second, third = _gallery("gsam_three_minima")["minima"]
    rows.append(
        counted(
            "of three minima f_p orders otherwise than the sharpness, and h as it does",
            "slides: f_p(w₁) < f_p(w₂) > f_p(w₃), h(w₁) > h(w₂) > h(w₃)",
            f"f_p {', '.join(digits(m['perturbed']) for m in (first, second, third))}; "
            f"h {', '.join(digits(m['gap']) for m in (first, second, third))}; "
            f"λ {', '.join(digits(m['eigenvalue']) for m in (first, second, third))} (a function chosen for it)",
            holds=first["perturbed"] < second["perturbed"] > third["perturbed"]
            and first["gap"] > second["gap"] > third["gap"],
        )
    )
    return [*rows, *_paths()]


def _lemma(gap: str, words: str) -> list[Claim]:
    """How 2h/ρ² of the gallery's networks goes with their λ."""
    points = [point for arm in _gallery("gsam_gap_eigenvalue").values() for point in arm]
    eigenvalues = np.log([point["eigenvalue"] for point in points])
    implied = np.log([2 * point[gap] / 0.05**2 for point in points])
    r, n = float(np.corrcoef(eigenvalues, implied)[0, 1]), len(points)
    low, high = (math.tanh(math.atanh(r) + side * 1.96 / math.sqrt(n - 3)) for side in (-1, 1))
    ratio = np.exp(implied - eigenvalues)
    return [
        counted(
            f"2h/ρ² follows λ over networks ({words}; correlation of the logarithms, asked: above 0.8)",
            "lemma 3.3: h ≈ ½λρ²",
            f"r = {digits(r)} [{digits(low)}, {digits(high)}] over {n} networks",
            holds=low > 0.8,
        ),
        counted(
            f"(2h/ρ²)/λ is near 1 ({words}; asked: from 0.8 to 1.25 in each network)",
            "lemma 3.3: h ≈ ½λρ²",
            f"{digits(float(ratio.mean()))}, from {digits(float(ratio.min()))} to {digits(float(ratio.max()))}",
            holds=bool(np.all((ratio > 0.8) & (ratio < 1.25))),
        ),
    ]


def _signs(record: Record) -> list[Claim]:
    found, rows = record["results"], []
    for rho in RADII:
        shares = [
            v for arm in found.values() for t in ("early", "late") for v in arm[f"h < 0, ρ = {rho:g}, {t}"]
        ]
        rows.append(
            counted(
                f"h ≥ 0 for ρ = {rho:g}, batch by batch",
                "h ≥ 0 for small ρ",
                f"h < 0 in {digits(100 * sum(shares) / len(shares))} % of the batches, "
                f"at most {digits(100 * max(shares))} % of a network's",
                holds=max(shares) == 0,
            )
        )
    return rows


def _paths() -> list[Claim]:
    ends = {name: np.array(path[-1]) for name, path in _gallery("gsam_paths")["paths"].items()}
    sharp = np.array((0.0, 0.0))
    apart = {name: float(np.linalg.norm(end - sharp)) for name, end in ends.items()}
    places = ", ".join(f"{name} ({digits(end[0])}, {digits(end[1])})" for name, end in ends.items())
    return [
        counted(
            "toy example: from one start SGD and SAM end in the sharp minimum, GSAM leaves it",
            "slides: GSAM reaches the flat one",
            f"{places}; sharp minimum (0, 0), flat one (1.2, 0.2) (a surface chosen for it)",
            holds=apart["SGD"] < 0.2 and apart["SAM"] < 0.2 < apart["GSAM"],
        ),
        counted(
            "and GSAM arrives in the flat minimum",
            "slides: GSAM reaches the flat one",
            f"GSAM {digits(float(np.linalg.norm(ends['GSAM'] - np.array((1.2, 0.2)))))} away from it",
            holds=bool(np.linalg.norm(ends["GSAM"] - np.array((1.2, 0.2))) < 0.2),
        ),
    ]


def _gallery(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GALLERY / f"{name}.json").read_text(encoding="utf-8"))
    return found


STUDY = Study(
    name="gsam_lemma",
    title="GSAM: the gap as a measure of sharpness",
    source="Zhuang et al. 2022, arXiv 2203.08065, lemma 3.3, section 3.2 and toy example",
    compute=compute,
    claims=claims,
    setups={"digits": DIGITS},
    paper=None,
    arms={"cpu": {"SGD": "sgd", "SAM": "sam:rho=0.1"}},
    columns={},
    seeds=3,
)

if __name__ == "__main__":
    main(STUDY)
