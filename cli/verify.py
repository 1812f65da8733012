"""``landscape verify``: the same numbers from independent implementations."""

import click

from landscape.tables import Grid

from . import options
from .failures import Unconverged
from .help import ExamplesFirst


@click.command(name="verify", cls=ExamplesFirst)
@click.argument("checkpoint")
@options.source_flags
@options.split("train", "test")
@options.flag(
    "--limit",
    type=click.IntRange(min=1),
    default=512,
    help="Use a fixed random subset of this size, in one batch.",
)
@options.seed
@options.config
def command(checkpoint: str, source: options.Source, split: str, limit: int, seed: int) -> None:
    """Compares with PyHessian, scipy's eigsh and, where it fits, the dense float64 Hessian.

    \b
      landscape verify runs/sam/checkpoint.pt
      landscape verify resnet.pt -m resnet20 -d cifar10:root=DIR --limit 256

    Exits with 4 if a difference is larger than the stated errors explain. Needs the extra `verify`.
    """
    from landscape.verification.other_tools import verify

    opened = source.open(checkpoint)
    comparisons = list(verify(opened, split=split, limit=limit, seed=seed))  # type: ignore[arg-type]
    rows = [
        (
            c.measure,
            f"{c.ours.value:.6g}",
            f"{c.ours.cost.seconds:.1f}",
            c.other,
            f"{c.value:.6g}",
            f"{c.seconds:.1f}",
            f"{c.difference:.1e}",
            f"{c.allowed:.1e}",
            "ok" if c.agrees else "DIFFERS",
        )
        for c in comparisons
    ]
    head = ("measure", "landscape", "s", "by", "value", "s", "difference", "allowed", "")
    click.echo(Grid(head, rows).text())
    wrong = [f"{c.measure} by {c.other}" for c in comparisons if not c.agrees]
    if wrong:
        raise Unconverged(f"beyond the stated errors: {', '.join(wrong)}")
