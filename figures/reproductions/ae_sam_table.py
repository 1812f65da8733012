"""Accuracy and the share of SAM steps: Jiang et al. 2023, Table 1, with random and periodic steps at the same share.

AE-SAM decides by the norm of the gradient, SS-SAM by a coin and LookSAM by a count. If the share of AE-SAM is not that
of its rivals, a difference may be one of share; so both are also run at the share that AE-SAM and AE-LookSAM had.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from claims import Claim, Record, close_to, counted, digits, ordered
from setups import CIFAR10, DIGITS, PAPER
from study import Results, Study, Work, main

SS_SHARE, LOOK_SHARE = "SS-SAM, share of AE-SAM", "LookSAM, share of AE-LookSAM"
RENEWED = "AE-LookSAM, g_v renewed within 20 steps"
SHARE, ACCURACY = "% SAM", "accuracy (%)"


def arms(rho: float, *, k: int = 5, ae_looksam: str = "") -> dict[str, str]:
    """The methods of the poster's tables.

    Args:
        rho: The radius of all.
        k: Steps from one SAM step of LookSAM to the next.
        ae_looksam: Further options of AE-LookSAM.
    """
    return {
        "ERM": "sgd",
        "SAM": f"sam:rho={rho}",
        "ESAM": f"esam:rho={rho}",
        "SS-SAM": f"ss-sam:rho={rho},p=0.5",
        "AE-SAM": f"ae-sam:rho={rho}",
        "LookSAM": f"looksam:rho={rho},k={k}",
        "AE-LookSAM": f"ae-looksam:rho={rho}{ae_looksam}",
        RENEWED: f"ae-looksam:rho={rho},renew_within=20{ae_looksam}",
    }


def compute(work: Work) -> Results:
    """Trains all, then the two rivals at the measured share."""
    found: Results = {}
    for label, optimizer in work.arms.items():
        found[label] = trained(work, label, optimizer if label != "ERM" else work.recipe("sgd", 0).base)
    if work.planned is not None:  # the others follow from these results
        return found
    rho = work.arms["SAM"].partition("rho=")[2]
    share = sum(found["AE-SAM"][SHARE]) / len(work.seeds) / 100
    found[SS_SHARE] = trained(work, SS_SHARE, f"ss-sam:rho={rho},p={share:.2f}")
    looks = sum(found["AE-LookSAM"][SHARE]) / len(work.seeds) / 100
    found[LOOK_SHARE] = trained(
        work, LOOK_SHARE, f"looksam:rho={rho},k={max(1, round(1 / max(looks, 0.01)))}"
    )
    return found


def trained(work: Work, label: str, optimizer: str) -> dict[str, list[Any]]:
    """Accuracy at the end, share of SAM steps and gradients of all seeds."""
    last = [run.history[-1] for run in work.train(label, optimizer)]
    return {
        ACCURACY: [100 * entry["test_accuracy"] for entry in last],
        SHARE: [100 * entry["sam_fraction"] for entry in last],
        "gradients": [entry["gradients"] for entry in last],
    }


def above(record: Record, text: str, paper: str, more: str, less: str) -> Claim:
    """That one method is more accurate than another."""
    found = record["results"]
    return ordered(text, paper, (less, found[less][ACCURACY]), (more, found[more][ACCURACY]))


def claims(record: Record) -> Sequence[Claim]:
    """The shares, and who is more accurate than whom."""
    found = record["results"]
    return [
        close_to(
            "AE-SAM takes about half of its steps as SAM",
            "Table 1: 49.4–50.1 %",
            "% SAM",
            found["AE-SAM"][SHARE],
            target=50,
            within=5,
        ),
        close_to(
            "AE-LookSAM takes about a fifth of its steps as SAM",
            "Table 1: 20.0–20.3 %",
            "% SAM",
            found["AE-LookSAM"][SHARE],
            target=20,
            within=5,
        ),
        above(record, "SAM is more accurate than ERM", "Table 1: 96.52, 95.41 % (CIFAR-10)", "SAM", "ERM"),
        above(
            record, "AE-SAM is more accurate than SAM", "Table 1: 96.63, 96.52 % (CIFAR-10)", "AE-SAM", "SAM"
        ),
        above(
            record,
            "AE-SAM is more accurate than SS-SAM (p = 0.5)",
            "Table 1: 96.63, 96.40 %",
            "AE-SAM",
            "SS-SAM",
        ),
        above(record, "the same at the same share of SAM steps", "not compared so", "AE-SAM", SS_SHARE),
        above(
            record,
            "AE-LookSAM is more accurate than LookSAM (k = 5)",
            "Table 1: 96.56, 96.32 %",
            "AE-LookSAM",
            "LookSAM",
        ),
        above(record, "the same at the same share of SAM steps", "not compared so", "AE-LookSAM", LOOK_SHARE),
        _trains_always(found, "AE-LookSAM", "Table 1: 96.56 ± 0.21 %"),
        *([_trains_always(found, RENEWED, "no such option")] if RENEWED in found else []),
    ]


def _trains_always(found: Mapping[str, Any], arm: str, paper: str) -> Claim:
    least = sum(found["SAM"][ACCURACY]) / len(found["SAM"][ACCURACY]) - 5
    return counted(
        f"{arm} trains with every seed (asked: no seed 5 points below SAM's mean)",
        paper,
        "accuracies " + ", ".join(digits(value) for value in found[arm][ACCURACY]),
        holds=min(found[arm][ACCURACY]) > least,
    )


STUDY = Study(
    name="ae_sam_table",
    title="AE-SAM: accuracy and the share of SAM steps",
    source="Jiang, Yang, Zhang and Kwok 2023, arXiv 2304.14647, Table 1",
    compute=compute,
    claims=claims,
    setups={
        "digits": DIGITS,
        "cifar10": CIFAR10.but(CIFAR10.words.replace("40 epochs", "20 epochs"), epochs=20),
    },
    paper=PAPER,
    arms={"cpu": arms(0.05), "paper": arms(0.1)},
    columns={ACCURACY: ACCURACY, SHARE: SHARE, "gradients": "gradients"},
)

if __name__ == "__main__":
    main(STUDY)
