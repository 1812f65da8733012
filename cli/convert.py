"""``landscape convert``: any checkpoint to safetensors."""

from pathlib import Path
from typing import Literal

import click

from landscape.tables.escaping import visible

from . import options
from .help import ExamplesFirst


@click.command(name="convert", cls=ExamplesFirst)
@click.argument("source", metavar="IN")
@click.argument("output", metavar="OUT.safetensors")
@options.weights
@options.drop
@options.rename
@options.trust
@options.overwrite
def command(
    source: str,
    output: str,
    weights: Literal["raw", "ema"] | None,
    drop: tuple[str, ...],
    rename: tuple[str, ...],
    trust: bool,
    overwrite: bool,
) -> None:
    """Writes the weights of a checkpoint to safetensors, which cannot hold code.

    \b
      landscape convert model.pt model.safetensors
      landscape convert network.pkl network.safetensors --trust-checkpoint

    With --trust-checkpoint, code in the file runs with all your rights. Use it for your own files only, or where code
    can do no harm, such as in a container without network.
    """
    from landscape.checkpoints.conversion import convert

    target = options.writable(Path(output))
    contents = convert(
        source, target, trust=trust, weights=weights, drop=drop, rename=rename, overwrite=overwrite
    )
    for note in contents.notes:
        click.echo(f"{click.format_filename(source)}: {visible(note)}", err=True)
    numbers = sum(tensor.numel() for tensor in contents.state.values())
    click.echo(f"{click.format_filename(target)}: {len(contents.state)} tensors, {numbers:,} numbers")
