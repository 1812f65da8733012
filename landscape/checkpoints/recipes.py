"""What the recipe in a checkpoint may say: names of our tables and of libraries, and numbers; never code.

A file cannot vouch for itself. A run of the user's own, trained on code of the user's own, also names that code in its
checkpoint, and the flags of the command name it again.
"""

import contextlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from landscape.data import DATA, stated
from landscape.errors import InputError, UsageError
from landscape.losses import LOSSES
from landscape.models import MODELS
from landscape.records.reading import BEYOND
from landscape.registry.bounds import shown
from landscape.registry.factories import PARTS, TASKS, named_by_file
from landscape.registry.names import NameTable, Specification, split

_FLAGS: dict[str, tuple[str, NameTable[Any]]] = {
    "task": ("--task", TASKS),  # first, as the model and the data may be those of the task
    "model": ("-m", MODELS),
    "data": ("-d", DATA),
    "loss": ("--loss", LOSSES),
}
_LARGEST = 1e300
_UNUSED = ("optimizer", "base")
_PLAIN = re.compile(r"[\w.+-]+(:[\w-]+=[\w.+-]*(,[\w-]+=[\w.+-]*)*)?")


@dataclass(frozen=True)
class RecipeInFile:
    """The recipe of a checkpoint, which somebody else may have written; it may name code only with ``trust``."""

    path: Path
    fields: Mapping[str, Any]
    trust: bool = False

    def named(self, kind: str) -> Specification | None:
        """The task, model, data or loss that the recipe names, if any; refuses what only the user may name."""
        text = self.fields.get(kind)
        task = self.fields.get("task")
        if task is not None and (text is None or (isinstance(text, str) and text == task)):
            kind, text = "task", task
        if text is None:
            return None
        for field in () if self.trust else self._odd_fields():
            raise InputError(
                f"the recipe in {self.path} names {str(self.fields[field])[:200]} for its {field}, which is neither a "
                "name of `landscape list` nor its options: give -m and -d if you know the network and the data"
            )
        specification = split(text) if self.trust else self._admitted(kind, text)
        # A file must not make us fetch anything.
        options = {name: value for name, value in specification.options.items() if name != "download"}
        specification = Specification(specification.name, options)
        return stated(specification, "imagenet") if kind == "data" else specification

    def without_task(self) -> "RecipeInFile":
        """The recipe without the parts that the user's task replaces."""
        task, names = self.fields.get("task"), ("task", *PARTS)
        fields = {
            k: v for k, v in self.fields.items() if not (k in names and isinstance(v, str) and v == task)
        }
        return replace(self, fields=fields)

    def refused(self) -> dict[str, object]:
        """What the recipe names that only the user may name, by field."""
        refused = {field: self.fields[field] for field in self._odd_fields()}
        for kind in _FLAGS:
            text = self.fields.get(kind)
            is_of_task = isinstance(text, str) and kind != "task" and text == refused.get("task")
            if is_of_task or (text is None and kind in ("task", "loss")):
                continue
            try:
                self._admitted(kind, text)
            except InputError:
                refused[kind] = text
        return refused

    def flags(self) -> list[str]:
        """The flags that a command needs beside the file, with capital letters for what must be filled in."""
        # What the recipe names is not repeated: a command that is copied from the screen must not run it.
        refused = self.refused()
        needed = ("model", "data") if set(refused) - set(_FLAGS) else [k for k in _FLAGS if k in refused]
        return [f"{_FLAGS[kind][0]} {kind.upper()}" for kind in needed]

    def _admitted(self, kind: str, text: object) -> Specification:
        flag, table = _FLAGS[kind]
        return named_by_file(
            table,
            text,
            source=f"the recipe in {self.path}",
            kind="checkpoint",
            way_out=f"add {flag} {text} if you know it, or --trust-checkpoint",
        )

    def _odd_fields(self) -> list[str]:
        """The fields, unused in measuring, whose values no recipe of ours has."""
        values = {field: self.fields[field] for field in _UNUSED if self.fields.get(field) is not None}
        return [f for f, v in values.items() if not isinstance(v, str) or not _PLAIN.fullmatch(v)]

    @contextlib.contextmanager
    def blamed(self) -> Iterator[None]:
        """Turns a wrong name or option into a mistake of the file instead of the user."""
        try:
            yield
        except UsageError as failure:
            raise InputError(f"the recipe in {self.path} cannot be used: {failure}") from failure

    def number(self, field: str) -> float:
        """A finite number of the recipe, 0 where it does not say."""
        value = self.fields.get(field, 0.0)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not abs(value) < _LARGEST:
            raise InputError(
                f"the recipe in {self.path} has {field}={shown(value)}, which is not a finite number"
            )
        return float(value)


class WithinMemory(TorchDispatchMode):
    """Refuses the network that a file names before it takes more memory than the file may take.

    A mode sees an allocation before it is made. Nothing duller does: a network on the meta device cannot be built where
    its class looks at numbers.
    """

    def __init__(self, path: Path, name: str, *, stored: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.path, self.name = path, name
        self.most = self.left = 8 * stored + BEYOND  # weights of 8 bits become float64

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Counts the requested sizes, then runs the operation."""
        options = kwargs or {}
        if args and isinstance(args[0], (list, tuple)) and all(isinstance(side, int) for side in args[0]):
            width = (options.get("dtype") or torch.get_default_dtype()).itemsize
            self.left -= max(16 << 10, width * math.prod(args[0]))  # a layer costs 16 KB beside its numbers
        if self.left < 0:
            raise InputError(
                f"the recipe in {self.path} names {self.name}, which would take more than the {self.most:,} bytes that "
                "fit the weights in the file; name the network that they belong to with -m"
            )
        return func(*args, **options)
