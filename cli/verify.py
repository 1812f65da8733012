"""``landscape verify``: the same numbers from independent implementations."""

import click

from landscape.tables import aligned

from . import options
from .failures import Unconverged


@click.command(name="verify")
@click.argument("checkpoint")
@options.source_flags
@click.option(
    "--split",
    type=click.Choice(["train", "test"]),
    default="train",
    show_default=True,
    help="Which examples.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=512,
    show_default=True,
    help="A fixed random subset of so many examples, in one batch.",
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
    lines = [["measure", "landscape", "s", "by", "value", "s", "difference", "allowed", ""]]
    wrong = []
    for found in verify(opened, split=split, limit=limit, seed=seed):  # type: ignore[arg-type]
        lines.append(
            [
                found.measure,
                f"{found.ours.value:.6g}",
                f"{found.ours.cost.seconds:.1f}",
                found.other,
                f"{found.value:.6g}",
                f"{found.seconds:.1f}",
                f"{found.difference:.1e}",
                f"{found.allowed:.1e}",
                "ok" if found.agrees else "DIFFERS",
            ]
        )
        if not found.agrees:
            wrong.append(f"{found.measure} by {found.other}")
    click.echo(aligned(lines))
    if wrong:
        raise Unconverged(f"beyond the stated errors: {', '.join(wrong)}")
