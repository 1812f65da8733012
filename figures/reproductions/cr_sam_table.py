"""The geometry that SGD, SAM and CR-SAM end in, and how fast they get there: Wu et al. 2024, Table 3 and Fig. 5.

CR-SAM's radius is twice SAM's in the paper, so that SAM at CR-SAM's radius is the control. CR-SAM evaluates three
gradients a step and SAM two: at equal gradients CR-SAM has two thirds of SAM's epochs.
"""

from collections.abc import Sequence

from claims import Claim, Record, ordered
from setups import CIFAR10, DIGITS, MNIST, PAPER
from study import Results, Study, Work, main

ACCURACY = "accuracy (%)"
MEASURES = ("gradient-norm", "hessian-trace", "normalized-trace", "accuracy")
CPU = {
    "SGD": "sgd",
    "SAM": "sam:rho=0.05",
    "SAM, radius of CR-SAM": "sam:rho=0.1",
    "CR-SAM": "cr-sam:rho=0.1,alpha=0.1,beta=0.01",
}
GPU = {
    "SGD": "sgd",
    "SAM": "sam:rho=0.1",
    "SAM, radius of CR-SAM": "sam:rho=0.15",
    "CR-SAM": "cr-sam:rho=0.15,alpha=0.5,beta=0.01",
}


def compute(work: Work) -> Results:
    """Trains all four, and CR-SAM with two thirds of the epochs; measures on the test set."""
    base = work.recipe("sgd", 0).base
    epochs = work.recipe("sgd", 0).epochs
    found: Results = {}
    for label, optimizer in work.arms.items():
        found[label] = _measured(work, label, optimizer if label != "SGD" else base, epochs)
    short = max(1, round(2 * epochs / 3))
    found["CR-SAM, gradients of SAM"] = _measured(work, "short", work.arms["CR-SAM"], short)
    return found


def _measured(work: Work, label: str, optimizer: str, epochs: int) -> dict[str, list[object]]:
    from landscape import measure

    runs = work.train(label, optimizer, epochs=epochs)

    def values(run: object) -> list[float]:
        names = [f"{name}:tolerance=0.05" if "trace" in name else name for name in MEASURES]
        return [estimate.value for estimate in measure(work.objective(run, "test"), names)]

    taken = [work.remember(run.path.name, lambda run=run: values(run)) for run in runs]
    found: dict[str, list[object]] = {
        name: [numbers[place] for numbers in taken] for place, name in enumerate(MEASURES)
    }
    histories = [run.history for run in runs]
    found[ACCURACY] = [100 * float(str(value)) for value in found.pop("accuracy")]
    found["last loss"] = [history[-1]["train_loss"] for history in histories]
    found["mean loss"] = [sum(e["train_loss"] for e in h) / len(h) for h in histories]
    found["gradients"] = [history[-1]["gradients"] for history in histories]
    return found


def claims(record: Record) -> Sequence[Claim]:
    """Table 3, two neighbours at a time; then Fig. 5 by epochs and by gradients."""
    found = record["results"]

    def below(measure: str, text: str, paper: str, less: str, more: str) -> Claim:
        return ordered(text, paper, (less, found[less][measure]), (more, found[more][measure]))

    control = "SAM, radius of CR-SAM"
    sgd, sam, cr = "SGD", "SAM", "CR-SAM"
    rows = []
    for measure, words, printed in (
        ("gradient-norm", "test ‖∇L‖", (19.97, 11.51, 8.26)),
        ("hessian-trace", "test Tr H", (32674, 14177, 7968)),
        ("normalized-trace", "test C = Tr H/‖∇L‖", (1674.9, 1193.9, 885.0)),
    ):
        a, b, c = (f"{value:,g}" for value in printed)
        rows += [
            below(measure, f"{words}: SAM < SGD", f"Table 3: {b} < {a}", sam, sgd),
            below(measure, f"{words}: CR-SAM < SAM", f"Table 3: {c} < {b}", cr, sam),
            below(measure, f"{words}: CR-SAM < SAM of the same radius", "no such control", cr, control),
        ]
    rows += [
        below(ACCURACY, "test accuracy: SGD < SAM", "Table 3: 78.34 < 79.81 %", sgd, sam),
        below(ACCURACY, "test accuracy: SAM < CR-SAM", "Table 3: 79.81 < 80.76 %", sam, cr),
        below(
            "mean loss",
            "CR-SAM lowers the training loss faster than SAM, by epochs (mean over epochs)",
            "Fig. 5: much faster",
            cr,
            sam,
        ),
        below("mean loss", "the same against SAM of the same radius", "no such control", cr, control),
        below(
            "last loss",
            "CR-SAM lowers it faster than SAM at equal gradients (last epoch; CR-SAM with two thirds of the epochs)",
            "Fig. 5 counts epochs",
            "CR-SAM, gradients of SAM",
            sam,
        ),
        below(
            ACCURACY,
            "test accuracy at equal gradients: SAM < CR-SAM",
            "not compared so",
            sam,
            "CR-SAM, gradients of SAM",
        ),
    ]
    return rows


STUDY = Study(
    name="cr_sam_table",
    title="CR-SAM: geometry at the end of training",
    source="Wu, Luo and Wunsch 2024, arXiv 2312.13555, Table 3 and Fig. 5",
    compute=compute,
    claims=claims,
    setups={"digits": DIGITS, "cifar10": CIFAR10, "mnist": MNIST},
    paper=PAPER,
    arms={"cpu": CPU, "paper": GPU},
    columns={
        "gradient-norm": "‖∇L‖",
        "hessian-trace": "Tr H",
        "normalized-trace": "C",
        ACCURACY: ACCURACY,
        "last loss": "last training loss",
    },
)

if __name__ == "__main__":
    main(STUDY)
