"""``landscape surface``: the loss on a plane through checkpoints, as numbers and as a figure."""

import importlib.util
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from landscape.errors import UsageError
from landscape.plotting.figure_options import FigureOptions
from landscape.plotting.kinds import check_look
from landscape.processes import refuse_joint_command
from landscape.processes.starting import starts
from landscape.records.run_folder import RunFolder
from landscape.records.storage import discard_parts
from landscape.records.surface import Surface
from landscape.registry.extras import install
from landscape.surfaces.export import EXPORTS
from landscape.surfaces.grid import point_count, share, symmetric
from landscape.surfaces.merging import merged

from . import options
from .drawing import PICTURES, look_flags, numbered, write_drawing
from .help import ExamplesFirst
from .ranks import Several, in_processes
from .surface_alignment import refuse_alignment
from .surface_computing import Grid, SharedWork, Slice, Target
from .surface_files import journal_of, require_same_bytes
from .surface_joint import refuse_shared_points, same_files
from .surface_team import Team

if TYPE_CHECKING:
    from landscape.processes.group import Group

_NEEDED = {".html": ("plotly", "html"), ".nc": ("xarray", "netcdf")}  # package and extra that write it


def _points(context: click.Context, parameter: click.Parameter, text: str) -> tuple[int, int]:
    nx, ny = _pair(int, "--points", text)
    return point_count(nx), point_count(ny)


