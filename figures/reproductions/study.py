"""What the scripts of the reproductions share: a study, its command line, its runs and its committed record.

``python figures/reproductions/NAME.py`` prints the tables and the claims of the committed records;
``--recompute`` trains and measures first. Runs are kept in a folder, so that one that was stopped goes on.
"""

import argparse
import dataclasses
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claims import Claim, Record, spread
from setups import Setup, kind_of, part_of

from landscape.records import append_line, write_whole

if TYPE_CHECKING:
    from landscape.training import Job

RECORDS = Path(__file__).parents[1] / "data" / "reproductions"
Results = dict[str, dict[str, list[Any]]]
"""By row and measure, one value a seed."""


@dataclass(frozen=True)
class Study:
    """Some claims of a paper with one protocol.

    Attributes:
        name: Of the script and of its records.
        title: In RESULTS.md.
        source: The paper.
        compute: Trains and measures.
        claims: What the numbers of a record say.
        setups: The small sizes, by the data that they are for.
        paper: The paper's size.
        arms: What is compared: a label and an optimizer each, by size.
        seeds: How many there are by default.
        columns: Measures of its table, with their headings.
        table: Makes another table of a record, in Markdown.
    """

    name: str
    title: str
    source: str
    compute: "Callable[[Work], Results]"
    claims: Callable[[Record], Sequence[Claim]]
    setups: Mapping[str, Setup]
    paper: Setup | None
    arms: Mapping[str, Mapping[str, str]]
    columns: Mapping[str, str]
    seeds: int = 5
    table: Callable[[Record], str] | None = None


@dataclass(frozen=True)
class Work:
    """One execution of a study.

    Attributes:
        study: Which.
        setup: At what size.
        data: What is trained on, by name.
        seeds: Of the runs.
        folder: Where runs are kept.
        device: Where they are computed.
        jobs: How many at a time.
        source: Where the finished runs of somebody else lie: they are read, and nothing is trained.
        planned: Collects the runs instead of training them.
    """

    study: Study
    setup: Setup
    data: str
    seeds: Sequence[int]
    folder: Path
    device: str = "auto"
    jobs: int = 1
    source: Path | None = None
    planned: "list[Job] | None" = None

    @property
    def arms(self) -> Mapping[str, str]:
        """Labels and optimizers of this size."""
        return self.study.arms["paper" if self.setup.name == "paper" else "cpu"]

    def recipe(self, optimizer: str, seed: int, **fields: Any) -> Any:
        """The recipe of a run, with the fields of the setup unless they are given.

        Args:
            optimizer: By name.
            seed: Of the run.
            **fields: Others.
        """
        from landscape.training import Recipe

        given = {**self.setup.fields, **fields}
        return Recipe(optimizer=optimizer, seed=seed, data=self.data, device=self.device, **given)

    def train(self, label: str, optimizer: str, *, measuring: Any = None, **options: Any) -> list[Any]:
        """The finished runs of all seeds, trained or taken up where they were; none while they are planned.

        Args:
            label: Of the arm: a part of the folders' names.
            optimizer: By name.
            measuring: What to measure on the way.
            **options: ``save_every``, and fields of the recipe.
        """
        from landscape.training import Job, Measuring, plan_runs, train_several

        keep = options.pop("save_every", None)
        place = self.source or self.folder
        jobs = [
            Job(
                self.recipe(optimizer, seed, **options),
                place / f"{label.replace(' ', '-').replace('/', '-')}-{seed}",
                save_every=keep,
                measuring=measuring and Measuring(**measuring),
            )
            for seed in self.seeds
        ]
        if self.planned is not None:
            self.planned.extend(jobs)
            return []
        plan = plan_runs([job.recipe for job in jobs], [job.folder for job in jobs], jobs=self.jobs)
        missing = [str(run.folder) for run in plan.runs if run.done < run.recipe.epochs]
        if self.source is not None and missing:
            raise SystemExit(f"--from: no finished run of this study in {', '.join(missing)}")
        outcome = train_several(plan, jobs)
        if outcome.failures:
            raise SystemExit("\n".join(f"{f.folder}: {f.reason}" for f in outcome.failures))
        say(f"{label}: {len(outcome.runs)} runs")
        return list(outcome.runs)

    def objective(self, run: Any, split: str, **options: Any) -> Any:
        """The loss of a run's network on a part of its data.

        Args:
            run: Finished.
            split: ``train`` or ``test``.
            **options: Of :meth:`landscape.checkpoints.Checkpoint.objective`.
        """
        from landscape import load_checkpoint

        return load_checkpoint(run.checkpoint).objective(split, limit=self.setup.limit, **options)

    def remember(self, name: str, compute: Callable[[], Any]) -> Any:
        """What ``compute`` returned for this name before, if this folder holds it: kept as JSON.

        Args:
            name: Of the result.
            compute: Numbers, lists or dictionaries.
        """
        if self.planned is not None:
            raise SystemExit(f"{self.study.name} trains in a loop of its own: there is nothing to plan")
        path = self.folder / f"{name.replace(' ', '-')}.json"
        if not path.is_file():
            write_whole(path, json.dumps(compute()).encode())
        return json.loads(path.read_text(encoding="utf-8"))


