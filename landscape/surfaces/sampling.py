"""The loss on the points of a plane: exact at every point, coarse before fine, and never computed twice."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from landscape.errors import UsageError
from landscape.isolation.modes import outside_modes
from landscape.objective import Objective
from landscape.objective.engine import Statistics
from landscape.records.surface import SCHEMA, VALUES, Surface
from landscape.reductions import norm
from landscape.surfaces.agreement import agreement
from landscape.surfaces.barrier import with_barrier
from landscape.surfaces.directions import Waypoint
from landscape.surfaces.forward_passes import WAYS, Eager, ForwardPass, Way, compiled_pass, fastest
from landscape.surfaces.grid import coarse_to_fine, grid, share
from landscape.surfaces.journal import Journal, Value, stored_header
from landscape.surfaces.plane import Plane, build_plane, fingerprint


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
    if forward is not None and compile:
        raise UsageError(f"forward={forward} is not compiled; give either forward or compile")
    plane = _checked_plane(plane, objective, test, through)
    if plane.recalibrated:
        objective = objective.recalibrating()
        test = test and test.described(batch_norm=objective.batch_norm)
    x, y = grid(plane, points, span, centre=centre)
    order = share(coarse_to_fine(x.size, y.size), shard)
    path = None if journal is None else Path(journal)
    way = _forward_pass(
        [objective] if test is None else [objective, test],
        _point(objective, plane, float(x[-1]), float(y[-1])),
        journal=path,
        forward=forward,
        # Gradients come from eager passes, so that compiling would speed up nothing but the loss on the test data.
        compiling=False if gradient_norm and compile is None else compile,
        points=len(order),
    )
    names = VALUES[: 2 if test is None else 4] + (VALUES[4:] if gradient_norm else ())
    axes = {"x": x.tolist(), "y": y.tolist(), "values": list(names)}
    with Journal(path, {**axes, **_about(objective, plane, test, way.way, shard)}) as done:
        if progress is not None:
            progress(len(done.values), len(order))
        left = [index for index in order if index not in done.values]
        if not (left or plane.through):
            return done.surface()
        values_at = _values(objective, plane, test, way, gradient_norm)
        losses = [(k, name) for k, name in enumerate(names) if name.endswith("loss")]
        checks = agreement(
            plane, objective, test, lambda *place: {name: values_at(*place)[k] for k, name in losses}
        )
        for index in left:
            row, column = divmod(index, x.size)
            done.append(index, values_at(float(x[column]), float(y[row])))
            if progress is not None:
                progress(len(done.values), len(order))
        surface = done.surface()
    return with_barrier(surface.described(checkpoints=checks)) if checks else surface


def _checked_plane(
    plane: str | Plane, objective: Objective, test: Objective | None, through: Sequence[Waypoint]
) -> Plane:
    if not isinstance(plane, Plane):
        plane = build_plane(plane, objective, through=through)
    if plane.x.shape != objective.point.shape:
        raise UsageError(
            f"the plane has {plane.x.numel()} dimensions and the objective {objective.dimension}: it was "
            "built for another network or other parameters; build it with build_plane(…, objective)"
        )
    if test is not None and not torch.equal(test.point, objective.point):
        raise UsageError("the test objective stands at another point; make both from one checkpoint")
    return plane


def _forward_pass(
    objectives: Sequence[Objective],
    corner: Tensor,
    *,
    journal: Path | None,
    forward: Eager | None,
    compiling: bool | None,
    points: int,
) -> ForwardPass:
    """The requested forward passes, those of a run that is resumed, or the fastest."""
    if forward is not None:
        return ForwardPass(forward)
    header = None if journal is None else stored_header(journal)
    way = None if header is None else header["meta"].get("forward")
    if way == "compiled":
        try:
            return compiled_pass(objectives, corner)
        except UsageError as failure:
            raise UsageError(
                f"{journal} was begun with compiled forward passes, and {failure}; delete it to start over"
            ) from failure
    if way in WAYS:
        return ForwardPass(way)
    if way is not None:  # of another version; to find the fastest first, or compile it, would be in vain
        raise UsageError(
            f"{journal} was begun with {str(way)[:40]} forward passes, which this version does not have; delete it to "
            "start over, or choose another output (-o)"
        )
    return fastest(objectives, corner, points=points, compiling=compiling)


def _about(
    objective: Objective, plane: Plane, test: Objective | None, way: Way, shard: tuple[int, int] | None
) -> dict[str, Any]:
    """The checkpoints on the surface and how it is made, for its file."""
    meta: dict[str, Any] = {
        "schema": SCHEMA,
        "plane": plane.describe(),
        "centre": {"sha256": fingerprint(objective.point), "loss": objective.loss},
        "loss": objective.provenance.loss or "loss",
        "forward": way,
        "provenance": dataclasses.asdict(objective.provenance),
    }
    if plane.statistics is not None:
        meta["batch_norm"] = "interpolated between the checkpoints"
    elif objective.recalibrated_on is not None:
        meta["batch_norm"] = f"recomputed at every point from {objective.recalibrated_on:,} training examples"
    if test is not None:
        meta["test"] = dataclasses.asdict(test.provenance)
    return {
        "markers": None if plane.markers is None else plane.markers.to_dict(),
        "trajectory": None if plane.trajectory is None else plane.trajectory.to_dict(),
        "shard": None if shard is None else list(shard),
        "meta": meta,
    }


def _point(objective: Objective, plane: Plane, a: float, b: float = 0.0) -> Tensor:
    # A new tensor each time: an objective tells by identity whether its network has moved.
    point = torch.add(objective.point, plane.x, alpha=a)
    return point if plane.y is None else point.add_(plane.y, alpha=b)


def _values(
    objective: Objective, plane: Plane, test: Objective | None, way: ForwardPass, gradient_norm: bool
) -> Callable[..., Value]:
    """The function from coordinates to all requested values, in the order of ``VALUES``."""
    evaluate, recalibration = way.functions(objective)
    evaluate_test = None if test is None else way.evaluation(test)

    def values_at(*place: float) -> Value:
        point = _point(objective, plane, *place)
        statistics: Statistics | None = None
        if recalibration is not None:
            statistics = recalibration(point)
        elif plane.statistics is not None:
            statistics = plane.statistics.at(*place)
        if gradient_norm:
            here = objective.at(point, statistics=statistics)
            length: Value = (float(norm(here.gradient)),)
            first: Value = (here.loss, here.accuracy)
        else:
            first, length = evaluate(point, statistics=statistics), ()
        return (*first, *(evaluate_test(point, statistics=statistics) if evaluate_test else ()), *length)

    return values_at
