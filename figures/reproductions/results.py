"""Generates RESULTS.md from the committed records: each claim with the paper's figure, ours, a verdict and the command.

Run ``python figures/reproductions/results.py``.
"""

import importlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import cr_sam_branches
from claims import Claim, Record
from study import Study, command, records_of, table

from landscape.records import write_whole

RESULTS = Path(__file__).parents[1] / "RESULTS.md"
STUDIES = (
    "cr_sam_table",
    "cr_sam_training",
    "ae_sam_norms",
    "ae_sam_table",
    "ae_sam_label_noise",
    "gsam_lemma",
    "gsam_minima",
    "gsam_weighted",
    "adaptive_gsam",
    "adaptive_gsam_grid",
    "sam_forgetting",
    "edge_of_stability",
    "predictors",
)
HEAD = """# Claims of the papers, tested on small networks

Geometric claims of three papers on sharpness-aware training (CR-SAM, AE-SAM, GSAM) and of a student report
(Adaptive-GSAM, Oxford C6.5, 2025, not peer reviewed), one claim about SAM and language models, and which measure
predicts generalisation, each with the figure in the source, our result and the command. The sizes are chosen for one
core and minutes: orderings can be compared, magnitudes cannot. **This file is generated** from the committed records in
`figures/data/reproductions/` by `python figures/reproductions/results.py`. Every number in it comes from a run.

**The rule.** Differences are paired by seed. A claim *holds* if the 95 % interval of the mean difference (Student's t
over seeds) has the claimed sign, and *does not hold* if it has the opposite sign. It is *not shown* if the interval
contains zero or if all seeds agree to the last digit. A claim without a sign states its rule in its row. Intervals
are not widened for the number of claims: of twenty comparisons of equal quantities, one will be decided by chance. A
row shows mean ± standard deviation over seeds, then the mean difference with its interval.

**To repeat a study.** `--recompute` trains and measures, and continues with what is in `--runs`. Without it the
committed records are printed. `--size paper` runs the same script at the paper's size on a GPU: **none of these was
run here**. `--write-plan FILE` writes its runs for `landscape train --plan FILE --index N` on a cluster, `--dry-run`
times a few steps of each and says how many hours all take, and `--from DIR` reads the finished runs of somebody else.
The `DIR` of data contains `MNIST/raw/`, or `train/CLASS/*` and `test/CLASS/*` of CIFAR-10 (JPEG-compressed copies of
the originals were used here). Minutes are processor time of one thread, on a shared machine with two cores.
"""
TAIL = """## Not testable here

| claim | paper's figure | why not |
|---|---|---|
| CR-SAM on ImageNet, ResNet-50 and ResNet-101 | Table 2 | ImageNet, weeks of GPU time |
| CR-SAM's accuracies on CIFAR, ResNets, WRN-28-10, PyramidNet-110 | Table 1 | magnitudes need the full training |
| AE-SAM on ImageNet, ResNet-50 | Table 1: 77.43, 77.29 % | ImageNet |
| GSAM on ImageNet and its variants, ResNets, ViTs, Mixers | Table 1 | ImageNet, hundreds of TPU days |
"""
Row = tuple[str, Study, Record, Claim]


def text() -> str:
    """The content of RESULTS.md."""
    studies = [importlib.import_module(name).STUDY for name in STUDIES]
    rows = [
        (study, record, claim)
        for study in studies
        for record in records_of(study)
        for claim in study.claims(record)
    ]
    timed = {
        label: cr_sam_branches.claims(times) for label, times in cr_sam_branches.record()["seconds"].items()
    }
    judged = [claim for _, _, claim in rows] + [claim for few in timed.values() for claim in few]
    counts = Counter(claim.judgement for claim in judged)
    total = (
        f"{counts['holds']} hold, {counts['does not hold']} do not hold, {counts['not shown']} are not shown"
    )
    parts = [HEAD, f"**In total** {len(judged)} claims: {total}.\n"]
    for study in studies:
        parts.append(f"## {study.title}\n\n{study.source}. {_documented(study)}\n")
        parts += [_section(study, record) for record in records_of(study)]
        if study.paper is not None and not any(r["setup"] == "paper" for r in records_of(study)):
            parts.append(f"Not run here: {study.paper.words}: `{command(study, study.paper, 3)}`\n")
    return "\n".join([*parts, *_branches(timed), TAIL])


def write() -> None:
    """Writes RESULTS.md."""
    write_whole(RESULTS, text().encode())


def _branches(timed: Mapping[str, Sequence[Claim]]) -> list[str]:
    """The section of the timed steps, which is of no training."""
    record = cr_sam_branches.record()
    note = " ".join(" ".join((cr_sam_branches.__doc__ or "").strip().split("\n\n")[1:]).split()).replace(
        "``", "`"
    )
    parts = [f"## {cr_sam_branches.TITLE}\n\n{cr_sam_branches.SOURCE}. {note}\n"]
    for label, found in timed.items():
        times = record["seconds"][label]
        rounds = len(next(iter(times.values())))
        how = f"{rounds} rounds, {record['where']}: `{cr_sam_branches.COMMAND.format(rounds)}`"
        parts += [f"### {label}\n\n{how}\n", _claims(found), cr_sam_branches.table(times)]
    return parts


def _documented(study: Study) -> str:
    """The protocol of a study, from the docstring of its script."""
    module = importlib.import_module(study.name)
    paragraphs = (module.__doc__ or "").strip().split("\n\n")[1:]
    return " ".join(" ".join(paragraph.split()) for paragraph in paragraphs).replace("``", "`")


def _section(study: Study, record: Record) -> str:
    count = len(record["seeds"])
    setup = study.setups.get(record["setup"], study.paper)
    assert setup is not None
    how = f"{count} seeds, {record['minutes']:g} minutes, {record['where']}: `{command(study, setup, count)}`"
    head = f"### {record['words']}\n\n{how}\n"
    parts = [head, _claims(study.claims(record))]
    if numbers := table(study, record):
        parts.append(numbers + "\n")
    arms = ", ".join(f"{label} `{optimizer}`" for label, optimizer in record["arms"].items())
    return "\n".join([*parts, f"{arms}.\n"])


def _claims(claims: Sequence[Claim]) -> str:
    rows = ["| claim | paper | ours | |", "|---|---|---|---|"]
    bold = {"holds": "holds", "does not hold": "**does not hold**", "not shown": "not shown"}
    for claim in claims:
        cells = (claim.text, claim.paper, claim.ours)
        rows.append(
            "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + f" | {bold[claim.judgement]} |"
        )
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    write()
