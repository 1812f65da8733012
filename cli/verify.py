"""``landscape verify``: the same numbers from independent implementations."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from landscape.processes import refuse_joint_command
from landscape.records.estimate import free_parameters
from landscape.records.json_lines import plain
from landscape.tables import WIDTH, Grid

from . import options
from .failures import Unconverged
from .help import ExamplesFirst
from .progress import Bar

if TYPE_CHECKING:
    from landscape.verification.other_tools import Comparison


@click.command(name="verify", cls=ExamplesFirst)
@click.argument("checkpoint")
@options.source_flags
@options.parameters
@options.split("train", "test")
@options.flag(
    "--limit",
    type=click.IntRange(min=1),
    help="Use a fixed random subset of this size, in one batch; 512 by default, of sequences as many as have 4096 "
    "tokens.",
)
@options.seed
@options.form("table", "json", "jsonl")
@options.quiet
@options.config
def command(
    checkpoint: str,
    source: options.Source,
    parameters: str | None,
    split: str,
    limit: int | None,
    seed: int,
    form: str,
    quiet: bool,
) -> None:
    """Compares with PyHessian, scipy's eigsh and, where it fits, the dense float64 Hessian.

    \b
      landscape verify runs/sam/checkpoint.pt
      landscape verify resnet.pt -m resnet20 -d cifar10:root=DIR --limit 256

    Exits with 4 if a difference is larger than the stated errors explain. Needs the extra `verify`.
    """
    from landscape.verification.other_tools import verify

    refuse_joint_command("verify")
    opened = source.open(checkpoint)
    comparisons = []
    selection = None if parameters is None else options.listed(parameters)
    with Bar("verify", quiet=quiet) as bar:
        for comparison in verify(
            opened,
            split=split,
            limit=limit,
            seed=seed,
            parameters=selection,
            tell=bar.tell,
        ):
            comparisons.append(comparison)
    click.echo(_table(comparisons) if form == "table" else options.json_forms(form, _objects(comparisons)))
    wrong = [f"{c.measure} by {c.other}" for c in comparisons if not c.agrees]
    if wrong:
        raise Unconverged(f"beyond the stated errors: {', '.join(wrong)}")


def _table(comparisons: "Sequence[Comparison]") -> str:
    head = ("measure", "ours", "by", "theirs", "off by", "allowed", "")
    rows = [
        (
            c.measure,
            f"{c.ours.value:.5g}",
            c.other,
            f"{c.value:.5g}",
            f"{c.difference:.1e}",
            f"{c.allowed:.1e}",
            "ok" if c.agrees else "DIFFERS",
        )
        for c in comparisons
    ]
    origin = comparisons[0].ours.provenance
    notes = [
        note for note in (free_parameters(origin), *_drawn(comparisons), *_left_out(comparisons)) if note
    ]
    return Grid(head, rows, [f"{origin.num_examples:,} examples", *notes]).text(width=WIDTH)


def _left_out(comparisons: "Sequence[Comparison]") -> list[str]:
    """The implementations that do not apply, and why."""
    from landscape.verification.other_tools import DENSE_LIMIT

    others = {c.other for c in comparisons}
    reasons = {
        "dense float64": f"left out: the dense Hessian, for at most {DENSE_LIMIT:,} parameters (--parameters)",
        "PyHessian": "left out: PyHessian, which takes pairs of inputs and targets and a loss of torch's own",
    }
    return [reason for other, reason in reasons.items() if other not in others]


def _drawn(comparisons: "Sequence[Comparison]") -> list[str]:
    """What was estimated from probes, which decides how strict the comparison is."""
    estimates = {c.measure: c.ours for c in comparisons}
    return [
        f"{name}: ours ± {estimate.standard_error:.2g} from {estimate.details['probes']} probes; four standard errors "
        "of both are allowed"
        for name, estimate in estimates.items()
        if estimate.standard_error is not None and "probes" in estimate.details
    ]


def _objects(comparisons: "Sequence[Comparison]") -> list[object]:
    rows = [
        {
            "measure": c.measure,
            "landscape": c.ours.value,
            "landscape_seconds": c.ours.cost.seconds,
            "by": c.other,
            "value": c.value,
            "seconds": c.seconds,
            "difference": c.difference,
            "allowed": c.allowed,
            "agrees": c.agrees,
            "parameters": c.ours.provenance.parameters,
            "frozen": c.ours.provenance.frozen,
            "dimension": c.ours.provenance.dimension,
        }
        for c in comparisons
    ]
    return [plain(row) for row in rows]
