"""``landscape surface``: the loss on a plane through checkpoints, as numbers and as a figure."""

import shlex
import sys
from pathlib import Path

import click

from landscape.errors import UsageError

from . import options
from .help import ExamplesFirst
from .plot import draw
from .preflight import preflight
from .progress import Bar


@click.command(name="surface", cls=ExamplesFirst)
@click.argument("checkpoints", nargs=-1, required=True, metavar="CHECKPOINT…")
@click.option("--plane", default="random", show_default=True, help="See `landscape list planes`.")
@click.option(
    "--points", default="51", show_default=True, metavar="N|NXxNY", help="Grid points along each direction."
)
@click.option(
    "--span", default="1.0", show_default=True, metavar="S|SXxSY", help="The grid reaches from -S to S."
)
@options.checkpoint_flags
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("surface.pdf"),
    show_default=True,
    help="The figure (.pdf, .svg, .png); the numbers go beside it (.npz).",
)
@options.venue
@options.width
@options.resume
@options.overwrite
@options.quiet
@options.config
def command(
    checkpoints: tuple[str, ...],
    plane: str,
    points: str,
    span: str,
    asked: options.Asked,
    output: Path,
    venue: str,
    width: str | None,
    resume: bool,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Computes and draws loss surfaces; several checkpoints share directions and colour scale.

    \b
      landscape surface runs/sam/checkpoint.pt -o sam.pdf
      landscape surface runs/sgd runs/sam --points 41 --venue icml --width text -o both.pdf

    An interrupted computation goes on where it stopped when the command is run again.
    """
    from landscape.surfaces.grid import symmetric, whole
    from landscape.surfaces.plane import PLANES
    from landscape.surfaces.sampling import sample_surface

    PLANES.parse(plane)
    if asked.split == "both":
        raise UsageError("--split both is not for surfaces; draw train and test one after the other")
    if output.suffix not in (".pdf", ".svg", ".png"):
        raise UsageError(f"{output}: '{output.suffix}' is not a picture format; end it in .pdf, .svg or .png")
    grid, reach = _pair(points, int, "--points"), _pair(span, float, "--span")
    for count, extent in zip(grid, reach, strict=True):
        symmetric(whole(count), extent)
    files = _number_files(output, checkpoints)
    # Numbers with a journal beside them are those of a command that was interrupted while saving.
    taken = [file for file in files if file.exists() and not file.with_suffix(".journal").exists()]
    if taken and not overwrite:
        raise UsageError(
            f"{taken[0]} is there; redraw it with `landscape plot {taken[0]}`, or add --overwrite to compute it anew"
        )
    options.chosen_device(asked.device)
    for file in (output, *files):
        options.writable(file)
    surfaces = []
    for path, file in zip(checkpoints, files, strict=True):
        checkpoint = asked.open(path)
        objective = asked.objective(checkpoint, asked.split)
        said = preflight(click.format_filename(path), checkpoint, objective, expected=asked.expect_accuracy)
        if not quiet:
            click.echo(said, err=True)
        journal = file.with_suffix(".journal")
        if not resume:
            journal.unlink(missing_ok=True)
        with Bar(f"surface of {path}", quiet=quiet) as bar:
            surface = sample_surface(
                objective,
                plane,
                points=grid,
                span=reach,
                journal=journal,
                progress=lambda done, total, shown=bar: shown.tell(f"{done} of {total} points", done / total),  # type: ignore[misc]
            )
        recipe = checkpoint.contents.recipe or {}
        surfaces.append(
            surface.described(
                label=str(recipe.get("optimizer", Path(path).stem)),
                command=shlex.join(["landscape", *sys.argv[1:]]),
            )
        )
        if not quiet:
            click.echo(f"{path}: centre check, surface − loss = {surface.centre_error}", err=True)
    # Only now, so that a command that is interrupted goes on at its journals when it is run again.
    for surface, file in zip(surfaces, files, strict=True):
        surface.save(file)
    for file in files:
        file.with_suffix(".journal").unlink(missing_ok=True)
    for written in draw(files, output, venue=venue, width=width):
        click.echo(written)


def _number_files(output: Path, checkpoints: tuple[str, ...]) -> list[Path]:
    """One ``.npz`` a checkpoint beside the figure."""
    if len(checkpoints) == 1:
        return [output.with_suffix(".npz")]
    return [output.with_name(f"{output.stem}-{k + 1}.npz") for k in range(len(checkpoints))]


def _pair(text: str, kind: type[int] | type[float], flag: str) -> tuple[int, int]:
    parts = text.split("x")
    try:
        numbers = [kind(part) for part in parts]
    except ValueError:
        raise UsageError(f"{flag} {text} is not a number, or two with x between") from None
    if len(numbers) > 2:
        raise UsageError(f"{flag} {text} has {len(numbers)} numbers; a plane has two directions")
    return (numbers[0], numbers[-1])  # type: ignore[return-value]
