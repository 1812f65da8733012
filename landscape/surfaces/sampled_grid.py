"""Everything that the values on a grid depend on, whoever computes which of them."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from landscape.errors import UsageError
from landscape.objective import Objective
from landscape.objective.engine import Statistics
from landscape.records.surface import SCHEMA, VALUES
from landscape.surfaces.agreement import agreement
from landscape.surfaces.directions import Waypoint
from landscape.surfaces.forward_passes import WAYS, Eager, ForwardPass, Way, compiled_pass, fastest
from landscape.surfaces.grid import Coordinates, coarse_to_fine, grid
from landscape.surfaces.journal import Value
from landscape.surfaces.plane import Plane, build_plane, fingerprint

ValuesAt = Callable[..., Value]


@dataclass(frozen=True)
class Settings:
    """The arguments of :func:`landscape.sample_surface` that do not depend on the network.

    Raises:
        UsageError: Two different forward passes are requested.
    """

    points: int | tuple[int, int] = 51
    span: float | tuple[float, float] | None = None
    gradient_norm: bool = False
    centre: bool = False
    forward: Eager | None = None
    compile: bool | None = None

    def __post_init__(self) -> None:
        if self.forward is not None and self.compile:
            raise UsageError(f"forward={self.forward} is not compiled; give either forward or compile")


@dataclass(frozen=True, eq=False)
class SampledGrid:
    """The values that are computed at each point of a grid on a plane.

    Attributes:
        plane: The plane.
        objective: The network on its data, with batch-norm statistics as the plane needs them.
        test: The same on other data.
        x: Coordinates along the first direction, ``(nx,)``.
        y: Coordinates along the second one, ``(ny,)``.
        settings: What is computed at each point, and how.
    """

    plane: Plane
    objective: Objective
    test: Objective | None
    x: Coordinates
    y: Coordinates
    settings: Settings

    @classmethod
    def on(cls, plane: Plane, objective: Objective, test: Objective | None, settings: Settings) -> Self:
        """The grid of these settings."""
        if plane.recalibrated:
            objective = objective.recalibrating()
            test = test and test.described(batch_norm=objective.batch_norm)
        x, y = grid(plane, settings.points, settings.span, centre=settings.centre)
        return cls(plane, objective, test, x, y, settings)

    @property
    def order(self) -> list[int]:
        """The flat indices of all points, coarse before fine."""
        return coarse_to_fine(self.x.size, self.y.size)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the values, in the order of ``VALUES``."""
        return VALUES[: 2 if self.test is None else 4] + (VALUES[4:] if self.settings.gradient_norm else ())

    def place(self, index: int) -> tuple[float, float]:
        """The coordinates of a point."""
        row, column = divmod(index, self.x.size)
        return float(self.x[column]), float(self.y[row])

    def way(self, *, begun: Mapping[str, Any] | None, place: Path | None, points: int) -> ForwardPass:
        """The requested forward passes, those of a run that was ``begun``, or the fastest.

        Args:
            begun: The header of a run that is continued.
            place: Its file.
            points: The number of points that one process computes.
        """
        settings = self.settings
        if settings.forward is not None:
            return ForwardPass(settings.forward)
        way = None if begun is None else begun["meta"].get("forward")
        objectives = [self.objective] if self.test is None else [self.objective, self.test]
        corner = self._point(float(self.x[-1]), float(self.y[-1]))
        if way == "compiled":
            try:
                return compiled_pass(objectives, corner)
            except UsageError as failure:
                raise UsageError(
                    f"{place} was begun with compiled forward passes, and {failure}; delete it to start over"
                ) from failure
        if way in WAYS:
            return ForwardPass(way)
        if way is not None:  # of another version; to find the fastest first, or compile it, would be in vain
            raise UsageError(
                f"{place} was begun with {str(way)[:40]} forward passes, which this version does not have; delete it "
                "to start over, or choose another output (-o)"
            )
        # Gradients come from eager passes, so that compiling would speed up nothing but the loss on the test data.
        compiling = False if settings.gradient_norm and settings.compile is None else settings.compile
        return fastest(objectives, corner, points=points, compiling=compiling)

    def header(self, way: Way, shard: tuple[int, int] | None = None) -> dict[str, Any]:
        """The coordinates, the checkpoints on the surface and how it is made, for its journal and its file."""
        plane, objective, test = self.plane, self.objective, self.test
        meta: dict[str, Any] = {
            "schema": SCHEMA,
            "plane": plane.describe(),
            "centre": {
                "sha256": fingerprint(objective.point, shards=objective.shards),
                "loss": objective.loss,
            },
            "loss": objective.provenance.loss or "loss",
            "forward": way,
            "provenance": dataclasses.asdict(objective.provenance),
        }
        if test is not None:
            meta["test"] = dataclasses.asdict(test.provenance)
        if plane.statistics is not None:
            meta["batch_norm"] = "interpolated between the checkpoints"
        elif objective.recalibrated_on is not None:
            meta["batch_norm"] = (
                f"recomputed at every point from {objective.recalibrated_on:,} training examples"
            )
        return {
            "x": self.x.tolist(),
            "y": self.y.tolist(),
            "values": list(self.names),
            "markers": None if plane.markers is None else plane.markers.to_dict(),
            "trajectory": None if plane.trajectory is None else plane.trajectory.to_dict(),
            "shard": None if shard is None else list(shard),
            "meta": meta,
        }

    def checks(self, values_at: ValuesAt) -> list[dict[str, object]]:
        """The comparison of the surface with the losses of its checkpoints, if it goes through several."""
        losses = [(k, name) for k, name in enumerate(self.names) if name.endswith("loss")]
        return agreement(
            self.plane,
            self.objective,
            self.test,
            lambda *place: {name: values_at(*place)[k] for k, name in losses},
        )

    def values(self, way: ForwardPass) -> ValuesAt:
        """The function from coordinates to all values, in the order of ``names``."""
        objective, plane = self.objective, self.plane
        evaluate, recalibration = way.functions(objective)
        evaluate_test = None if self.test is None else way.evaluation(self.test)

        def values_at(*place: float) -> Value:
            point = self._point(*place)
            statistics: Statistics | None = None
            if recalibration is not None:
                statistics = recalibration(point)
            elif plane.statistics is not None:
                statistics = plane.statistics.at(*place)
            if self.settings.gradient_norm:
                here = objective.at(point, statistics=statistics)
                length: Value = (float(here.shards.norm(here.gradient)),)
                first: Value = (here.loss, here.accuracy)
            else:
                first, length = evaluate(point, statistics=statistics), ()
            return (*first, *(evaluate_test(point, statistics=statistics) if evaluate_test else ()), *length)

        return values_at

    def _point(self, a: float, b: float = 0.0) -> Tensor:
        # A new tensor each time: an objective tells by identity whether its network has moved.
        point = torch.add(self.objective.point, self.plane.x, alpha=a)
        return point if self.plane.y is None else point.add_(self.plane.y, alpha=b)


def checked_plane(
    plane: str | Plane, objective: Objective, test: Objective | None, through: Sequence[Waypoint]
) -> Plane:
    """The plane, built if it is a name; raises :class:`UsageError` if it does not fit the objective."""
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
