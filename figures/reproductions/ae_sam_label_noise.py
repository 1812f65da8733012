"""Training labels of which 80 % are wrong: Jiang et al. 2023, Table 2, its last column.

As in the poster, every method that does not take SAM's step always takes it half of the time: LookSAM every second
step, and AE-LookSAM with the thresholds of AE-SAM.
"""

import dataclasses
from collections.abc import Sequence

from ae_sam_table import ACCURACY, SHARE, above, arms, trained
from claims import Claim, Record, close_to
from setups import DIGITS, MNIST, PAPER
from study import Results, Study, Work, main

NOISE = 0.8
THRESHOLDS = ",lambda1=-1,lambda2=1"


def compute(work: Work) -> Results:
    """Trains all."""
    return {
        label: trained(work, label, optimizer if label != "ERM" else work.recipe("sgd", 0).base)
        for label, optimizer in work.arms.items()
    }


def claims(record: Record) -> Sequence[Claim]:
    """The order of the last column."""
    found = record["results"]
    pairs = (
        ("SAM", "SS-SAM", "77.40, 47.32"),
        ("SS-SAM", "ERM", "47.32, 28.23"),
        ("SAM", "ERM", "77.40, 28.23"),
        ("AE-SAM", "SS-SAM", "65.00, 47.32"),
        ("SAM", "AE-SAM", "77.40, 65.00"),
        ("LookSAM", "SS-SAM", "69.72, 47.32"),
        ("AE-LookSAM", "LookSAM", "76.90, 69.72"),
        ("ERM", "ESAM", "28.23, 15.00"),
    )
    rows = [
        above(
            record,
            f"80 % of labels wrong: {more} is more accurate than {less}",
            f"Table 2: {paper} %",
            more,
            less,
        )
        for more, less, paper in pairs
    ]
    rows += [
        close_to(
            f"80 % of labels wrong: {label} takes about half of its steps as SAM",
            "Table 2: 50.0 %",
            "% SAM",
            found[label][SHARE],
            target=50,
            within=5,
        )
        for label in ("AE-SAM", "AE-LookSAM")
    ]
    return rows


STUDY = Study(
    name="ae_sam_label_noise",
    title="AE-SAM: training with 80 % of the labels wrong",
    source="Jiang, Yang, Zhang and Kwok 2023, arXiv 2304.14647, Table 2",
    compute=compute,
    claims=claims,
    setups={
        "digits": DIGITS.but(f"{DIGITS.words}, 80 % of the training labels wrong", label_noise=NOISE),
        "mnist": dataclasses.replace(
            MNIST.but(
                "5,000 + 1,000 pictures of MNIST (of its first 15,000), mlp 784-128-128-10, 30 epochs, batch 128, "
                "lr 0.1, 80 % of the training labels wrong",
                label_noise=NOISE,
                model="mlp:width=128",
                batch_size=128,
                lr=0.1,
            ),
            train=5000,
        ),
    },
    paper=dataclasses.replace(
        PAPER.but(
            "CIFAR-10, resnet18, 200 epochs, 80 % of the training labels wrong, for a GPU", label_noise=NOISE
        ),
        data="cifar10:root=DIR",
    ),
    arms={"cpu": arms(0.1, k=2, ae_looksam=THRESHOLDS), "paper": arms(0.05, k=2, ae_looksam=THRESHOLDS)},
    columns={ACCURACY: ACCURACY, SHARE: SHARE, "gradients": "gradients"},
)

if __name__ == "__main__":
    main(STUDY)
