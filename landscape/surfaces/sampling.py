"""The loss on the points of a plane: exact at every point, coarse before fine, and never computed twice."""

from collections.abc import Callable, Sequence
from pathlib import Path

from landscape.isolation.modes import outside_modes
from landscape.objective import Objective
from landscape.records.surface import Surface
from landscape.surfaces.barrier import with_barrier
from landscape.surfaces.directions import Waypoint
from landscape.surfaces.forward_passes import Eager
from landscape.surfaces.grid import share
from landscape.surfaces.journal import Journal, stored_header
from landscape.surfaces.plane import Plane
from landscape.surfaces.sampled_grid import SampledGrid, Settings, checked_plane


@outside_modes()
def sample_surface(
    objective: Objective,
    plane: str | Plane = "random",
    *,
    points: int | tuple[int, int] = 51,
    span: float | tuple[float, float] | None = None,
    through: Sequence[Waypoint] = (),
    test: Objective | None = None,
    gradient_norm: bool = False,
    centre: bool = False,
    shard: tuple[int, int] | None = None,
    forward: Eager | None = None,
    compile: bool | None = None,
    journal: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Surface:
    """L(θ + a·x + b·y) for a and b on a grid around the objective's point θ; on a line, L(θ + a·x).

    Every point is an offset from the weights of the centre, so that no error accumulates. The grid contains θ itself
    if its numbers of points are odd. Only the free parameters move. Buffers are those of the checkpoint at every
    point, and so are batch-norm statistics around one checkpoint. If those of several checkpoints differ, they are
    recomputed at every point, from the part of the training examples that :meth:`Objective.recalibrating` describes,
    once for the losses on all data; with ``Objective(batch_norm="stored")`` they are interpolated, so that each
    checkpoint has its own.

    A surface through several checkpoints is compared with the losses of these, in ``meta["checkpoints"]``. If they
    disagree, ``meta["disagreement"]`` says so, and no barrier is given.

    Args:
        objective: The network, its data and θ.
        plane: A name in ``PLANES`` with its options, or a plane built before.
        points: Points along each axis, at least 2, or ``(nx, ny)``.
        span: The grid reaches from ``-span`` to ``span``, or ``(sx, sy)``, in units of the directions. Default: 1, or
            the extent of a plane through several checkpoints.
        through: The checkpoints of such a plane; see :func:`landscape.surfaces.plane.build_plane`.
        test: The same network and point on other data: loss and accuracy there are computed in the same sweep.
        gradient_norm: Also compute ‖∇L‖ at each point, at the cost of a backward pass.
        centre: Refuse a grid that does not contain θ.
        shard: ``(i, n)``: only every n-th point, starting with the i-th; :func:`merged` combines the parts.
        forward: ``"plain"`` or ``"channels-last"`` forward passes, equal to about 1e-6; default: the faster.
        compile: Whether ``torch.compile`` compiles the forward pass, which takes a minute or more; default: if that is
            estimated to save twice its time. If it fails or gives another loss, a
            :class:`~landscape.errors.Remark` says so and the surface is computed without it.
        journal: The file that keeps finished points. A run that was killed resumes there, by the same forward passes,
            and gives the same bytes. The file stays: delete it when the surface is saved.
        progress: Called as ``progress(done, total)``, first with what the journal held, then after each point.

    Returns:
        The surface. A loss that is infinite or NaN is kept as it is.

    Raises:
        UsageError: An argument is not allowed.
        InputError: The journal is that of another run.
    """
    settings = Settings(points, span, gradient_norm, centre, forward, compile)
    plane = checked_plane(plane, objective, test, through)
    sampled = SampledGrid.on(plane, objective, test, settings)
    order = share(sampled.order, shard)
    group = (
        objective.shards.group
    )  # of processes that compute every point together; the first keeps the journal
    path = None if journal is None or group.rank > 0 else Path(journal)
    begun = group.once(lambda: None if path is None else stored_header(path), call="journal of the surface")
    way = sampled.way(begun=begun, place=path, points=len(order))
    header = sampled.header(way.way, shard)
    with group.together("journal of the surface"):
        journal_here = Journal(path, header)
    with journal_here as done:
        done.values.update(group.decided(done.values))
        if progress is not None:
            progress(len(done.values), len(order))
        left = [index for index in order if index not in done.values]
        if not (left or plane.through):
            return done.surface()
        values_at = sampled.values(way)
        checks = sampled.checks(values_at)
        for index in left:
            done.append(index, values_at(*sampled.place(index)))
            if progress is not None:
                progress(len(done.values), len(order))
        surface = done.surface()
    return with_barrier(surface.described(checkpoints=checks)) if checks else surface
