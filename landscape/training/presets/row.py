"""One named recipe: what a paper trained with, as far as it says so."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from landscape.errors import UsageError
from landscape.registry.names import NameTable, Row
from landscape.training.recipe import Recipe, Value

Status = Literal["published", "third-party", "unverified", "ours"]
_SAID = {
    "published": "",
    "third-party": "; third-party: read in others' code, not in the paper",
    "unverified": "; unverified: some of these numbers were not found in the paper or its code",
    "ours": "; ours: chosen by trying",
}


@dataclass(frozen=True)
class Preset(Row[Recipe]):
    """A recipe under a name.

    Attributes:
        fields: Fields of the recipe; those left out have their defaults.
        needs: Fields that the user has to give, with what is meant: networks and data that have no name here.
        status: How well the numbers are known.
    """

    fields: Mapping[str, Value] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=dict)
    status: Status = "published"

    def completed(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of the recipe, with those given in place of the preset's.

        Raises:
            UsageError: Something is left out that only the user can say.
        """
        for name, meaning in self.needs.items():
            if name not in given:
                raise UsageError(f"preset '{self.name}' is for {meaning}: give --{name}")
        return {**self.fields, **given}

    def recipe(self, **given: Any) -> Recipe:
        """The recipe.

        Args:
            given: Fields that are not to be the preset's.

        Raises:
            UsageError: Something is left out that only the user can say, or a value is not allowed.
        """
        return Recipe.from_dict(self.completed(given))


class PresetTable(NameTable[Recipe]):
    """The presets by name."""

    def __getitem__(self, name: str) -> Preset:
        row = super().__getitem__(name)
        assert isinstance(row, Preset)
        return row

    def row(self, name: str) -> Preset:
        """The preset of that name; raises :class:`UsageError` with the nearest name."""
        return self[super().row(name).name]


def preset(
    name: str,
    optimizer: str,
    fields: Mapping[str, Value],
    *,
    source: str,
    status: Status = "published",
    note: str = "",
    needs: Mapping[str, str] | None = None,
) -> Preset:
    """A row.

    Args:
        name: What the user types: the optimizer, the network if there are several, the data.
        optimizer: As in a recipe.
        fields: The other fields of the recipe.
        source: The paper or code that has the numbers, and where in it.
        status: How well they are known.
        note: What departs from the source, or is not known.
        needs: Fields that the user has to give, with what is meant.
    """
    whole = {"optimizer": optimizer, **fields}
    missing = dict(needs or {})

    def build() -> Recipe:
        return row.recipe()

    reference = source + (f"; {note}" if note else "") + _SAID[status]
    row = Preset(name, build, _setting(whole, missing), reference, frozenset(), whole, missing, status)
    return row


def _setting(fields: Mapping[str, Value], needs: Mapping[str, str]) -> str:
    """The recipe in one line."""
    over = f" over {fields['base']}" if "base" in fields else ""
    network, data = (needs.get(name) or fields.get(name) for name in ("model", "data"))
    rest = [
        f"{name}={value}"
        for name, value in fields.items()
        if name not in ("optimizer", "base", "model", "data")
    ]
    return " · ".join([f"{fields['optimizer']}{over}", f"{network} on {data}", ", ".join(rest)])
