"""Which measure predicts generalisation: every measure on networks of one training loss, Jiang et al. 2020.

Networks of all combinations of the hyper-parameters and seeds are trained until the loss of the whole training set is
at most 0.01, at the end of an epoch; a network that does not get there within the epochs is left out and counted.
Every measure is taken on the training examples, and compared with the gap between test and training loss. τ is over
all networks. Ψ is the mean over hyper-parameters of τ over pairs that differ in this one alone (the seed may differ
too). The last two columns are τ with the effect of the training loss, or of the learning rate, removed (Kendall 1942).
Intervals are 95 % percentiles over 2,000 resamples of the networks; those of the claims are judged after Holm's
correction over all measures of a setup, with the standard error of the resamples. A measure that follows a
hyper-parameter which also moves the gap has a large τ and a small Ψ.
"""

import concurrent.futures
import functools
import itertools
import json
import math
import multiprocessing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from claims import Claim, Judgement, Record, digits
from setups import Setup
from study import Results, Study, Work, main, say

from landscape.comparison import RankCorrelation, granulated, partial_rank_correlation, rank_correlation
from landscape.records import write_whole

LOSS = 0.01
BATCH = 50
ARMS = {"SGD": "sgd", "SAM": "sam:rho=0.1"}
SHORT = {optimizer: label for label, optimizer in ARMS.items()}
FIELDS = ("width", "depth", "batch", "lr", "decay", "optimizer")
MEASURES = {
    "gradient-norm": "‖∇L‖",
    "dominant-eigenvalue": "λ₁",
    "hessian-trace": "Tr H",
    "normalized-trace": "Tr H/‖∇L‖",
    "surrogate-gap": "h, ρ = 0.05",
    "adaptive-sharpness": "adaptive sharpness",
    "average-sharpness": "average sharpness",
    "approximation-ratio": "one-step ratio",
    "gradient-noise": "gradient noise",
    "noise-scale": "noise scale",
    "relative-flatness": "relative flatness",
    "fisher-rao-norm": "Fisher–Rao norm",
    "path-norm": "path norm",
    "pacbayes-sigma": "1/σ, PAC-Bayes",
    "pacbayes-sigma:magnitude=true": "1/σ, magnitude-aware",
    "basin-width": "1/width of the basin",
    "basin-width:case=worst": "1/width, worst case",
    "epochs": "epochs to the loss",
}
"""The names under which they are measured, with their headings; the epochs are a baseline that needs no measure."""
OF_BATCHES = ("gradient-noise", "noise-scale")
"""Measures of the differences between batches; the others are the same in any batches, and quickest in one."""
BASELINES = ("gradient-noise", "noise-scale", "epochs")
"""Nobody says of these that they predict."""
RECIPROCAL = ("pacbayes-sigma", "basin-width")
"""Large where the loss is flat."""
DIGITS = Setup(
    "digits",
    "500 + 1,297 of scikit-learn's digits, mlp, momentum 0.9: widths 16 and 64, 1 and 3 hidden layers, batches of 16 "
    "and 64, learning rates 0.003, 0.01 and 0.03, weight decay 0 and 0.001, SGD and SAM",
    "digits",
    {"network": "mlp:width={width},depth={depth}", "epochs": 2000},
    more={
        "width": "16 64",
        "depth": "1 3",
        "batch": "16 64",
        "lr": "0.003 0.01 0.03",
        "decay": "0 0.001",
        "train": 500,
    },
)
MNIST = Setup(
    "mnist",
    "1,000 + 5,000 pictures of MNIST (of its first 15,000), mlp, momentum 0.9: widths 16 and 64, 1 and 3 hidden "
    "layers, batches of 16 and 64, learning rates 0.003, 0.01 and 0.03, SGD and SAM",
    "mnist:root=DIR",
    {**DIGITS.fields, "epochs": 300},
    train=1000,
    test=5000,
    normalize="mnist",
    more={name: value for name, value in DIGITS.more.items() if name not in ("train", "decay")},
)
PAPER = Setup(
    "paper",
    "CIFAR-10, cnn, momentum 0.9: widths 32 and 96, batches of 32 and 128, learning rates 0.003, 0.01 and 0.03, "
    "weight decay 0 and 0.0005, SGD and SAM",
    "cifar10:root=DIR",
    {"network": "cnn:width={width}", "epochs": 300},
    more={"width": "32 96", "batch": "32 128", "lr": "0.003 0.01 0.03", "decay": "0 0.0005"},
)


