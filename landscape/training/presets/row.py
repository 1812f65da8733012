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
        """The recipe, some fields replaced; raises :class:`UsageError` if one is missing or not allowed."""
        return Recipe.from_dict(self.completed(changes))


class PresetTable(NameTable[Recipe]):
    """The presets by name."""

    def __getitem__(self, name: str) -> Preset:
        return cast(Preset, super().__getitem__(name))

    def row(self, name: str) -> Preset:
        """The preset of that name; raises :class:`UsageError` with the nearest name."""
        return cast(Preset, super().row(name))


def preset(
    optimizer: str,
    suffix: str,
    source: str,
    fields: Mapping[str, Value],
    *,
    needs: Mapping[str, str] | None = None,
    note: str = "",
    status: Status = "published",
) -> Preset:
    """A row whose name is the optimizer's with a suffix: the network, if there are several, and the data.

    Args:
        optimizer: The optimizer with its options.
        suffix: The rest of the name.
        source: The paper or code that has the numbers, and where in it.
        fields: The other fields of the recipe; a field that the user has to pass is left out.
        needs: Fields that the user has to pass, with their meaning.
        note: What differs from the source, or is not known.
        status: How well the numbers are known.
    """
    needs = needs or {}
    recipe = {"optimizer": optimizer, **{name: fields[name] for name in fields if name not in needs}}
    over = f" over {recipe['base']}" if "base" in recipe else ""
    network, data = (needs.get(name) or recipe.get(name) for name in ("model", "data"))
    named = ("optimizer", "base", "model", "data")
    rest = ", ".join(f"{name}={value}" for name, value in recipe.items() if name not in named)
    summary = f"{optimizer}{over} · {network} on {data} · {rest}"
    reference = source + (f"; {note}" if note else "") + _STATUS_NOTES[status]

    def build() -> Recipe:
        return row.recipe()

    name = f"{optimizer.partition(':')[0]}-{suffix}"
    row = Preset(name, build, summary, reference, fields=recipe, needs=needs, status=status)
    return row
