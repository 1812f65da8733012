"""One surface of ``landscape surface``: opens its checkpoints, and computes it or estimates the time."""

import shlex
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from landscape.alignment import Alignment
from landscape.checkpoints import Checkpoint
from landscape.objective import Objective
from landscape.plotting.caption import checked_at
from landscape.processes.group import ALONE, Group
from landscape.records.surface import Surface
from landscape.surfaces.directions import Waypoint
from landscape.surfaces.plane import build_plane
from landscape.surfaces.sampling import sample_surface
from landscape.surfaces.sampling_together import sample_together
from landscape.surfaces.shared import Shared

from . import options
from .preflight import opened, other_network, preflight, short_names
from .progress import Bar, duration
from .surface_alignment import aligned_to

_OF_THE_PROCESS = ("--shard", "--processes")  # and --shard-weights


@dataclass(frozen=True)
class SurfaceRun:
    """A surface to compute: its origin, the data, and the checkpoints that its plane goes through.

    If these are aligned to the first, ``before`` are the others as they were, each with its alignment.
    """

    path: str
    checkpoint: Checkpoint
    objective: Objective
    test: Objective | None
    through: list[Waypoint]
    quiet: bool
    before: tuple[tuple[Waypoint, Alignment], ...] = ()

    @classmethod
    def opened(
        cls,
        path: str,
        paths: list[str],
        subject: options.Subject,
        *,
        quiet: bool,
        group: Group | None = None,
        align: bool = False,
    ) -> "SurfaceRun":
        """Opens the checkpoint at ``path``, and the ``paths`` of all that its plane goes through.

        The weights are divided over the processes of a ``group``, if there is one. With ``align``, the others are
        aligned to the first.
        """
        checkpoint = opened(path, subject, group or ALONE)
        both = subject.split == "both"
        objective = subject.objective(checkpoint, "train" if both else subject.split, group=group)
        test = subject.objective(checkpoint, "test", group=group) if both else None
        name = click.format_filename(path)
        summary = preflight(name, checkpoint, objective, expected=subject.expect_accuracy)
        if not quiet:
            click.echo(summary, err=True)
        through, before = [], list[tuple[Waypoint, Alignment]]()
        for name, label in zip(paths, short_names(paths), strict=True):
            there, test_there = objective, test
            if name != path:
                network = other_network(name, checkpoint, subject)
                there, test_there = objective.of(network), test and test.of(network)
                if align:
                    alignment = aligned_to(path, objective, name, there, quiet=quiet)
                    before.append((Waypoint.of(label, there, test=test_there, origin=objective), alignment))
                    there, test_there = alignment.objective, test and test.of(alignment.network)
                    label = f"{label}, aligned"
            through.append(Waypoint.of(label, there, test=test_there, origin=objective))
        return cls(path, checkpoint, objective, test, through, quiet, tuple(before))

    def surface(
        self, plane: str, sampling: dict[str, Any], journal: Path, request: Mapping[str, Any]
    ) -> Surface:
        """Computes the surface, or resumes at the end of the journal; ``request`` is added to its meta data."""
        with Bar(f"plane of {self.path}", quiet=self.quiet) as bar:
            self.objective.ledger.listener = bar.tell
            built = build_plane(plane, self.objective, through=self.through)
            self.objective.ledger.listener = None
        self._say_of_plane(built.describe(), interpolated=built.statistics is not None)
        with Bar(f"surface of {self.path}", quiet=self.quiet, counted=True) as bar:
            surface = sample_surface(
                self.objective,
                built,
                test=self.test,
                journal=journal,
                progress=lambda done, total: bar.tell(f"{done} of {total} points", done / total),
                **sampling,
            )
        return self._described(surface, request)

    def shared_surface(
        self,
        plane: str,
        sampling: dict[str, Any],
        shared: Shared,
        request: Mapping[str, Any],
        look: Callable[[], None],
    ) -> Surface:
        """Computes the surface together with other processes; ``look`` is called now and then meanwhile."""
        with Bar(f"surface of {self.path}", quiet=self.quiet, counted=True) as bar:

            def tick(done: int, total: int) -> None:
                look()
                if total:
                    self.objective.ledger.listener = None
                    bar.end("plane")
                    bar.tell(f"{done} of {total} points", done / total)
                else:
                    bar.tell("another process begins", None)

            shared.tick = tick
            self.objective.ledger.listener = partial(bar.tell, part="plane")
            try:
                surface = sample_together(
                    shared, self.objective, plane, through=self.through, test=self.test, **sampling
                )
            finally:
                self.objective.ledger.listener = None
        interpolated = str(surface.meta.get("batch_norm")).startswith("interpolated")
        self._say_of_plane(surface.meta["plane"], interpolated=interpolated)  # type: ignore[arg-type]
        return self._described(surface, request)

    def with_line_before(self, surface: Surface, sampling: Mapping[str, Any]) -> Surface:
        """The surface with what was aligned in its meta data, and on a line with the losses before that."""
        networks = [{"label": waypoint.label, **alignment.describe()} for waypoint, alignment in self.before]
        meta: dict[str, object] = {"to": self.through[0].label, "networks": networks}
        if "barrier" in surface.meta:
            waypoint, _ = self.before[0]
            with Bar(f"line to {waypoint.label} before aligning", quiet=self.quiet, counted=True) as bar:
                line = sample_surface(
                    self.objective,
                    "interpolation",
                    through=[self.through[0], waypoint],
                    test=self.test,
                    progress=lambda done, total: bar.tell(f"{done} of {total} points", done / total),
                    **{**sampling, "gradient_norm": False},
                )
            barriers: Mapping[str, Any] = line.meta.get("barrier", {})  # type: ignore[assignment]
            losses = {name: loss[0].tolist() for name, loss in line.values.items() if name.endswith("loss")}
            meta["before"] = {**losses, "barrier": barriers}
            for name, barrier in barriers.items():
                self._say(
                    f"barrier of {name} before aligning {barrier['height']:.5g} at t = {barrier['at']:.3g}"
                )
        return surface.described(aligned=meta)

    def _say_of_plane(self, plane: Mapping[str, Any], *, interpolated: bool) -> None:
        if plane.get("converged") is False:
            self._say(f"the plane is not converged: residuals {plane['residuals']}")
        if interpolated:
            self._say(
                "batch-norm statistics are interpolated between those of the checkpoints, and right only there; "
                "leave out --batch-norm stored to recompute them at every point"
            )

    def _described(self, surface: Surface, request: Mapping[str, Any]) -> Surface:
        """The surface with the request in its meta data; says what is to be known of it."""
        origin = str(surface.meta.get("batch_norm", ""))
        if origin.startswith("recomputed"):
            self._say(f"batch-norm statistics: {origin}")
        self._say(f"centre check, surface − loss = {surface.centre_error}")
        for line in findings(surface.meta):
            self._say(line)
        recipe = self.checkpoint.contents.recipe or {}
        return surface.described(label=str(recipe.get("optimizer", Path(self.path).stem)), **request)

    def estimate(self, plane: str, sampling: dict[str, Any], workers: int) -> str:
        """The line that ``--dry-run`` prints: points, time by so many processes, memory."""
        import resource  # here, as Windows has no such module

        built = build_plane(plane, self.objective, through=self.through)
        nx, ny = sampling["points"]
        first, step = sampling["shard"] or (1, 1)
        total = len(range(first - 1, nx if built.y is None else nx * ny, step))
        small = {**sampling, "points": 2, "span": None, "centre": False, "shard": None, "test": self.test}
        moments: list[float] = []
        sampled = sample_surface(
            self.objective, built, progress=lambda *_: moments.append(time.perf_counter()), **small
        )
        # From the first point on: before it, the plane's checkpoints are compared with their own losses.
        each = (moments[-1] - moments[1]) / (len(moments) - 2)
        unit = 2**30 if sys.platform == "darwin" else 2**20  # macOS counts bytes, Linux KiB
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
        seconds = f"{total} points of {each:.3g} s, about {duration(total * each / workers)}"
        seconds += f" with {workers} processes" if workers > 1 else ""
        if "batch_norm" in sampled.meta:
            seconds += f", batch-norm statistics {sampled.meta['batch_norm']}"
        return f"{self.path}: {seconds}; {memory:.2g} GiB of memory so far"

    def _say(self, line: str) -> None:
        if not self.quiet:
            click.echo(f"{self.path}: {line}", err=True)


def findings(meta: Mapping[str, Any]) -> list[str]:
    """The lines about a surface through several checkpoints: its losses at them, and its barriers."""
    checks = meta.get("checkpoints", ())
    lines = [f"loss at the checkpoints: {checked_at(checks)}"] if checks else []
    if "disagreement" in meta:
        lines.append(f"not a surface of all its checkpoints, and no barrier is given: {meta['disagreement']}")
    return lines + [
        f"barrier of {name} {height['height']:.5g} at t = {height['at']:.3g}"
        for name, height in meta.get("barrier", {}).items()
    ]


def recorded_command() -> str:
    """The command as typed, but without what divides its work: the surface is that of the command without it."""
    words = zip(sys.argv, sys.argv[1:], strict=False)
    kept = (
        word
        for before, word in words
        if not word.startswith(_OF_THE_PROCESS) and before not in _OF_THE_PROCESS
    )
    return shlex.join(["landscape", *kept])
