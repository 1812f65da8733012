"""Computes the surfaces of ``landscape surface`` in one process or several, and has one of them save and draw."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from landscape.errors import InputError
from landscape.records.surface import Surface
from landscape.surfaces.claims import FolderGone

from .surface_files import finished, journal_of, remove_work, require_unchanged, work_of
from .surface_team import Assistants, Team

if TYPE_CHECKING:
    from landscape.surfaces.shared import Shared

    from .surface_run import SurfaceRun


@dataclass(frozen=True)
class Grid:
    """The flags that are arguments of ``sample_surface``."""

    points: tuple[int, int]
    span: tuple[float, float] | None
    centre: bool
    gradient_norm: bool
    forward: str | None
    compile: bool | None
    shard: tuple[int, int] | Literal["auto"] | None

    @property
    def part(self) -> tuple[int, int] | None:
        """The part of the points; ``None`` for all, also if several processes divide them."""
        return None if self.shard == "auto" else self.shard

    @property
    def sampling(self) -> dict[str, Any]:
        """The arguments but for ``shard``."""
        return {name: value for name, value in vars(self).items() if name != "shard"}


@dataclass(frozen=True)
class Slice:
    """The flags that say which plane: its name, and whether its checkpoints are aligned to the first."""

    plane: str
    align: bool

    @property
    def asked(self) -> dict[str, object]:
        """The flags in the meta data of a surface."""
        return {"plane": self.plane, **({"align": True} if self.align else {})}


@dataclass(frozen=True)
class Target:
    """The flags for where the numbers and the figure go."""

    output: Path
    resume: bool
    overwrite: bool


@dataclass(frozen=True)
class SharedWork:
    """The surfaces of a command, and with whom it computes them.

    Attributes:
        slice: The plane, as it was typed.
        grid: The flags of the grid.
        anchors: For each surface the checkpoint at its origin.
        files: For each surface the file of its numbers.
        opened: Opens such a checkpoint.
        target: The flags of the output.
        team: The processes.
    """

    slice: Slice
    grid: Grid
    anchors: list[str]
    files: list[Path]
    opened: "Callable[[str], SurfaceRun]"
    target: Target
    team: Team

    def results(self, drawn: Callable[[list[Surface]], tuple[Path, ...]]) -> tuple[Path, ...]:
        """Computes, saves and draws the surfaces, the last two in one of the processes.

        Returns:
            What ``drawn`` returns, the files for the user; none in the other processes.
        """
        if not self.target.resume and not self.team.assists:
            for file in self.files:
                journal_of(file).unlink(missing_ok=True)
                remove_work(file)
        folders: list[Shared | None] = []
        # Before the files are looked at: a folder that is made now may be new because everything is finished.
        with contextlib.ExitStack() as stack:
            try:
                folders = stack.enter_context(self.team.folders(self.files))
                surfaces, new = self._computed(folders)
            except FolderGone:
                return self._ended_elsewhere(folders)
            if self.team.assists or not (folders[0] is None or folders[0].first("saved")):
                return self._ended_elsewhere(folders)
            # Saved only now, so that a command interrupted between two surfaces resumes from what both have left.
            for surface, file in zip(surfaces, self.files, strict=True):
                if file in new:
                    surface.save(file)
            written = drawn(surfaces)
            for file in () if folders[0] is None else self.files:
                remove_work(file)
            return written

    def _computed(self, folders: "Sequence[Shared | None]") -> tuple[list[Surface], set[Path]]:
        """The surfaces, and the files of the new ones: those that an earlier run has saved are not computed again."""
        from .surface_run import recorded_command

        grid, target = self.grid, self.target
        # Not part of the surface: compiled forward passes give the same losses.
        settings = {name: value for name, value in grid.sampling.items() if name != "compile"}
        request = {"command": recorded_command(), "asked": {**self.slice.asked, **settings}}

        def saved(file: Path) -> Surface | None:
            if self.team.assists:
                return None
            return finished(file, request, shard=grid.part, resume=target.resume, overwrite=target.overwrite)

        earlier = {file: saved(file) for file in self.files}
        surfaces, new = [], {file for file, surface in earlier.items() if surface is None}
        begun = self.team.assistants() if new else contextlib.nullcontext(Assistants(None, 1))
        with begun as assistants:
            for path, file, folder in zip(self.anchors, self.files, folders, strict=True):
                run, surface = self.opened(path), earlier[file]
                if surface is not None:
                    require_unchanged(file, surface, run)
                elif folder is None:
                    sampling = {**grid.sampling, "shard": grid.part}
                    surface = run.surface(self.slice.plane, sampling, journal_of(file), request)
                else:
                    plane = self.slice.plane
                    surface = run.shared_surface(plane, grid.sampling, folder, request, assistants.look)
                if self.slice.align and not self.team.assists:
                    surface = run.with_line_before(surface, grid.sampling)
                surfaces.append(surface)
        return surfaces, new

    def _ended_elsewhere(self, folders: "Sequence[Shared | None]") -> tuple[Path, ...]:
        """Says that another process has written the files; raises :class:`InputError` if none has."""
        if self.team.assists:
            return ()
        for file in self.files:
            if not file.exists():
                raise InputError(
                    f"{work_of(file)} was removed while its surface was computed; run the command again"
                )
        computed = sum(folder.computed for folder in folders if folder is not None)
        names = ", ".join(map(str, self.files))
        click.echo(f"{computed} points were computed here; {names}: written by another process", err=True)
        return ()
