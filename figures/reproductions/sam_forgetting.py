"""Whether SAM cuts the forgetting and the rounding loss of language models: Watts et al. 2026, on a small decoder.

A decoder is pre-trained once on text A, the language reference that comes with Python. Per seed, which orders the
examples, its pre-training is continued on A by AdamW and by SAM over AdamW, which is the paper's mid-training. From
each of the three networks AdamW fine-tunes on text B, source code; from AdamW's network SGD, SAM and SAM over AdamW do
too. Rows are matched by epochs; "gradients of SAM" is the same optimizer with twice the epochs. Forgetting is the rise
of the test loss on A by the fine-tuning. Rounding is to 4 bits, to nearest, symmetric, one scale for each row of every
matrix, embeddings included. SAM's radius is 0.05 throughout. Traces and eigenvalues are of the Hessian, or of a block
of it, on 8 training sequences, the same ones in every row. The learning rates, 0.03 for SGD and 0.001 for AdamW, are
those of 0.03, 0.1, 0.3 and of 0.001, 0.003 with the lowest test loss on B after fine-tuning the pre-trained network
once. Rows, claims and their rule were written before any of them was computed. Six seeds were decided on before the
first results were read; those of four were read while the last two were running.
Over these four, networks that SAM pre-trained forgot less at equal epochs; over all six that is not shown.
"""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from claims import Claim, Record, ordered
from setups import TEXT
from study import Results, Study, Work, main, say

MORE, TUNED = "pre-training continued by ", "fine-tuned by "
ADAMW, SAM = "adamw", "sam:rho=0.05"
TWICE = ", gradients of SAM"


@dataclasses.dataclass(frozen=True)
class Arm:
    """One way to train on.

    Attributes:
        label: In the table.
        optimizer: By name.
        fields: Of the recipe.
        passes: Epochs.
        start: The label of the network that it starts from; the pre-trained one if empty.
    """

    label: str
    optimizer: str
    fields: Mapping[str, Any]
    passes: int = 1
    start: str = ""


SLOW, FAST = {"base": ADAMW, "lr": 1e-3}, {"base": "sgd:momentum=0.9", "lr": 0.03}
CONTINUED = (
    Arm(f"{MORE}AdamW", ADAMW, SLOW),
    Arm(f"{MORE}SAM-AdamW", SAM, SLOW),
    Arm(f"{MORE}AdamW{TWICE}", ADAMW, SLOW, passes=2),
)
FINE_TUNED = (
    *(Arm(f"{arm.label}, then {TUNED}AdamW", ADAMW, SLOW, start=arm.label) for arm in CONTINUED),
    Arm(f"{TUNED}SAM-AdamW", SAM, SLOW, start=CONTINUED[0].label),
    Arm(f"{TUNED}AdamW{TWICE}", ADAMW, SLOW, passes=2, start=CONTINUED[0].label),
    Arm(f"{TUNED}SGD", "sgd:momentum=0.9", {"lr": 0.03}, start=CONTINUED[0].label),
    Arm(f"{TUNED}SAM", SAM, FAST, start=CONTINUED[0].label),
    Arm(f"{TUNED}SGD{TWICE}", "sgd:momentum=0.9", {"lr": 0.03}, passes=2, start=CONTINUED[0].label),
)
BLOCKS = {
    "embeddings": ("embedding.", "positions."),
    "attention": (".attn.", ".norm1."),
    "perceptrons": (".mlp.", ".norm2."),
    "head": ("norm.", "head."),
}


def compute(work: Work) -> Results:
    """Trains and measures every row for every seed."""
    more = work.setup.more
    texts = {"A": work.data, "B": str(more.get("fine-tuning", work.data))}
    first = _trained(work, "pretrained", work.recipe(ADAMW, 0, base=ADAMW, lr=3e-3))
    results: Results = {}
    for seed in work.seeds:
        files = {"": first}
        numbers: dict[str, dict[str, float]] = {}
        for arm in (*CONTINUED, *FINE_TUNED):
            text, size = ("A", 32) if arm in CONTINUED else ("B", 16)
            recipe = work.recipe(arm.optimizer, seed, **arm.fields, epochs=arm.passes, batch_size=size)
            model = f"{Path(__file__).with_name('continued.py')}:network:checkpoint={files[arm.start]}"
            name = f"{arm.label.replace(' ', '-').replace(',', '')}-{seed}"
            recipe = dataclasses.replace(recipe, model=model, data=texts[text])
            files[arm.label] = _trained(work, name, recipe)
            numbers[arm.label] = work.remember(
                name, lambda file=files[arm.label]: _measured(work, file, texts)
            )
            say(name)
        for arm in (*CONTINUED, *FINE_TUNED):
            found = dict(numbers[arm.label])
            if arm.start:
                found["forgetting"] = found["loss A"] - numbers[arm.start]["loss A"]
            for measure, value in found.items():
                results.setdefault(arm.label, {}).setdefault(measure, []).append(value)
    return results


def _trained(work: Work, name: str, recipe: Any) -> Path:
    """The checkpoint of a finished run."""
    from landscape import train

    path: Path = train(recipe, output=work.folder / name).checkpoint
    return path.resolve()


