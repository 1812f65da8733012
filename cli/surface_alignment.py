"""``landscape surface --align``: the checkpoints of a plane aligned to the first."""

from typing import TYPE_CHECKING

import click

from landscape.errors import UsageError

from . import options
from .progress import Bar

if TYPE_CHECKING:
    from landscape.alignment import Alignment
    from landscape.objective import Objective
    from landscape.surfaces.plane import PlaneRow


def refuse_alignment(row: "PlaneRow", subject: options.Subject, *, merge: bool) -> None:
    """Raises :class:`UsageError` where there is nothing to align, or no way to."""
    if merge:
        raise UsageError(
            "--align is for the command that computes a surface; --merge combines what is computed"
        )
    if row.origin != "first":
        raise UsageError(
            f"--align aligns checkpoints to the first of them, and --plane {row.name} has no such; use --plane "
            "interpolation, checkpoints or bezier"
        )
    if subject.parameters is not None:
        raise UsageError("--align permutes the units of all layers; leave out --parameters")
    if subject.shard_weights:
        raise UsageError("--align needs whole weights in one process; leave out --shard-weights")


def aligned_to(
    path: str, objective: "Objective", name: str, other: "Objective", *, quiet: bool
) -> "Alignment":
    """The checkpoint called ``name`` aligned to that at ``path``, which is said."""
    from landscape.alignment import align

    with Bar(f"alignment of {name}", quiet=quiet):
        alignment = align(objective, other)
    if not quiet:
        moved, units = alignment.moved
        before, after = alignment.distances
        lines = [
            f"aligned to {path} by weight matching: {moved} of {units} hidden units change places, the distance of "
            f"the weights from {before:.4g} to {after:.4g}",
            *(f"some units stay in place: {reason}" for reason in alignment.held[:_MOST_REASONS]),
        ]
        more = len(alignment.held) - _MOST_REASONS
        lines += [f"and {more} more reasons of this kind"] if more > 0 else []
        for line in lines:
            click.echo(f"{click.format_filename(name)}: {line}", err=True)
    return alignment


_MOST_REASONS = 3
