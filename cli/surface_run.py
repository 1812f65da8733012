"""One surface of ``landscape surface``: opening its checkpoints, computing it, or saying how long that takes."""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options
from .preflight import preflight
from .progress import Bar, duration

if TYPE_CHECKING:
    from landscape.checkpoints import Checkpoint
    from landscape.objective import Objective
    from landscape.records.surface import Surface
    from landscape.surfaces.directions import Waypoint


@dataclass(frozen=True)
class SurfaceRun:
    """One surface to be computed: where, on what, through which checkpoints."""

    path: str
    checkpoint: "Checkpoint"
    objective: "Objective"
    test: "Objective | None"
    through: "list[Waypoint]"
    quiet: bool

    @classmethod
    def opened(cls, path: str, paths: list[str], asked: options.Asked, *, quiet: bool) -> "SurfaceRun":
        """Opens the checkpoint at ``path``, and the ``paths`` of those that its plane goes through.

        Args:
            path: The checkpoint at the origin.
            paths: All that the plane goes through; none for a plane at one point.
            asked: What the flags say.
            quiet: Says nothing.
        """
        from landscape.surfaces.directions import Waypoint

        checkpoint = asked.open(path)
        both = asked.split == "both"
        objective = asked.objective(checkpoint, "train" if both else asked.split)
        test = asked.objective(checkpoint, "test") if both else None
        said = preflight(click.format_filename(path), checkpoint, objective, expected=asked.expect_accuracy)
        if not quiet:
            click.echo(said, err=True)
        through = []
        for name, label in zip(paths, _labels(paths), strict=True):
            there = [objective, test]
            if name != path:
                network = checkpoint.network_of(name, trust=asked.trust, weights=asked.weights)  # type: ignore[arg-type]
                there = [each and each.of(network) for each in there]
            assert there[0] is not None
            through.append(Waypoint.of(label, there[0], test=there[1]))
        return cls(path, checkpoint, objective, test, through, quiet)

    def surface(
        self, plane: str, asked: dict[str, Any], journal: Path, request: Mapping[str, Any]
    ) -> "Surface":
        """Computes it, or goes on where the journal ends.

        Args:
            plane: The name of the plane with its options.
            asked: How it is sampled.
            journal: Where points that are done are kept.
            request: What is kept in the file of what was asked for.
        """
        from landscape.surfaces.plane import build_plane
        from landscape.surfaces.sampling import sample_surface

        with Bar(f"plane of {self.path}", quiet=self.quiet) as bar:
            self.objective.ledger.listener = bar.tell
            built = build_plane(plane, self.objective, through=self.through)
            self.objective.ledger.listener = None
        if not self.quiet and built.details.get("converged") is False:
            click.echo(
                f"{self.path}: the plane is not converged: residuals {built.details['residuals']}", err=True
            )
        if not self.quiet and built.statistics is not None:
            click.echo(
                f"{self.path}: batch-norm statistics are interpolated between those of the checkpoints; "
                "--batch-norm recalibrate recomputes them at every point",
                err=True,
            )
        with Bar(f"surface of {self.path}", quiet=self.quiet) as bar:
            found = sample_surface(
                self.objective,
                built,
                test=self.test,
                journal=journal,
                progress=lambda done, total: bar.tell(f"{done} of {total} points", done / total),
                **_counted(asked, line=built.y is None),
            )
        recipe = self.checkpoint.contents.recipe or {}
        if not self.quiet:
            click.echo(f"{self.path}: centre check, surface − loss = {found.centre_error}", err=True)
            for line in findings(found.meta):
                click.echo(f"{self.path}: {line}", err=True)
        return found.described(
            label=str(recipe.get("optimizer", Path(self.path).stem)),
            **request,
        )

    def estimate(self, plane: str, asked: dict[str, Any]) -> str:
        """What ``--dry-run`` prints: points, time, memory."""
        import resource
        import time

        from landscape.surfaces.plane import build_plane
        from landscape.surfaces.sampling import sample_surface

        built = build_plane(plane, self.objective, through=self.through)
        settings = _counted({**asked, "shard": None}, line=built.y is None)
        nx, ny = settings["points"] if isinstance(settings["points"], tuple) else (settings["points"], 1)
        total = (
            nx * ny
            if asked["shard"] is None
            else len(range(asked["shard"][0] - 1, nx * ny, asked["shard"][1]))
        )
        sampling = {**settings, "points": 2, "span": None, "centre": False, "test": self.test}
        moments: list[float] = []
        sample_surface(
            self.objective, built, **sampling, progress=lambda *_: moments.append(time.perf_counter())
        )
        # Before the first point its checkpoints were compared with their own losses.
        each = (moments[-1] - moments[1]) / (len(moments) - 2)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
            2**30 if sys.platform == "darwin" else 2**20
        )
        return (
            f"{self.path}: {total} points of {each:.3g} s, about {duration(total * each)}; {memory:.2g} GiB of memory "
            "so far"
        )


def findings(meta: Mapping[str, Any]) -> list[str]:
    """What is said of a surface through several checkpoints: whether it has their losses, and its barriers."""
    from landscape.plotting.caption import checked_at

    checks = meta.get("checkpoints", ())
    lines = [f"loss at the checkpoints: {checked_at(checks)}"] if checks else []
    if "disagreement" in meta:
        lines.append(f"not a surface of all its checkpoints, and no barrier is given: {meta['disagreement']}")
    return lines + [
        f"barrier of {name} {height['height']:.5g} at t = {height['at']:.3g}"
        for name, height in meta.get("barrier", {}).items()
    ]


def recorded_command() -> str:
    """The command as typed, without the shard: what makes the whole."""
    words = sys.argv[1:]
    kept = [
        word
        for k, word in enumerate(words)
        if not word.startswith("--shard") and (k == 0 or words[k - 1] != "--shard")
    ]
    return shlex.join(["landscape", *kept])


def _labels(paths: list[str]) -> list[str]:
    """Short names: of the file, or of its folder where the file is called as every run's."""
    names = [
        Path(path).parent.name if Path(path).name == "checkpoint.pt" else Path(path).stem for path in paths
    ]
    return names if len(set(names)) == len(names) else list(paths)


def _counted(asked: dict[str, Any], *, line: bool) -> dict[str, Any]:
    """The same with one number of points for a line, where one was given for both axes."""
    nx, ny = asked["points"]
    return {**asked, "points": nx} if line and nx == ny else asked
