"""``landscape verify``: the same numbers from independent implementations."""

import click

from landscape.tables import aligned

from . import options
from .failures import Unconverged


@click.command(name="verify")
@click.argument("checkpoint")
@click.option("-m", "--model", help="Network, if the checkpoint does not say.")
@click.option("-d", "--data", help="Data set, if the checkpoint does not say.")
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
@options.weights
@options.trust
@options.config
def command(
    checkpoint: str,
    model: str | None,
    data: str | None,
    split: str,
    limit: int,
    seed: int,
    weights: str | None,
    trust: bool,
) -> None:
    """Compares with PyHessian, scipy's eigsh and, where it fits, the dense float64 Hessian.

    \b
      landscape verify runs/sam/checkpoint.pt
      landscape verify resnet.pt -m resnet20 -d cifar10:root=DIR --limit 256

    Exits with 4 if a difference is larger than the stated errors explain. Needs the extra `verify`.
    """
    from landscape.checkpoints import load_checkpoint
    from landscape.checkpoints.verification import verify

    opened = load_checkpoint(checkpoint, model=model, data=data, trust=trust, weights=weights)  # type: ignore[arg-type]
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
