"""``landscape surface``: the loss on a plane through checkpoints, as numbers and as a figure."""

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from landscape.errors import UsageError
from landscape.records.storage import discard_parts

from . import options
from .drawing import PICTURES, numbered, write_drawing
from .help import ExamplesFirst
from .surface_files import finished, journal_of, require_same_bytes, require_unchanged
from .surface_run import SurfaceRun, recorded_command

if TYPE_CHECKING:
    from landscape.records.surface import Surface

_NEEDED = {".html": ("plotly", "html"), ".nc": ("xarray", "netcdf")}
"""By ending: the package that writes it, and the extra that brings it."""


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
    type=click.Choice(["plain", "channels-last", "folded", "folded-channels-last", "fused"]),
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
    from landscape.plotting.figure_options import FigureOptions
    from landscape.surfaces.plane import PLANES, origin_of

    PLANES.parse(plane)
    sampling: dict[str, Any] = {
        "points": _pair(points, int, "--points"),
        "span": None if span is None else _pair(span, float, "--span"),
        "gradient_norm": gradient_norm,
        "centre": center,
        "shard": _shard(shard),
        "forward": forward,
    }
    _refuse_grid(sampling)
    _refuse_format(output, plane)
    origin = origin_of(plane)
    together = merge or origin is not None
    files = numbered(output.with_suffix(".npz"), 1 if together else len(checkpoints))
    options.chosen_device(asked.device)
    for file in () if dry_run else (output, *files):
        options.writable(file)
    if merge:
        surfaces = _merged(checkpoints, files[0], overwrite=overwrite)
    else:
        paths = _expanded(checkpoints, origin == "last")
        anchors = paths if not together else paths[-1:] if origin == "last" else paths[:1]
        through = paths if together else []
        if dry_run:
            for path in anchors:
                click.echo(SurfaceRun.opened(path, through, asked, quiet=quiet).estimate(plane, sampling))
            return
        opened = functools.partial(SurfaceRun.opened, paths=through, asked=asked, quiet=quiet)
        surfaces = _computed(plane, sampling, anchors, files, opened, resume=resume, overwrite=overwrite)
    written = tuple(files)
    if not all(surface.complete for surface in surfaces):
        click.echo("Put the shards together with: landscape surface --merge FILE.npz…", err=True)
    elif output.suffix.lower() != ".npz":
        figure_options = FigureOptions(venue=venue, width=width, names=[file.stem for file in files])  # type: ignore[arg-type]
        written = write_drawing(surfaces, output, figure_options)
    # Last: with its journal there, numbers are those of a command that has something left to do.
    for file in files:
        discard_parts(file)
        journal_of(file).unlink(missing_ok=True)
    for place in written:
        click.echo(place)


def _refuse_grid(sampling: dict[str, Any]) -> None:
    """What no plane allows, said before a checkpoint is opened."""
    from landscape.surfaces.grid import share, symmetric, whole

    for count, extent in zip(sampling["points"], sampling["span"] or (1.0, 1.0), strict=True):
        symmetric(whole(count), extent)
    share([], sampling["shard"])


def _refuse_format(output: Path, plane: str) -> None:
    """An output of an unknown kind, or one that needs what is not installed, or that is not for lines."""
    from landscape.surfaces.export import EXPORTS
    from landscape.surfaces.plane import is_line

    known = (*PICTURES, ".html", ".npz", *EXPORTS)
    suffix = output.suffix.lower()
    if suffix not in known:
        raise UsageError(
            f"{output}: '{output.suffix}' is not a format of surfaces; end it in {', '.join(known[:-1])} or {known[-1]}"
        )
    package, extra = _NEEDED.get(suffix, (None, None))
    if package is not None and importlib.util.find_spec(package) is None:
        raise UsageError(
            f"{output}: {package} is not installed; pip install 'landscape-geometry[{extra}]', or choose another ending"
        )
    if suffix == ".html" and is_line(plane):
        raise UsageError(
            f"{output}: .html is for planes, and '{plane}' is a line; end it in .pdf, .svg or .png"
        )


def _computed(
    plane: str,
    sampling: dict[str, Any],
    anchors: list[str],
    files: list[Path],
    opened: Callable[[str], SurfaceRun],
    *,
    resume: bool,
    overwrite: bool,
) -> "list[Surface]":
    """The surfaces, saved; those that an earlier run of this command has saved are not computed again."""
    request = {
        "command": recorded_command(),
        "asked": {"plane": plane, **{name: sampling[name] for name in sampling if name != "shard"}},
    }
    saved = [
        finished(file, request, shard=sampling["shard"], resume=resume, overwrite=overwrite) for file in files
    ]
    surfaces = []
    for path, file, done in zip(anchors, files, saved, strict=True):
        run = opened(path)
        if done is not None:
            require_unchanged(file, done, run)
            surfaces.append(done)
            continue
        if not resume:
            journal_of(file).unlink(missing_ok=True)
        surfaces.append(run.surface(plane, sampling, journal_of(file), request))
    # Only now, so that a command that is interrupted goes on at its journals when it is run again.
    for surface, file, done in zip(surfaces, files, saved, strict=True):
        if done is None:
            surface.save(file)
    return surfaces


def _merged(names: tuple[str, ...], file: Path, *, overwrite: bool) -> "list[Surface]":
    """The shards put together, saved."""
    from landscape.records.surface import Surface
    from landscape.surfaces.merging import merged

    whole = merged([Surface.load(name) for name in names])
    require_same_bytes(file, whole, overwrite=overwrite)
    whole.save(file)
    return [whole]


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


def _pair(text: str, kind: type[int] | type[float], flag: str) -> tuple[int, int]:
    parts = text.split("x")
    try:
        numbers = [kind(part) for part in parts]
    except ValueError:
        raise UsageError(f"{flag} {text} is not a number, or two with x between") from None
    if len(numbers) > 2:
        raise UsageError(f"{flag} {text} has {len(numbers)} numbers; a plane has two directions")
    return (numbers[0], numbers[-1])  # type: ignore[return-value]