def planned(work: Work) -> "list[Job]":
    """The runs of a study, but for those that follow from the results of others."""
    jobs: list[Job] = []
    work.study.compute(dataclasses.replace(work, planned=jobs))
    return jobs


def estimate(jobs: "Sequence[Job]") -> str:
    """What the runs take, from a few timed steps of each on this device."""
    import torch

    from landscape.training import plan_runs

    plan = plan_runs([job.recipe for job in jobs], [job.folder for job in jobs], jobs=1)
    lines = []
    for run in plan.runs:
        if run.recipe.seed == plan.runs[0].recipe.seed and run.timing is not None:
            step = f"{1e3 * run.timing.step:.3g} ms a step, {run.recipe.epochs} epochs"
            lines.append(f"{run.recipe.optimizer}: {step}, {run.seconds / 3600:.3g} hours")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "a CPU, not a GPU"
    hours = sum(run.seconds for run in plan.runs) / 3600
    done = sum(run.done >= run.recipe.epochs for run in plan.runs)
    total = f"{len(jobs)} runs, {done} finished: {hours:.3g} hours of one device, as timed on {device}"
    return "\n".join([*lines, total])


def say(text: str) -> None:
    """A line of progress."""
    print(time.strftime("%H:%M:%S"), text, flush=True)


def execute(work: Work) -> dict[str, Any]:
    """The record of a study: what was done, how long it took, what came out."""
    import torch

    start = _spent()
    clock = work.folder / "seconds.txt"
    try:
        results = work.study.compute(work)
    finally:
        append_line(clock, f"{_spent() - start:.1f}")
    seconds = sum(map(float, clock.read_text(encoding="utf-8").split()))
    return {
        "study": work.study.name,
        "setup": work.setup.name,
        "words": work.setup.words,
        "seeds": list(work.seeds),
        "arms": dict(work.arms),
        "minutes": round(seconds / 60, 1),
        "where": f"torch {torch.__version__.partition('+')[0]}, {torch.get_num_threads()} thread(s), "
        + ("CPU" if not torch.cuda.is_available() else torch.cuda.get_device_name()),
        "results": _short(results),
    }


def _spent() -> float:
    """Seconds of processor time, those of finished processes of a pool included."""
    return sum(os.times()[:4])


def records_of(study: Study) -> list[Record]:
    """The committed records of a study, the small ones first."""
    paths = [RECORDS / f"{study.name}-{setup}.json" for setup in (*study.setups, "paper")]
    return [_numbers(json.loads(path.read_text(encoding="utf-8"))) for path in paths if path.is_file()]


def store(record: Record) -> Path:
    """Writes a record where it is committed."""
    path = RECORDS / f"{record['study']}-{record['setup']}.json"
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    write_whole(path, (text.replace('},"', '},\n"') + "\n").encode())
    return path


