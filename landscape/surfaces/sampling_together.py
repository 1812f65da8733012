"""One surface, computed by several processes that share a folder."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from landscape.isolation.modes import outside_modes
from landscape.objective import Objective
from landscape.records.surface import Surface
from landscape.surfaces.barrier import with_barrier
from landscape.surfaces.directions import Waypoint
from landscape.surfaces.forward_passes import ForwardPass
from landscape.surfaces.journal import as_read, refuse_another_run, stored_header
from landscape.surfaces.plane import PLANES, fingerprint
from landscape.surfaces.sampled_grid import SampledGrid, Settings, checked_plane
from landscape.surfaces.shared import Shared
from landscape.surfaces.stored_plane import plane_from_bytes, plane_to_bytes


@outside_modes()
def sample_together(
    shared: Shared,
    objective: Objective,
    plane: str = "random",
    *,
    through: Sequence[Waypoint] = (),
    test: Objective | None = None,
    **settings: Any,
) -> Surface:
    """The surface of :func:`landscape.sample_surface`, by all processes that call this with the same folder.

    Each computes points that no other computes, until all are computed; then each has the whole surface, with the bytes
    that one process gives. Processes may come later and go at any time. The plane and the choice of forward passes are
    those of the first; a journal that a single process has left is continued.

    Args:
        shared: The folder.
        objective: The network, its data and θ; the same in all processes.
        plane: A name in ``PLANES`` with its options.
        through: As for ``sample_surface``.
        test: Likewise.
        settings: The fields of :class:`~landscape.surfaces.sampled_grid.Settings`. With ``compile``, every process
            compiles for itself, so that the estimate is of its share.

    Raises:
        UsageError: An argument is not allowed.
        InputError: The folder is that of another run, or damaged.
        FolderGone: The folder was removed, because another process has finished with it.
    """
    chosen = Settings(**settings)
    parsed = PLANES.parse(plane)
    shared.agree(
        {
            "plane": {"kind": parsed.name, "options": dict(parsed.options)},
            **{name: value for name, value in asdict(chosen).items() if name != "centre"},
            "through": [[waypoint.label, fingerprint(waypoint.point)] for waypoint in through],
            "weights": fingerprint(objective.point),
            "provenance": asdict(objective.provenance),
            "test": None if test is None else asdict(test.provenance),
        }
    )
    ways: list[ForwardPass] = []

    def begun() -> dict[str, Any]:
        sampled = SampledGrid.on(checked_plane(plane, objective, test, through), objective, test, chosen)
        earlier = shared.earlier_journal
        way = sampled.way(
            begun=None if earlier is None else stored_header(earlier),
            place=earlier,
            points=len(sampled.order) // shared.workers + 1,
        )
        ways.append(way)
        header = sampled.header(way.way)
        shared.adopt_earlier_journal(header)
        shared.keep(_file_of(header), plane_to_bytes(sampled.plane))
        return header

    header = shared.settled("header", begun)
    source = shared.folder / _file_of(header)
    stored = plane_from_bytes(shared.kept(source.name), like=objective.point, through=through, source=source)
    sampled = SampledGrid.on(stored, objective, test, chosen)
    way = (ways or [sampled.way(begun=header, place=shared.folder, points=0)])[0]
    refuse_another_run(shared.folder, header, as_read(sampled.header(way.way)), what="the work")
    values_at = sampled.values(way)
    with shared.journal(header) as done:
        if through:
            shared.begun("checks", lambda: sampled.checks(values_at))
        for index in shared.points(sampled.order, done):
            done.append(index, values_at(*sampled.place(index)))
        surface = done.surface()
    checks = shared.settled("checks", lambda: sampled.checks(values_at)) if through else []
    return with_barrier(surface.described(checkpoints=checks)) if checks else surface


def _file_of(header: Mapping[str, Any]) -> str:
    """The name of the file that holds the plane of a run: two processes may have begun with different ones."""
    return f"{header['meta']['plane']['sha256'][:16]}.plane"