def compute(work: Work) -> Results:
    """Trains and measures every network that is not in the folder yet, ``--jobs`` at a time."""
    networks = combinations(work)
    tasks = [(work, about) for about in networks]
    found: list[dict[str, Any]] = []
    if work.jobs == 1:
        results = map(_alone, tasks)
        found = [_counted(result, len(tasks), k) for k, result in enumerate(results)]
    else:
        # A process of its own for each: forked ones would share threads of torch that are gone.
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(work.jobs, mp_context=context) as pool:
            found = [_counted(r, len(tasks), k) for k, r in enumerate(pool.map(_alone, tasks))]
    reached = [numbers for numbers in found if numbers["loss"] <= LOSS]
    columns: dict[str, list[Any]] = {"left out": [len(found) - len(reached)]}
    for name in (*FIELDS, "seed", "loss", "test loss", "accuracy", *MEASURES):
        columns[name] = [numbers[name] for numbers in reached]
    return {"networks": columns}


def combinations(work: Work) -> list[dict[str, Any]]:
    """What each network is of: one of each field's values, and a seed."""
    levels = {"width": "16", "depth": "1", "batch": "16", "lr": "0.01", "decay": "0"}
    levels |= {name: str(values) for name, values in work.setup.more.items() if name in levels}
    axes = [[float(value) for value in values.split()] for values in levels.values()]
    return [
        {**dict(zip(levels, values, strict=True)), "optimizer": label, "seed": seed}
        for *values, label, seed in itertools.product(*axes, work.arms, work.seeds)
    ]


def _counted(numbers: dict[str, Any], total: int, done: int) -> dict[str, Any]:
    if (done + 1) % 24 == 0 or done + 1 == total:
        say(f"{done + 1} of {total} networks")
    return numbers


def _alone(task: tuple[Work, dict[str, Any]]) -> dict[str, Any]:
    from landscape.training import threads_set

    with threads_set(1):  # networks so small are slower with more
        return network(task)


def network(task: tuple[Work, dict[str, Any]]) -> dict[str, Any]:
    """The numbers of one network: trained, and measured by what was not measured before."""
    import torch

    work, about = task
    name = "-".join(f"{value:g}" if isinstance(value, float) else str(value) for value in about.values())
    weights = work.folder / f"{name}.pt"
    trained = work.remember(name, lambda: training(work, about, weights))
    if trained["loss"] > LOSS:
        return {**about, **trained}
    file = work.folder / f"{name}-measures.json"
    known: dict[str, float] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    missing = [measure for measure in MEASURES if measure not in known and measure not in trained]
    if missing:
        from landscape import Objective, measure

        inputs, targets, *_ = examples(work)
        model = built(work, about, inputs)
        model.load_state_dict(torch.load(weights, weights_only=True))
        batches = list(zip(inputs.split(BATCH), targets.split(BATCH), strict=True))
        for wanted, data in (
            ([m for m in missing if m in OF_BATCHES], batches),
            ([m for m in missing if m not in OF_BATCHES], (inputs, targets)),
        ):
            objective = Objective(model, "cross-entropy", data)
            for estimate, key in zip(measure(objective, wanted, progress=False), wanted, strict=True):
                is_flat = key.partition(":")[0] in RECIPROCAL
                known[key] = 1 / estimate.value if is_flat else estimate.value
        write_whole(file, json.dumps(known).encode())
    return {**about, **known, **trained}