def table(study: Study, record: Record) -> str:
    """The numbers of a record in Markdown: mean ± standard deviation over seeds, or what the study makes of them."""
    if study.table is not None:
        return study.table(record)
    if not study.columns:
        return ""
    rows = [f"| | {' | '.join(study.columns.values())} |", "|---|" + "---:|" * len(study.columns)]
    for arm, found in record["results"].items():
        if any(column in found for column in study.columns):
            cells = [spread(found[column]) if column in found else "" for column in study.columns]
            rows.append(f"| {arm} | {' | '.join(cells)} |")
    return "\n".join(rows)


def main(study: Study) -> None:
    """The command line of a script."""
    parser = argparse.ArgumentParser(description=f"{study.title}. {study.source}")
    parser.add_argument("--recompute", action="store_true", help="train and measure; takes minutes")
    parser.add_argument("--size", choices=["cpu", "paper"], default="cpu", help="paper: for a GPU")
    parser.add_argument(
        "--data", help="one of the library's names of data; by default those that need no download"
    )
    parser.add_argument("--setup", choices=[*study.setups], help="by default the one for the data")
    parser.add_argument("--seeds", type=int, default=study.seeds, help="how many")
    parser.add_argument("--runs", type=Path, default=Path("runs/reproductions"), help="where runs are kept")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--dry-run", action="store_true", help="time a few steps and say what all runs take")
    parser.add_argument(
        "--write-plan", type=Path, metavar="FILE", help="for `landscape train --plan FILE --index N`"
    )
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="DIR", help="finished runs of somebody else"
    )
    given = parser.parse_args()
    if given.dry_run or given.write_plan:
        jobs = planned(_work(study, given))
        if given.write_plan:
            from landscape.training import write_sweep

            write_sweep(given.write_plan, jobs)
            print(
                f"{given.write_plan}: {len(jobs)} runs; landscape train --plan {given.write_plan} --index 0"
            )
        else:
            print(estimate(jobs))
        return
    if given.recompute:
        print(store(execute(_work(study, given))))
        print("Run `python figures/reproductions/results.py` to bring RESULTS.md up to date.")
    for record in records_of(study):
        print(f"\n{record['words']}; {len(record['seeds'])} seeds, {record['minutes']} minutes\n")
        print(table(study, record))
        for claim in study.claims(record):
            print(f"\n{claim.judgement.upper()}: {claim.text}. Paper: {claim.paper}. Ours: {claim.ours}")


def command(study: Study, setup: Setup, seeds: int) -> str:
    """The command that makes the record of a study at a size."""
    words = [f"python figures/reproductions/{study.name}.py --recompute --seeds {seeds}"]
    if setup.name == "paper":
        words.append("--size paper")
    if setup != next(iter(study.setups.values())):
        words.append(f"--data {setup.data}")
    if setup.name != "paper" and setup.name != kind_of(setup.data):
        words.append(f"--setup {setup.name}")
    return " ".join(words)


def _work(study: Study, given: argparse.Namespace) -> Work:
    data = given.data or next(iter(study.setups.values())).data
    if given.size == "paper":
        if study.paper is None:
            raise SystemExit(f"{study.name}: there is no other size than the default")
        if given.data is None:
            raise SystemExit(f"--size paper: {study.paper.words}; give --data {study.paper.data}")
        setup = study.paper
    elif (name := given.setup or kind_of(data)) in study.setups:
        setup = study.setups[name]
    else:
        raise SystemExit(f"--data {data}: {study.name} has setups for {', '.join(study.setups)}")
    part = part_of(data, setup, given.runs)
    folder = given.runs / study.name / setup.name
    folder.mkdir(parents=True, exist_ok=True)
    return Work(study, setup, part, range(given.seeds), folder, jobs=given.jobs, source=given.source)


def _short(value: Any) -> Any:
    """Numbers with six digits; those that are not finite as null."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_short(item) for item in value]
    return value


def _numbers(value: Any) -> Any:
    """Null as NaN."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [math.nan if item is None else _numbers(item) for item in value]
    return value
