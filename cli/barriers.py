"""``landscape barriers``: the barriers between every two of some checkpoints, as a matrix."""

from typing import TYPE_CHECKING

import click

from landscape.errors import UsageError
from landscape.processes import refuse_joint_command
from landscape.processes.group import ALONE
from landscape.records.json_lines import plain
from landscape.tables import WIDTH

from . import options
from .help import ExamplesFirst
from .preflight import opened, other_network, preflight, short_names
from .progress import Bar

if TYPE_CHECKING:
    from landscape.surfaces.barrier_matrix import Pair


@click.command(name="barriers", cls=ExamplesFirst)
@click.argument("checkpoints", nargs=-1, required=True, metavar="CHECKPOINT…")
@click.option(
    "--align", is_flag=True, help="Also align the second of each pair to the first, by weight matching."
)
@options.flag("--points", type=click.IntRange(min=3, max=10_001), default=11, help="Points of each line.")
@options.subject_flags
@options.form("table", "json", "jsonl", "csv")
@options.quiet
@options.config
def command(
    checkpoints: tuple[str, ...],
    align: bool,
    points: int,
    subject: options.Subject,
    form: str,
    quiet: bool,
) -> None:
    """Computes the barrier on the line between every two checkpoints of one network, such as several seeds.

    \b
      landscape barriers runs/sgd-0 runs/sgd-1 runs/sgd-2 --align
      landscape barriers runs/* --split both --points 21 --format csv

    The barrier is how far the loss rises above the line between its values at the two ends. With --align, the units
    of the second network are first permuted so that its weights are close to those of the first.
    """
    from landscape.surfaces.barrier_matrix import barriers_between

    refuse_joint_command("barriers")
    if len(checkpoints) < 2:
        raise UsageError("a barrier is between two checkpoints, and one was given; name at least two")
    if subject.shard_weights:
        raise UsageError("barriers needs whole weights in one process; leave out --shard-weights")
    if align and subject.parameters is not None:
        raise UsageError("--align permutes the units of all layers; leave out --parameters")
    options.chosen_device(subject.device, subject.dtype)
    checkpoint = opened(checkpoints[0], subject, ALONE)
    both = subject.split == "both"
    objective = subject.objective(checkpoint, "train" if both else subject.split)
    test = subject.objective(checkpoint, "test") if both else None
    name = click.format_filename(checkpoints[0])
    summary = preflight(name, checkpoint, objective, expected=subject.expect_accuracy)
    if not quiet:
        click.echo(summary, err=True)
    names = short_names(checkpoints)
    objectives, tests = {names[0]: objective}, {names[0]: test} if test else None
    for short, path in zip(names[1:], checkpoints[1:], strict=True):
        network = other_network(path, checkpoint, subject)
        objectives[short] = objective.of(network)
        if tests is not None and test is not None:
            tests[short] = test.of(network)
    with Bar("barriers", quiet=quiet, counted=True) as bar:
        pairs = barriers_between(
            objectives,
            tests=tests,
            points=points,
            align=align,
            progress=lambda done, total: bar.tell(f"{done} of {total} pairs", done / total),
        )
    click.echo(_shown(pairs, form))


def _shown(pairs: "tuple[Pair, ...]", form: str) -> str:
    from landscape.surfaces.barrier_matrix import barrier_grid, barrier_rows

    if form in ("json", "jsonl"):
        return options.json_forms(form, [plain(pair.to_dict()) for pair in pairs])
    if form == "csv":
        return barrier_rows(pairs).csv().rstrip("\n")
    return "\n\n".join(barrier_grid(pairs, loss).text(width=WIDTH) for loss in pairs[0].barriers)