def training(work: Work, about: Mapping[str, Any], weights: Path) -> dict[str, Any]:
    """Trains one network to the loss, writes its weights, and returns what it ended with."""
    import torch
    from torch import nn

    from landscape.optim import OPTIMIZERS
    from landscape.records import whole

    inputs, targets, test_inputs, test_targets = examples(work)
    model = built(work, about, inputs)
    base = torch.optim.SGD(model.parameters(), about["lr"], momentum=0.9, weight_decay=about["decay"])
    name = work.arms[about["optimizer"]]
    moving = base if name == "sgd" else OPTIMIZERS.build(name, base, model=model)
    order = torch.Generator().manual_seed(about["seed"])

    def closure(rows: torch.Tensor) -> torch.Tensor:
        moving.zero_grad()
        value = nn.functional.cross_entropy(model(inputs[rows]), targets[rows])
        value.backward()
        return value

    loss, epoch = math.inf, 0
    while not loss <= LOSS and epoch < int(work.setup.fields["epochs"]):
        for rows in torch.randperm(len(inputs), generator=order).split(int(about["batch"])):
            moving.step(functools.partial(closure, rows))
        epoch += 1
        loss, _ = _evaluated(model, inputs, targets)
        if not math.isfinite(loss):
            break
    test_loss, accuracy = _evaluated(model, test_inputs, test_targets)
    with whole(weights) as place:
        torch.save(model.state_dict(), place)
    ended = loss if math.isfinite(loss) else 1e9  # JSON has no infinity
    return {"epochs": epoch, "loss": ended, "test loss": test_loss, "accuracy": accuracy}


def built(work: Work, about: Mapping[str, Any], inputs: Any) -> Any:
    """The network of these fields, initialised by its seed, on the device of the inputs."""
    from landscape.models import build_model

    name = str(work.setup.fields["network"]).format(
        **{k: f"{v:g}" for k, v in about.items() if k in ("width", "depth")}
    )
    model = build_model(name, classes=10, input_shape=tuple(inputs.shape[1:]), seed=about["seed"])
    return model.to(inputs.device)


_EXAMPLES: dict[tuple[str, str], tuple[Any, ...]] = {}


def examples(work: Work) -> tuple[Any, ...]:
    """Inputs and targets of training and test set, in memory: read once in a process."""
    import torch

    from landscape.data import load_data

    key = work.data, work.setup.name
    if key not in _EXAMPLES:
        data = load_data(work.data)
        parts = []
        for split in ("train", "test"):
            found = data.split(split)
            rows = [found[i] for i in range(len(found))]
            parts += [torch.stack([x for x, _ in rows]), torch.tensor([int(y) for _, y in rows])]
        if (count := work.setup.more.get("train")) is not None:
            parts = _redivided(parts, int(count))
        device = "cuda" if work.device == "auto" and torch.cuda.is_available() else "cpu"
        _EXAMPLES[key] = tuple(part.to(device) for part in parts)
    return _EXAMPLES[key]


def _redivided(parts: Sequence[Any], count: int) -> list[Any]:
    """The same examples with ``count`` of them, chosen at random, for training: the more are left to test on."""
    import torch

    train, labels, test, test_labels = parts
    inputs, targets = torch.cat([train, test]), torch.cat([labels, test_labels])
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    first, rest = order[:count], order[count:]
    return [inputs[first], targets[first], inputs[rest], targets[rest]]


def _evaluated(model: Any, inputs: Any, targets: Any) -> tuple[float, float]:
    import torch

    total, right = 0.0, 0
    with torch.no_grad():
        for x, y in zip(inputs.split(5000), targets.split(5000), strict=True):
            scores = model(x)
            total += float(torch.nn.functional.cross_entropy(scores, y, reduction="sum"))
            right += int((scores.argmax(1) == y).sum())
    return total / len(targets), right / len(targets)


def correlations(record: Record) -> dict[str, dict[str, RankCorrelation]]:
    """By measure: τ over all, Ψ, and τ without the training loss and without the learning rate."""
    return {name: of for name, (of, _) in _correlated(record).items()}


def by_field(record: Record) -> dict[str, Mapping[str, float]]:
    """By measure: τ within each hyper-parameter."""
    return {name: fields for name, (_, fields) in _correlated(record).items()}


Coefficients = tuple[dict[str, RankCorrelation], Mapping[str, float]]


def _correlated(record: Record) -> dict[str, Coefficients]:
    return _of_networks(json.dumps(record["results"]["networks"]))


