"""One run as a message: what a process of the pool is told to do, in JSON's types."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landscape.training.measured import Measuring
from landscape.training.recipe import Recipe


@dataclass(frozen=True)
class Job:
    """A run to be trained.

    Attributes:
        recipe: What to train.
        folder: Where.
        resume: See :func:`landscape.train`.
        overwrite: The same.
        save_every: The same.
        measuring: The same.
        trackers: By name, with options.
    """

    recipe: Recipe
    folder: Path
    resume: bool = True
    overwrite: bool = False
    save_every: int | None = None
    measuring: Measuring | None = None
    trackers: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """The job in JSON's types."""
        m = self.measuring
        return {
            "recipe": self.recipe.to_dict(),
            "folder": str(self.folder),
            "resume": self.resume,
            "overwrite": self.overwrite,
            "save_every": self.save_every,
            "measuring": m
            and {"every": m.every, "names": list(m.names), "limit": m.limit, "batch_size": m.batch_size},
            "trackers": list(self.trackers),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Job":
        """The job that :meth:`to_dict` wrote."""
        measuring = fields["measuring"]
        known = {
            "recipe": Recipe.from_dict(fields["recipe"]),
            "folder": Path(fields["folder"]),
            "measuring": measuring and Measuring(**measuring),
        }
        return cls(**{**fields, **known})