def _span(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[float, float] | None:
    spans = None if text is None else _pair(float, "--span", text)
    for span in spans or ():
        symmetric(2, span)  # refuses what is not positive
    return spans


def _pair(kind: type[int] | type[float], flag: str, text: str) -> tuple[Any, Any]:
    try:
        numbers = [kind(part) for part in text.split("x")]
    except ValueError:
        example = {"--points": "51 or 51x31"}.get(flag, "1 or 1x0.5")
        raise UsageError(f"{flag} {text} is not a number, or two with x between, such as {example}") from None
    if len(numbers) > 2:
        raise UsageError(f"{flag} {text} has {len(numbers)} numbers; a plane has two directions")
    return numbers[0], numbers[-1]


def _shard(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> tuple[int, int] | Literal["auto"] | None:
    if text is None or text == "auto":
        return text  # type: ignore[return-value]
    number, slash, parts = text.partition("/")
    if not (slash and number.isdigit() and parts.isdigit()):
        raise UsageError(f"--shard {text} is neither auto nor of the form I/N, such as 1/4")
    share([], (int(number), int(parts)))  # refuses what does not exist
    return int(number), int(parts)


@click.command(name="surface", cls=ExamplesFirst)
@click.argument("checkpoints", nargs=-1, required=True, metavar="CHECKPOINT…")
@click.option("--plane", default="random", show_default=True, help="See `landscape list planes`.")
@click.option(
    "--align",
    is_flag=True,
    help="Permute the hidden units of the other checkpoints, by weight matching, so that they are close to the first.",
)
@click.option(
    "--points",
    default="51",
    show_default=True,
    metavar="N|NXxNY",
    callback=_points,
    help="Grid points along each direction.",
)
@click.option(
    "--span",
    metavar="S|SXxSY",
    callback=_span,
    help="The grid reaches from -S to S; default: 1, or as far as the checkpoints of a plane.",
)
@click.option(
    "--center", "centre", is_flag=True, help="Refuse a grid that does not contain the checkpoint itself."
)
@click.option("--gradient-norm", is_flag=True, help="Also compute the norm of the gradient at each point.")
@click.option(
    "--forward",
    type=click.Choice(["plain", "channels-last"]),
    help="Memory order of images in forward passes; default: the faster one.",
)
@click.option(
    "--compile/--no-compile",
    default=None,
    help="Compile the forward pass (torch.compile), which takes a minute or more; default: only for a grid that takes "
    "long enough to save twice that.",
)
@options.processes
@click.option(
    "--shard",
    metavar="auto|I/N",
    callback=_shard,
    help="auto: share the points with all tasks of a scheduler that run this command (Slurm, Kubernetes, torchrun). "
    "I/N: compute only every N-th point, starting with the I-th.",
)
@click.option("--merge", is_flag=True, help="Combine shards: the arguments are their .npz files.")
@click.option("--dry-run", is_flag=True, help="Only estimate the time.")
@options.subject_flags
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("surface.pdf"),
    show_default=True,
    help="The figure (.pdf, .svg, .png, .html), or the numbers (.npz, .csv, .vts, .nc); the .npz is always written.",
)
@look_flags
@options.resume
@options.overwrite
@options.quiet
@options.config
@options.gathered(slice=Slice, grid=Grid, target=Target)
def command(
    checkpoints: tuple[str, ...],
    slice: Slice,
    grid: Grid,
    processes: int | None,
    merge: bool,
    dry_run: bool,
    subject: options.Subject,
    target: Target,
    look: FigureOptions,
    quiet: bool,
) -> int | None:
    """Computes and draws loss surfaces; several checkpoints share directions and colour scale.

    \b
      landscape surface runs/sgd runs/sam --points 41 --venue icml -o both.pdf
      landscape surface runs/sgd runs/sam --plane interpolation -o line.pdf

    On a plane or line through several checkpoints, they share one figure; otherwise each has its own panel. An
    interrupted computation resumes where it stopped when the command is run again.
    """
    # Here, as these import torch, which --help does not need.
    from landscape.surfaces.plane import plane_row

    if subject.shard_weights:
        if processes is not None and starts(processes):
            return in_processes(processes)
        refuse_shared_points(grid, merge=merge)
        several = click.get_current_context().find_object(Several)
        if several is not None:
            several.begin("surface", joint=True)
        processes = None
    else:
        _refuse_joint(grid, processes, merge=merge)
    team = Team.of(auto=grid.shard == "auto" and not merge, processes=processes)
    team.require_common(resume=target.resume, overwrite=target.overwrite)
    row = plane_row(slice.plane)
    if slice.align:
        refuse_alignment(row, subject, merge=merge)
    _refuse_format(target.output, line=slice.plane if row.line else None)
    page = target.output.suffix.lower() == ".html"
    check_look("page" if page else "line" if row.line else "relief" if look.view else "filled", look)
    count = 1 if merge or row.origin is not None else len(checkpoints)
    files = numbered(target.output.with_suffix(".npz"), count)
    options.chosen_device(subject.device, subject.dtype)
    for file in () if dry_run else (target.output, *files):
        options.writable(file)
    if merge:
        surfaces = [merged([Surface.load(name) for name in checkpoints])]
        require_same_bytes(files[0], surfaces[0], overwrite=target.overwrite)
        surfaces[0].save(files[0])
        written = _drawn(surfaces, files, target, look)
    else:
        subject = replace(subject, device=team.device(subject.device))
        request = Request(checkpoints, slice, grid, subject, look, quiet, dry_run)
        if subject.shard_weights:
            with same_files(target, files, subject.device) as (group, there):
                written = _computed(request, there, team, group)
        else:
            written = _computed(request, target, team, None)
    for file in written:
        click.echo(file)
    return None


def _refuse_joint(grid: Grid, processes: int | None, *, merge: bool) -> None:
    """Refuses several processes that neither share the points nor compute whole surfaces."""
    if merge or grid.shard is None:
        refuse_joint_command(
            "surface",
            instead="let its processes share the points (--shard auto), or give each its points (--shard I/N) and its "
            "own output (-o); on one machine, --processes N needs no launcher",
        )
    if processes is not None and (merge or grid.part is not None):
        raise UsageError(
            f"--processes {processes} is for a whole surface; leave out {'--merge' if merge else '--shard'}"
        )


@dataclass(frozen=True)
class Request:
    """The arguments that say which surfaces are computed, and how they are drawn."""

    checkpoints: tuple[str, ...]
    slice: Slice
    grid: Grid
    subject: options.Subject
    look: FigureOptions
    quiet: bool
    dry_run: bool


def _computed(request: Request, target: Target, team: Team, group: "Group | None") -> tuple[Path, ...]:
    """Computes, saves and draws the surfaces; returns the files for the user."""
    from landscape.surfaces.plane import plane_row

    from .surface_run import SurfaceRun

    row = plane_row(request.slice.plane)
    checkpoints, together = request.checkpoints, row.origin is not None
    paths = _expanded(checkpoints) if row.origin == "last" else list(checkpoints)
    anchors = paths if not together else paths[-1:] if row.origin == "last" else paths[:1]
    opened = partial(
        SurfaceRun.opened,
        paths=paths if together else [],
        subject=request.subject,
        quiet=request.quiet,
        group=group,
        align=request.slice.align,
    )
    if request.dry_run:
        sampling = vars(request.grid) | {"shard": request.grid.part}
        for path in anchors:
            click.echo(opened(path).estimate(request.slice.plane, sampling, team.workers or 1))
        return ()
    files = numbered(target.output.with_suffix(".npz"), len(anchors))
    work = SharedWork(request.slice, request.grid, anchors, files, opened, target, team)
    return work.results(lambda surfaces: _drawn(surfaces, files, target, request.look))


def _refuse_format(output: Path, *, line: str | None) -> None:
    """Refuses an output of an unknown kind, one that needs a package that is missing, and a page of a ``line``."""
    known = (*PICTURES, ".html", ".npz", *EXPORTS)
    suffix = output.suffix.lower()
    if suffix not in known:
        raise UsageError(
            f"{output}: '{output.suffix}' is not a format of surfaces; end it in {', '.join(known[:-1])} or {known[-1]}"
        )
    package, extra = _NEEDED.get(suffix, ("", ""))
    if package and importlib.util.find_spec(package) is None:
        raise UsageError(
            f"{output}: {package} is not installed; {install(extra)} installs it, or choose another ending"
        )
    if suffix == ".html" and line is not None:
        raise UsageError(
            f"{output}: .html is for planes, and '{line}' is a line; end it in .pdf, .svg or .png"
        )


def _drawn(
    surfaces: list[Surface], files: list[Path], target: Target, look: FigureOptions
) -> tuple[Path, ...]:
    """Draws saved surfaces and removes what was needed to resume; returns the files for the user."""
    written = tuple(files)
    if not all(surface.complete for surface in surfaces):
        click.echo("Combine the shards with: landscape surface --merge FILE.npz…", err=True)
    elif target.output.suffix.lower() != ".npz":
        look = replace(look, names=[file.stem for file in files])
        written = write_drawing(surfaces, target.output, look)
    # Last: beside its journal, a saved surface counts as that of a command that has something left to do.
    for file in files:
        discard_parts(file)
        journal_of(file).unlink(missing_ok=True)
    return written


def _expanded(checkpoints: tuple[str, ...]) -> list[str]:
    """The checkpoints of a trajectory: for a single run folder, those kept during the run."""
    kept = RunFolder(Path(checkpoints[0])).epoch_checkpoints() if len(checkpoints) == 1 else []
    return [str(file) for file in kept] or list(checkpoints)