@functools.lru_cache(maxsize=4)  # by the numbers as text: claims, table and figure ask for the same
def _of_networks(networks: str) -> dict[str, Coefficients]:
    found = json.loads(networks)
    gap = _gap(found)
    recipes = [
        dict(zip(FIELDS, values, strict=True)) for values in zip(*(found[f] for f in FIELDS), strict=True)
    ]
    coefficients = {}
    for name in MEASURES:
        if name in found:
            within = granulated(found[name], gap, recipes)
            of = {
                "all": rank_correlation(found[name], gap, method="bootstrap"),
                "within": within.psi,
                "loss": partial_rank_correlation(found[name], gap, found["loss"]),
                "lr": partial_rank_correlation(found[name], gap, found["lr"]),
            }
            coefficients[name] = of, within.by_field
    return coefficients


def _gap(found: Mapping[str, Any]) -> list[float]:
    return [test - train for test, train in zip(found["test loss"], found["loss"], strict=True)]


def holm(errors: Sequence[float]) -> list[float]:
    """Adjusted probabilities of error, Holm 1979, in the given order; NaN counts as 1."""
    plain = [1.0 if math.isnan(p) else p for p in errors]
    adjusted, highest = [0.0] * len(plain), 0.0
    for rank, k in enumerate(sorted(range(len(plain)), key=plain.__getitem__)):
        highest = max(highest, min(1.0, (len(plain) - rank) * plain[k]))
        adjusted[k] = highest
    return adjusted


def error_of(found: RankCorrelation) -> float:
    """The two-sided probability of a coefficient so far from zero, by the standard error of its interval."""
    half = (found.high - found.low) / (2 * 1.959963984540054)
    return math.erfc(abs(found.tau) / half / math.sqrt(2)) if half > 0 else math.nan


def claims(record: Record) -> list[Claim]:
    """That each measure is higher where the gap is larger, over pairs that differ in one hyper-parameter."""
    found = correlations(record)
    adjusted = holm([error_of(of["within"]) for of in found.values()])
    rows = []
    for (name, of), error in zip(found.items(), adjusted, strict=True):
        within = of["within"]
        judgement: Judgement = "not shown"
        if error < 0.05:
            judgement = "holds" if within.tau > 0 else "does not hold"
        rows.append(
            Claim(
                f"{MEASURES[name]} is higher where the loss gap is larger, one hyper-parameter changed",
                "a baseline" if name in BASELINES else "said of flat or simple solutions in general",
                f"Ψ = {_said(within)}; Holm's p {_probability(error)}",
                judgement,
            )
        )
    return rows


def table(record: Record) -> str:
    """The measures with their coefficients, strongest Ψ first, in Markdown."""
    found = record["results"]["networks"]
    gap = _gap(found)
    left = int(found["left out"][0])
    lines = [
        f"{len(gap)} networks, {left} more did not reach the loss; gap "
        + (f"{digits(min(gap))} to {digits(max(gap))}." if gap else "unknown."),
        "",
        "| | τ, all | Ψ | τ without training loss | τ without learning rate | " + " | ".join(FIELDS) + " |",
        "|---|" + "---:|" * (4 + len(FIELDS)),
    ]
    by_measure, within = correlations(record), by_field(record)
    for name in sorted(by_measure, key=lambda m: -_strength(by_measure[m]["within"])):
        cells = [_said(by_measure[name][key]) for key in ("all", "within", "loss", "lr")]
        fields = within[name]
        cells += [f"{fields[f]:.2f}".replace("-", "−") if f in fields else "–" for f in FIELDS]
        lines.append(f"| {MEASURES[name]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _strength(found: RankCorrelation) -> float:
    return -1.0 if math.isnan(found.tau) else abs(found.tau)


def _said(found: RankCorrelation) -> str:
    if math.isnan(found.tau):
        return "–"
    text = f"{found.tau:.2f}"
    if not math.isnan(found.low):
        text += f" [{found.low:.2f}, {found.high:.2f}]"
    return text.replace("-", "−")


def _probability(error: float) -> str:
    return "< 0.001" if error < 0.001 else f"{error:.3f}"


STUDY = Study(
    name="predictors",
    title="Which measure predicts generalisation",
    source="Jiang and others 2020, arXiv 1912.02178, at small size and with other measures",
    compute=compute,
    claims=claims,
    setups={"digits": DIGITS, "mnist": MNIST},
    paper=PAPER,
    arms={"cpu": ARMS, "paper": ARMS},
    columns={},
    seeds=3,
    table=table,
)

if __name__ == "__main__":
    main(STUDY)
