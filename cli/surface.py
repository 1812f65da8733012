"""``landscape surface``: the loss on a plane through checkpoints, as numbers and as a figure."""

from pathlib import Path
from typing import Any

import click

from landscape.errors import UsageError

from . import options
from .help import ExamplesFirst
from .plot import draw
from .surface_run import SurfaceRun

_PICTURES = (".pdf", ".svg", ".png", ".html")


@click.command(name="surface", cls=ExamplesFirst)
@click.argument("checkpoints", nargs=-1, required=True, metavar="CHECKPOINT…")
@click.option("--plane", default="random", show_default=True, help="See `landscape list planes`.")
@click.option(
    "--points", default="51", show_default=True, metavar="N|NXxNY", help="Grid points along each direction."
)
@click.option(
    "--span",
    default=None,
    metavar="S|SXxSY",
    help="The grid reaches from -S to S; by default 1, or as far as the checkpoints of a plane.",
)
@click.option("--center", is_flag=True, help="Refuse a grid that has not the checkpoint itself as a point.")
@click.option("--gradient-norm", is_flag=True, help="The norm of the gradient at each point, too.")
@click.option(
    "--forward",
    type=click.Choice(["plain", "channels-last", "folded", "folded-channels-last"]),
    default=None,
    help="How forward passes are made; by default the quickest.",
)
@click.option("--shard", metavar="I/N", help="Compute every N-th point only, from the I-th on.")
@click.option("--merge", is_flag=True, help="The files are shards (.npz), to be put together.")
@click.option("--dry-run", is_flag=True, help="Only say how long it would take.")
@options.checkpoint_flags
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("surface.pdf"),
    show_default=True,
    help="The figure (.pdf, .svg, .png, .html), or the numbers (.npz, .csv, .vts, .nc); the .npz is always written.",
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
    span: str | None,
    center: bool,
    gradient_norm: bool,
    forward: str | None,
    shard: str | None,
    merge: bool,
    dry_run: bool,
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
      landscape surface runs/sgd runs/sam --points 41 --venue icml --width text -o both.pdf
      landscape surface runs/sgd runs/sam --plane interpolation --split both -o line.pdf

    On a plane or line through several checkpoints, they share one figure; otherwise each has its own panel. An
    interrupted computation goes on where it stopped when the command is run again.
    """
    from landscape.surfaces.export import EXPORTS
    from landscape.surfaces.grid import symmetric, whole
    from landscape.surfaces.plane import PLANES, origin_of
    from landscape.surfaces.surface import Surface

    PLANES.parse(plane)
    known = (*_PICTURES, ".npz", *EXPORTS)
    if output.suffix not in known:
        raise UsageError(
            f"{output}: '{output.suffix}' is not a format of surfaces; end it in {', '.join(known[:-1])} or {known[-1]}"
        )
    origin = origin_of(plane)
    together = merge or origin is not None
    files = _number_files(output, 1 if together else len(checkpoints))
    part = _shard(shard)
    sampling: dict[str, Any] = {
        "points": _pair(points, int, "--points"),
        "span": None if span is None else _pair(span, float, "--span"),
        "gradient_norm": gradient_norm,
        "centre": center,
        "shard": part,
        "forward": forward,
    }
    for count, extent in zip(sampling["points"], sampling["span"] or (1.0, 1.0), strict=True):
        symmetric(whole(count), extent)
    options.chosen_device(asked.device)
    # Numbers with a journal beside them are those of a command that was interrupted while saving.
    taken = [file for file in files if file.exists() and not file.with_suffix(".journal").exists()]
    if taken and not overwrite and not dry_run:
        raise UsageError(
            f"{taken[0]} is there; redraw it with `landscape plot {taken[0]}`, or add --overwrite to compute it anew"
        )
    for file in (output, *files):
        options.writable(file)
    if merge:
        from landscape.surfaces.merging import merged

        surfaces = [merged([Surface.load(name) for name in checkpoints])]
    else:
        paths = _expanded(checkpoints, origin == "last")
        first = paths[-1] if origin == "last" else paths[0]
        anchors = [first] if together else paths
        surfaces = []
        for path, file in zip(anchors, files, strict=True):
            run = SurfaceRun.opened(path, paths if together else [], asked, quiet=quiet)
            if dry_run:
                click.echo(run.estimate(plane, sampling))
                continue
            journal = file.with_suffix(".journal")
            if not resume:
                journal.unlink(missing_ok=True)
            surfaces.append(run.surface(plane, sampling, journal))
        if dry_run:
            return
    # Only now, so that a command that is interrupted goes on at its journals when it is run again.
    for surface, file in zip(surfaces, files, strict=True):
        surface.save(file)
    for file in files:
        file.with_suffix(".journal").unlink(missing_ok=True)
    if not all(surface.complete for surface in surfaces):
        click.echo("\n".join(map(str, files)))
        click.echo("Put the shards together with: landscape surface --merge FILE.npz…", err=True)
    elif output.suffix == ".npz":
        click.echo("\n".join(map(str, files)))
    elif output.suffix in EXPORTS:
        for surface, file in zip(surfaces, files, strict=True):
            click.echo(EXPORTS[output.suffix](surface, file.with_suffix(output.suffix)))
    else:
        for written in draw(files, output, venue=venue, width=width):
            click.echo(written)


def _expanded(checkpoints: tuple[str, ...], path_of_a_run: bool) -> list[str]:
    """The checkpoints; for a trajectory, those kept in a run folder that is given alone."""
    folder = Path(checkpoints[0]) / "checkpoints"
    if path_of_a_run and len(checkpoints) == 1 and folder.is_dir():
        kept = sorted(str(file) for file in folder.iterdir() if file.suffix == ".pt")
        return kept or list(checkpoints)
    return list(checkpoints)


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    number, slash, parts = text.partition("/")
    if not (slash and number.isdigit() and parts.isdigit()):
        raise UsageError(f"--shard {text} is not of the form I/N, such as 1/4")
    return int(number), int(parts)


def _number_files(output: Path, count: int) -> list[Path]:
    """One ``.npz`` a surface beside the figure."""
    if count == 1:
        return [output.with_suffix(".npz")]
    return [output.with_name(f"{output.stem}-{k + 1}.npz") for k in range(count)]


def _pair(text: str, kind: type[int] | type[float], flag: str) -> tuple[int, int]:
    parts = text.split("x")
    try:
        numbers = [kind(part) for part in parts]
    except ValueError:
        raise UsageError(f"{flag} {text} is not a number, or two with x between") from None
    if len(numbers) > 2:
        raise UsageError(f"{flag} {text} has {len(numbers)} numbers; a plane has two directions")
    return (numbers[0], numbers[-1])  # type: ignore[return-value]
