"""GSAM against a weighted sum λf_p + (1 − λ)h of the perturbed loss and the surrogate gap.

The sum is f_p − (1 − λ)f, so that its steps are shorter the smaller λ is: about λ times as long where both gradients
are alike. The control therefore has the learning rate divided by λ. No λ is given in the source; three are tried, and
every one is judged by itself. GSAM has α = 0.1, the trainer's default, and α = 0.4.
"""

from collections.abc import Sequence

from claims import Claim, Record, ordered
from setups import CIFAR10, DIGITS, PAPER
from study import Results, Study, Work, main

LAMBDAS = (0.9, 0.7, 0.5)
SUMS = {f"sum, λ = {lam:g}": f"weighted-gap:rho=0.05,lam={lam:g}" for lam in LAMBDAS}
ARMS = {
    "SAM": "sam:rho=0.05",
    "GSAM": "gsam:rho=0.05,alpha=0.1",
    "GSAM, α = 0.4": "gsam:rho=0.05,alpha=0.4",
    **SUMS,
}
MEASURES = {
    "accuracy": "accuracy",
    "loss": "test loss",
    "surrogate-gap": "test h",
    "dominant-eigenvalue": "test λ₁",
}


def compute(work: Work) -> Results:
    """Trains every arm, and the sums again with longer steps; measures on the test set."""
    rate = float(str(work.setup.fields.get("lr", 0.1)))
    found: Results = {}
    for label, optimizer in work.arms.items():
        found[label] = _measured(work, label, optimizer, rate)
    for lam, (label, optimizer) in zip(LAMBDAS, SUMS.items(), strict=True):
        found[f"{label}, lr/λ"] = _measured(work, f"{label} longer", optimizer, rate / lam)
    return found


def _measured(work: Work, label: str, optimizer: str, rate: float) -> dict[str, list[object]]:
    from landscape import measure

    runs = work.train(label.replace(",", ""), optimizer, lr=rate)

    def values(run: object) -> list[float]:
        return [
            estimate.value
            for estimate in measure(work.objective(run, "test"), list(MEASURES), progress=False)
        ]

    taken = [work.remember(run.path.name, lambda run=run: values(run)) for run in runs]
    return {name: [numbers[place] for numbers in taken] for place, name in enumerate(MEASURES)}


def claims(record: Record) -> Sequence[Claim]:
    """Accuracy and loss of each weighted sum against GSAM's, with the trainer's steps and with longer ones."""
    found = record["results"]
    gsam = found["GSAM"]
    rows = []
    for label in SUMS:
        for arm, paper in ((label, "not as good as GSAM"), (f"{label}, lr/λ", "no such control")):
            values = found[arm]
            rows += [
                ordered(
                    f"test accuracy: {arm} < GSAM",
                    paper,
                    (arm, values["accuracy"]),
                    ("GSAM", gsam["accuracy"]),
                ),
                ordered(f"test loss: GSAM < {arm}", paper, ("GSAM", gsam["loss"]), (arm, values["loss"])),
            ]
    return rows


STUDY = Study(
    name="gsam_weighted",
    title="GSAM: against a weighted sum",
    source="Notes on Zhuang et al. 2022, arXiv 2203.08065: a weighted sum of perturbed loss and gap is not as good",
    compute=compute,
    claims=claims,
    setups={"digits": DIGITS, "cifar10": CIFAR10},
    paper=PAPER,
    arms={"cpu": ARMS, "paper": ARMS},
    columns=MEASURES,
)

if __name__ == "__main__":
    main(STUDY)
