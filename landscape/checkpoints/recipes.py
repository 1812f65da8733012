"""What the recipe in a checkpoint may say: names of our tables and of libraries, and numbers; never code.

A file cannot vouch for itself: also a run of the user's own, trained on code of the user's own, names that code in
its checkpoint, and the flags of the command name it again.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landscape.data import DATA
from landscape.errors import InputError, UsageError
from landscape.models import MODELS
from landscape.registry.bounds import shown
from landscape.registry.factories import named_by_file
from landscape.registry.names import NameTable, Specification, split

_FLAGS: dict[str, tuple[str, NameTable[Any]]] = {"model": ("-m", MODELS), "data": ("-d", DATA)}
_LARGEST = 1e300
_UNUSED = ("optimizer", "base", "loss")
_PLAIN = re.compile(r"[\w.+-]+(:[\w-]+=[\w.+-]*(,[\w-]+=[\w.+-]*)*)?")


@dataclass(frozen=True)
class RecipeInFile:
    """The recipe of a checkpoint, which somebody else may have written.

    Attributes:
        path: The checkpoint.
        fields: What the recipe says; empty where there is none.
        trust: Whether it may name code.
    """

    path: Path
    fields: Mapping[str, Any]
    trust: bool = False

    def named(self, kind: str) -> Specification | None:
        """The model or the data that the recipe names; ``None`` where it names none.

        Raises:
            InputError: It names something that only the user may name.
        """
        text = self.fields.get(kind)
        if text is None:
            return None
        if self.trust:
            known = split(text)
        else:
            self._check_unused()
            known = self._admitted(kind, text)
        # A file must not make us fetch anything.
        return Specification(known.name, {k: v for k, v in known.options.items() if k != "download"})

    def refused(self) -> dict[str, object]:
        """What the recipe names that only the user may name, by field."""
        refused = {field: self.fields[field] for field in self._unused()}
        for kind in _FLAGS:
            try:
                self._admitted(kind, self.fields.get(kind))
            except InputError:
                refused[kind] = self.fields.get(kind)
        return refused

    def flags(self) -> list[str]:
        """The flags that a command needs beside the file, in capital letters what must be filled in.

        What the recipe names is not repeated there: a command that is copied from the screen must not run it.
        """
        refused = self.refused()
        needed = _FLAGS if set(refused) - set(_FLAGS) else [kind for kind in _FLAGS if kind in refused]
        return [f"{_FLAGS[kind][0]} {kind.upper()}" for kind in needed]

    def _admitted(self, kind: str, text: object) -> Specification:
        flag, table = _FLAGS[kind]
        return named_by_file(
            table,
            text,
            source=f"the recipe in {self.path}",
            kind="checkpoint",
            way_out=f"add {flag} {text} if you know it (before `landscape compare`, to `landscape measure`), or "
            "--trust-checkpoint",
        )

    def _unused(self) -> list[str]:
        """The fields that measuring does not use, and that say what no recipe of ours says."""
        said = {field: self.fields[field] for field in _UNUSED if self.fields.get(field) is not None}
        return [f for f, value in said.items() if not isinstance(value, str) or not _PLAIN.fullmatch(value)]

    def _check_unused(self) -> None:
        for field in self._unused():
            raise InputError(
                f"the recipe in {self.path} names {str(self.fields[field])[:200]} for its {field}, which is neither a "
                "name of `landscape list` nor its options: give -m and -d if you know the network and the data"
            )

    @contextlib.contextmanager
    def blamed(self) -> Iterator[None]:
        """Inside, what is wrong with a name is the mistake of the file, not of the user."""
        try:
            yield
        except UsageError as failure:
            raise InputError(f"the recipe in {self.path} cannot be used: {failure}") from failure

    def number(self, field: str) -> float:
        """A number of the recipe, 0 where it does not say.

        Raises:
            InputError: It is none.
        """
        value = self.fields.get(field, 0.0)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not abs(value) < _LARGEST:
            raise InputError(
                f"the recipe in {self.path} has {field}={shown(value)}, which is no finite number"
            )
        return float(value)
