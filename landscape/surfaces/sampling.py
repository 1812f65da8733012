"""The loss on the points of a plane: right at every point, coarse before fine, and never computed twice."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from landscape.errors import UsageError
from landscape.objective import Objective
from landscape.objective.batch_norm import stored_layers
from landscape.records.surface import SCHEMA, VALUES, Surface
from landscape.surfaces.agreement import agreement
from landscape.surfaces.barrier import with_barrier
from landscape.surfaces.directions import Waypoint
from landscape.surfaces.forward_passes import WAYS, Evaluate, Way, evaluation, quickest
from landscape.surfaces.grid import coarse_to_fine, grid, share
from landscape.surfaces.journal import Journal, Value, described, stored_header
from landscape.surfaces.plane import Plane, build_plane, fingerprint
from landscape.surfaces.statistics import restored


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
    forward: Way | None = None,
    journal: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Surface:
    """L(θ + a·x + b·y) for a and b on a grid around the objective's point θ; on a line, L(θ + a·x).

    Every point is an offset from the weights of the centre, so that no error adds up, and the grid has θ
    itself as a point if its numbers of points are odd. Only the free parameters move: buffers are those of the
    checkpoint at every point. Batch-norm statistics are too on a plane at one checkpoint; on a plane through several
    they are interpolated, so that each has its own, and an objective that recalibrates computes them at every point.

    Where a plane goes through several checkpoints, the surface is compared with the own loss of each:
    ``meta["checkpoints"]``. There is no barrier where they disagree, but ``meta["disagreement"]``.

    Args:
        objective: The network, its data and θ.
        plane: A name in ``PLANES`` with its options, or a plane that was built before.
        points: How many along each axis, at least 2, or ``(nx, ny)``.
        span: The grid reaches from ``-span`` to ``span``, or ``(sx, sy)``; in units of the directions. By default 1,
            or as far as a plane through several checkpoints says.
        through: The checkpoints of such a plane; see :func:`landscape.surfaces.plane.build_plane`.
        test: The same network and point on other data: loss and accuracy there are taken in the same sweep.
        gradient_norm: Whether ‖∇L‖ is computed at each point too, at the cost of a backward pass.
        centre: Whether a grid that has not θ itself as a point is refused.
        shard: ``(i, n)``: only every n-th point, from the i-th on; :func:`merged` puts the parts together.
        forward: How forward passes are made, one of ``WAYS``; by default the quickest here. Losses agree to about
            1e-6, not to the last bit; it is in the file, and a run that is resumed goes on as it began.
        journal: Where the points that are done are kept meanwhile. A run that was killed goes on there and
            gives the same bytes. The file stays: delete it when the surface is saved.
        progress: Called as ``progress(done, total)``, first with what the journal held, then after
            each point.

    Returns:
        The surface. A loss that is infinite or NaN is kept as it is.

    Raises:
        UsageError: Less than two points, a span that is not positive, an unknown plane, no such shard.
        InputError: The journal is that of another run.
    """
    if not isinstance(plane, Plane):
        plane = build_plane(plane, objective, through=through)
    if plane.x.shape != objective.point.shape:
        raise UsageError(
            f"the plane has {plane.x.numel()} dimensions and the objective {objective.dimension}: it was "
            "built for another network or other parameters; build it with build_plane(…, objective)"
        )
    if test is not None and not torch.equal(test.point, objective.point):
        raise UsageError("the test objective stands at another point; make both from one checkpoint")
    x, y = grid(plane, points, span, centre=centre)
    order = share(coarse_to_fine(x.size, y.size), shard)
    path = None if journal is None else Path(journal)
    way = forward or _way(path, objective, plane, (float(x[-1]), float(y[-1])))
    names = VALUES[: 2 if test is None else 4] + (VALUES[4:] if gradient_norm else ())
    header = {
        "x": x.tolist(),
        "y": y.tolist(),
        "values": list(names),
        "markers": described(plane.markers),
        "trajectory": described(plane.trajectory),
        "shard": None if shard is None else list(shard),
        "meta": _meta(objective, plane, way, test),
    }
    with Journal(path, header) as done:
        if progress is not None:
            progress(len(done.values), len(order))
        left = [index for index in order if index not in done.values]
        if not (left or plane.through):
            return done.surface()
        with restored(*((objective, test) if plane.statistics else ())):
            read = _reading(objective, plane, test, way, gradient_norm)
            losses = [(k, name) for k, name in enumerate(names) if name.endswith("loss")]
            checks = agreement(
                plane, objective, test, lambda *place: {name: read(*place)[k] for k, name in losses}
            )
            for index in left:
                row, column = divmod(index, x.size)
                done.append(index, read(float(x[column]), float(y[row])))
                if progress is not None:
                    progress(len(done.values), len(order))
        surface = done.surface()
        return with_barrier(surface.described(checkpoints=checks)) if checks else surface


def _meta(objective: Objective, plane: Plane, way: Way, test: Objective | None) -> dict[str, Any]:
    statistics = {}
    if stored_layers(objective._risk.replica.model):
        if objective._risk.calibration is not None:
            statistics = {"batch_norm": "recomputed at every point"}
        elif plane.statistics is not None:
            statistics = {"batch_norm": "interpolated between the checkpoints"}
    on_test = {} if test is None else {"test": dataclasses.asdict(test.provenance)}
    return {
        **on_test,
        **statistics,
        "schema": SCHEMA,
        "plane": plane.describe(),
        "centre": {"sha256": fingerprint(objective.point), "loss": objective.loss},
        "loss": objective.provenance.loss or "loss",
        "forward": way,
        "provenance": dataclasses.asdict(objective.provenance),
    }


def _way(journal: Path | None, objective: Objective, plane: Plane, corner: tuple[float, float]) -> Way:
    """The way of a run that is resumed, or the quickest."""
    header: Mapping[str, Any] | None = None if journal is None else stored_header(journal)
    stored = None if header is None else header["meta"].get("forward")
    return stored if stored in WAYS else quickest(objective, _at(objective, plane, *corner))


def _at(objective: Objective, plane: Plane, a: float, b: float = 0.0) -> Tensor:
    # A new tensor each time: the objective knows by identity where its network stands.
    point = torch.add(objective.point, plane.x, alpha=a)
    return point if plane.y is None else point.add_(plane.y, alpha=b)


def _reading(
    objective: Objective, plane: Plane, test: Objective | None, way: Way, gradient_norm: bool
) -> Callable[..., Value]:
    """A function from coordinates to all requested values, in the order of ``VALUES``."""
    evaluate, evaluate_test = _evaluate(objective, way), None if test is None else _evaluate(test, way)

    def read(*place: float) -> Value:
        if plane.statistics is not None:
            statistics = plane.statistics.at(*place)
            for each in (objective, test):
                if each is not None:
                    each._risk.replica.store(statistics)
        point = _at(objective, plane, *place)
        if gradient_norm:
            here = objective.at(point)
            norm: Value = (float(here.gradient.double().norm()),)
            first: Value = (here.loss, here.accuracy)
        else:
            first, norm = evaluate(point), ()
        return (*first, *(evaluate_test(point) if evaluate_test else ()), *norm)

    return read


def _evaluate(objective: Objective, way: Way) -> Evaluate:
    found = evaluation(objective, way)
    if found is None:
        raise UsageError(f"forward={way} is not possible for this network and data; use forward=plain")
    return found
