"""One named recipe: what a paper trained with, as far as its text or code says so."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from landscape.errors import UsageError
from landscape.registry.names import NameTable, Row
from landscape.training.recipe import Recipe, Value

Status = Literal["published", "third-party", "unverified", "ours"]
_STATUS_NOTES = {
    "published": "",
    "third-party": "; third-party: read in others' code, not in the paper",
    "unverified": "; unverified: some of these numbers were not found in the paper or its code",
    "ours": "; ours: chosen by trying",
}


@dataclass(frozen=True)
class Preset(Row[Recipe]):
    """A recipe under a name.

    Attributes:
        fields: Fields of the recipe; all others have their defaults.
        needs: Fields that the user has to pass, with their meaning: networks and data that have no name here.
        status: How well the numbers are known.
    """

    fields: Mapping[str, Value] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=dict)
    status: Status = "published"

    def completed(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of the recipe, some replaced; raises :class:`UsageError` if one that is needed is missing."""
        for name, meaning in self.needs.items():
            if name not in changes:
                raise UsageError(f"preset '{self.name}' is for {meaning}: pass --{name}")
        return {**self.fields, **changes}

    def recipe(self, **changes: Any) -> Recipe:
        """The recipe, with some fields replaced.

        Raises:
            UsageError: A field is missing that only the user can know, or a value is not allowed.
        """
        return Recipe.from_dict(self.completed(changes))


class PresetTable(NameTable[Recipe]):
    """The presets by name."""

    def __getitem__(self, name: str) -> Preset:
        return cast(Preset, super().__getitem__(name))

    def row(self, name: str) -> Preset:
        """The preset of that name; raises :class:`UsageError` with the nearest name."""
        return cast(Preset, super().row(name))


def preset(
    name: str,
    fields: Mapping[str, Value],
    source: str,
    *,
    status: Status = "published",
    note: str = "",
    needs: Mapping[str, str] | None = None,
) -> Preset:
    """A row of the table, with its summary and its reference made of the arguments.

    Args:
        name: The optimizer, the network if there are several, and the data.
        fields: As for :class:`Preset`, like ``status`` and ``needs``.
        source: The paper or code that has the numbers, and where in it.
        status: How well they are known.
        note: What differs from the source, or is not known.
        needs: Fields that the user has to pass.
    """
    needs = needs or {}
    over = f" over {fields['base']}" if "base" in fields else ""
    network, data = (needs.get(key) or fields.get(key) for key in ("model", "data"))
    named = ("optimizer", "base", "model", "data")
    rest = ", ".join(f"{key}={value}" for key, value in fields.items() if key not in named)
    summary = f"{fields['optimizer']}{over} · {network} on {data} · {rest}"
    reference = source + (f"; {note}" if note else "") + _STATUS_NOTES[status]

    def build() -> Recipe:
        return row.recipe()

    row = Preset(name, build, summary, reference, fields=fields, needs=needs, status=status)
    return row