def _measured(work: Work, file: Path, texts: Mapping[str, str]) -> dict[str, float]:
    """Losses, also after rounding, traces and eigenvalues on both texts."""
    from landscape import Objective, load_checkpoint, measure

    found: dict[str, float] = {}
    for text, data in texts.items():
        checkpoint = load_checkpoint(file, data=data, trust=True)
        whole = checkpoint.objective("test")
        found[f"loss {text}"] = whole.loss
        coarse = Objective(rounded(checkpoint.model), checkpoint.loss, checkpoint.batches("test")[0])
        found[f"rounding {text}"] = coarse.loss - whole.loss
        part = checkpoint.objective("train", limit=work.setup.limit)
        traces = measure(part, ["layer-traces:tolerance=0.15"])[0].details["layers"]
        found[f"trace {text}"] = sum(traces.values())
        for block, marks in BLOCKS.items():
            names = [name for name in traces if _is_in(name, marks)]
            found[f"trace {text} {block}"] = sum(traces[name] for name in names)
            some = checkpoint.objective("train", limit=work.setup.limit, parameters=names)
            top = measure(some, ["dominant-eigenvalue:method=lanczos,tolerance=0.05"])[0]
            found[f"eigenvalue {text} {block}"] = top.value
    return found


def _is_in(name: str, marks: Sequence[str]) -> bool:
    return any(mark in name if mark.startswith(".") else name.startswith(mark) for mark in marks)


def rounded(model: Any, bits: int = 4) -> Any:
    """A copy whose weight matrices have 2^bits − 1 values a row: −7 to 7 times the row's largest divided by 7."""
    import torch

    coarse, top = copy.deepcopy(model), 2 ** (bits - 1) - 1
    with torch.no_grad():
        for parameter in coarse.parameters():
            if parameter.ndim > 1:
                scale = parameter.abs().amax(dim=1, keepdim=True).clamp_min(1e-12) / top
                parameter.copy_((parameter / scale).round() * scale)
    return coarse


def claims(record: Record) -> Sequence[Claim]:
    """The paper's claim about the network that is fine-tuned, and the same of SAM while it is fine-tuned."""
    results = record["results"]
    plain, sharp, twice = (arm.label for arm in CONTINUED)
    rows = []

    def less(words: str, paper: str, measure: str, names: tuple[str, str], short: tuple[str, str]) -> None:
        low, high = ((label, results[name][measure]) for label, name in zip(short, names, strict=True))
        rows.append(ordered(words, paper, low, high))

    for other, label, how in ((plain, "AdamW", "equal epochs"), (twice, "AdamW, twice", "equal gradients")):
        shorts = ("SAM", label)
        then = tuple(f"{name}, then {TUNED}AdamW" for name in (sharp, other))
        large = "1 B parameters: 31 % less"
        less(f"SAM in pre-training cuts forgetting, {how}", large, "forgetting", then, shorts)
        large = "1 B parameters: 40 % less"
        less(f"and the loss by rounding to 4 bits, {how}", large, "rounding A", (sharp, other), shorts)
        less(f"and Tr H on A, {how}", "flatter", "trace A", (sharp, other), shorts)
        less(f"and the loss on B after fine-tuning, {how}", "better trade-off", "loss B", then, shorts)
    asked = "not compared so"
    start = f"{plain}, then {TUNED}AdamW"
    pairs = (
        ("SAM-AdamW", "AdamW", "equal epochs", start),
        ("SAM-AdamW", f"AdamW{TWICE}", "equal gradients", ""),
        ("SAM", "SGD", "equal epochs", ""),
        ("SAM", f"SGD{TWICE}", "equal gradients", ""),
    )
    for ours, other, how, row in pairs:
        names, shorts = (f"{TUNED}{ours}", row or f"{TUNED}{other}"), (ours, other)
        less(f"{ours} in fine-tuning cuts forgetting, {how}", asked, "forgetting", names, shorts)
        less(f"and the loss on B by rounding to 4 bits, {how}", asked, "rounding B", names, shorts)
        less(f"and Tr H on B, {how}", asked, "trace B", names, shorts)
    return rows


def _words(arm: Arm) -> str:
    """The optimizer of an arm, as RESULTS.md prints it."""
    over = f" over {arm.fields['base']}" if arm.optimizer == SAM else ""
    return f"{arm.optimizer}{over}, lr={arm.fields['lr']:g}"


STUDY = Study(
    name="sam_forgetting",
    title="SAM and language models: forgetting, and rounding to 4 bits",
    source="Watts et al. 2026, arXiv 2605.02105 (abstract)",
    compute=compute,
    claims=claims,
    setups={"text": TEXT},
    paper=None,
    arms={"cpu": {arm.label: _words(arm) for arm in (*CONTINUED, *FINE_TUNED)}},
    columns={
        "loss A": "loss on A",
        "forgetting": "forgetting",
        "rounding A": "rounding, on A",
        "loss B": "loss on B",
        "rounding B": "rounding, on B",
        "trace A": "Tr H on A",
        "trace B": "Tr H on B",
    },
    seeds=6,
)

if __name__ == "__main__":
    main(STUDY)
