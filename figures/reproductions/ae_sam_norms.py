"""Norms of stochastic gradients under SGD and SAM, and whether they are normal: Jiang et al. 2023, Fig. 1 and 2.

The norms are taken at fixed weights, of batches that are drawn at random from the training set. The identity
``Var(g_B) = E‖g_B‖² − ‖g_D‖²`` is compared with the variance as it is defined, the mean of ``‖g_B − g_D‖²`` over the
batches of 16 of an epoch.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from claims import Claim, Record, counted, digits, ordered
from setups import CIFAR10, DIGITS, PAPER
from study import Results, Study, Work, main

SIZES = (16, 128)
TIMES = ("early", "late")


def compute(work: Work) -> Results:
    """Trains both, keeping checkpoints; draws batches at a tenth of the training and at its end."""
    found: Results = {}
    epochs = work.recipe("sgd", 0).epochs
    early = max(1, epochs // 10)
    for label, optimizer in work.arms.items():
        given = optimizer if label != "SGD" else work.recipe("sgd", 0).base
        runs = work.train(label, given, save_every=early)
        for run in runs:
            taken = work.remember(run.path.name, lambda run=run: _norms(work, run, early))
            for name, value in taken.items():
                found.setdefault(label, {}).setdefault(name, []).append(value)
    return found


def _norms(work: Work, run: Any, early: int) -> dict[str, float]:
    found: dict[str, float] = {}
    first = run.path / "checkpoints" / f"epoch-{early:04d}.pt"
    for time, checkpoint in zip(TIMES, (first, run.checkpoint), strict=True):
        for size in SIZES:
            norms = _drawn(checkpoint, size, work.setup.draws)
            found |= {f"{name}, {time}, {size}": value for name, value in _described(norms).items()}
    found["identity"] = _identity(work.objective(run, "train", batch_size=SIZES[0]))
    return found


def _drawn(checkpoint: Any, size: int, draws: int) -> Any:
    """‖g_B‖² of so many batches drawn at random."""
    import torch
    from torch.utils.data import DataLoader

    from landscape import Objective, load_checkpoint

    opened = load_checkpoint(checkpoint)
    examples = opened.data.split("train")
    generator = torch.Generator().manual_seed(size)
    chosen = torch.randint(len(examples), (draws, size), generator=generator).tolist()
    norms: list[float] = []
    for start in range(0, draws, 100):
        batches = list(DataLoader(examples, batch_sampler=chosen[start : start + 100]))
        norms += Objective(opened.model, opened.loss, batches).batch_gradients.squared_norms.tolist()
    return np.array(norms)


def _described(norms: Any) -> dict[str, float]:
    from scipy import stats

    (_, _), (_, _, straight) = stats.probplot(norms)
    return {
        "mean": float(norms.mean()),
        "skewness": float(stats.skew(norms)),
        "p": float(stats.normaltest(norms).pvalue),
        "Q–Q r²": float(straight**2),
    }


def _identity(objective: Any) -> float:
    """The relative difference between both sides of the identity."""
    whole = objective.gradient.double()
    sizes, squares, apart = [], [], []
    for part in objective.per_batch():
        gradient = part.gradient.double()
        sizes.append(part.num_examples)
        squares.append(float(gradient @ gradient))
        apart.append(float((gradient - whole) @ (gradient - whole)))
    shares = np.array(sizes) / sum(sizes)
    variance = float(shares @ np.array(apart))
    return abs(float(shares @ np.array(squares)) - float(whole @ whole) - variance) / variance


def claims(record: Record) -> Sequence[Claim]:
    """Fig. 1, Fig. 2(b), and the identity."""
    found = record["results"]
    rows = []
    for time, words in (("early", "after a tenth of training"), ("late", "at the end")):
        for size in SIZES:
            name = f"mean, {time}, {size}"
            text = f"E‖g_B‖² is smaller with SAM than with SGD, {words}, batches of {size}"
            pair = ("SAM", found["SAM"][name]), ("SGD", found["SGD"][name])
            rows.append(ordered(text, "Fig. 1: much smaller", *pair))
    for time, words in (("early", "after a tenth of training"), ("late", "at the end")):
        for size in SIZES:
            rows.append(_normal(found, time, size, words))
    worst = max(value for arm in found.values() for value in arm["identity"])
    text = "Var(g_B) = E‖g_B‖² − ‖g_D‖²"
    rows.append(
        counted(text, "an identity", f"relative difference at most {digits(worst, 2)}", holds=worst < 1e-4)
    )
    return rows


def _normal(found: Any, time: str, size: int, words: str) -> Claim:
    values = {
        name: [value for arm in found.values() for value in arm[f"{name}, {time}, {size}"]]
        for name in ("p", "skewness", "Q–Q r²")
    }
    rejected, skewness = sum(p < 0.05 for p in values["p"]), values["skewness"]
    ours = (
        f"rejected at 5 % in {rejected} of {len(values['p'])} networks; skewness {digits(min(skewness))} to "
        f"{digits(max(skewness))}, Q–Q r² {digits(min(values['Q–Q r²']))} to {digits(max(values['Q–Q r²']))}"
    )
    text = f"‖g_B‖² is normal over batches of {size}, {words} (D'Agostino–Pearson)"
    # A true hypothesis is rejected in one of twenty networks; half of them leave no doubt.
    if rejected >= len(values["p"]) / 2:
        return Claim(text, "Fig. 2(b): Q–Q plots near the line", ours, "does not hold")
    judgement = "holds" if rejected <= 0.15 * len(values["p"]) else "not shown"
    return Claim(text, "Fig. 2(b): Q–Q plots near the line", ours, judgement)


STUDY = Study(
    name="ae_sam_norms",
    title="AE-SAM: norms of stochastic gradients",
    source="Jiang, Yang, Zhang and Kwok 2023, arXiv 2304.14647, Fig. 1 and 2",
    compute=compute,
    claims=claims,
    setups={"digits": DIGITS, "cifar10": CIFAR10},
    paper=PAPER,
    arms={"cpu": {"SGD": "sgd", "SAM": "sam:rho=0.1"}, "paper": {"SGD": "sgd", "SAM": "sam:rho=0.1"}},
    columns={
        f"{name}, {time}, {size}": f"{words}, {time}, B = {size}"
        for name, words in (("mean", "E‖g_B‖²"), ("skewness", "skewness"))
        for time in TIMES
        for size in SIZES
    },
)

if __name__ == "__main__":
    main(STUDY)
