"""RESULTS.md: every claim with the paper's figure, ours, what they allow to say, and the command; from the records.

``python figures/reproductions/results.py`` writes it anew.
"""

import importlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

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
    "adaptive_gsam",
)
HEAD = """# Claims of the papers, tried out

Geometric claims of four papers on sharpness-aware training, each with the paper's figure, ours and the command. The
sizes are those of one core and minutes: orderings can be compared, magnitudes cannot. **This file is generated** from
the committed records in `figures/data/reproductions/` by `python figures/reproductions/results.py`; every number in it
comes from a run.

**The rule.** Differences are paired by seed. A claim *holds* where the 95 % interval of their mean (Student's t over
seeds) has the sign that was claimed, *does not hold* where it has the other sign, and is *not shown* where it contains
zero or all seeds agree to the last digit. A claim without a sign has its rule in its row. Intervals are not widened
for the number of claims: of twenty that compare what is equal, one will be decided by chance. In a row: mean ± standard
deviation over seeds, then the mean difference with its interval.

**To run one.** `--recompute` trains and measures, and goes on with what is in `--runs`; without it the committed
records are printed. `--size paper` is the same script at the paper's size for a GPU: **none of those was run here**.
`DIR` holds `MNIST/raw/`, or `train/CLASS/*` and `test/CLASS/*` of CIFAR-10 (those used here are JPEG-compressed copies
of the originals). Minutes are those of one thread's processor time on a machine with two cores that others used too.
"""
TAIL = """## Not testable here

| claim | paper's figure | why not |
|---|---|---|
| CR-SAM on ImageNet, ResNet-50 and ResNet-101 | Table 2 | ImageNet, weeks of GPU time |
| CR-SAM's accuracies on CIFAR, ResNets, WRN-28-10, PyramidNet-110 | Table 1 | magnitudes need the full training |
| CR-SAM's three gradients cost as much time as SAM's two when they are computed in parallel | text | two GPUs |
| AE-SAM on ImageNet, ResNet-50 | Table 1: 77.43, 77.29 % | ImageNet |
| GSAM on ImageNet and its variants, ResNets, ViTs, Mixers | Table 1 | ImageNet, hundreds of TPU days |
| that a weighted sum λf_p + (1 − λ)h is worse than GSAM | notes on the paper | no such optimizer here |
| Adaptive-GSAM is less sensitive to its hyper-parameters | text | no protocol is given |
"""
Row = tuple[str, Study, Record, Claim]


def text() -> str:
    """All of RESULTS.md."""
    studies = [importlib.import_module(name).STUDY for name in STUDIES]
    rows = [
        (study, record, claim)
        for study in studies
        for record in records_of(study)
        for claim in study.claims(record)
    ]
    counts = Counter(claim.judgement for _, _, claim in rows)
    said = ", ".join(f"{counts[name]} {name}" for name in ("holds", "does not hold", "not shown"))
    parts = [HEAD, f"**In all** {len(rows)} rows: {said}.\n"]
    for study in studies:
        parts.append(f"## {study.title}\n\n{study.source}. {_documented(study)}\n")
        parts += [_section(study, record) for record in records_of(study)]
        if study.paper is not None and not any(r["setup"] == "paper" for r in records_of(study)):
            parts.append(f"Not run here: {study.paper.words}: `{command(study, study.paper, 3)}`\n")
    return "\n".join([*parts, TAIL])


def write() -> None:
    """Brings RESULTS.md into step with the records."""
    write_whole(RESULTS, text().encode())


def _documented(study: Study) -> str:
    """What the script says of its protocol, without its first line."""
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
    if study.columns:
        parts.append(table(study, record) + "\n")
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
