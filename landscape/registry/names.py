"""Names a user can type, and what they build: ``"gsam:rho=0.05,alpha=0.4"``.

One spelling serves optimizers, measures, models, data sets and planes: a name, then options behind the last
colon. A :class:`NameTable` lists the names of one kind. The options of a row are the keyword-only parameters
of the function or class behind it, so that a new option needs no second declaration; a row whose function takes
``**options`` states them itself.
"""

import inspect
import itertools
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, Literal, TypeVar

from landscape.errors import UsageError
from landscape.registry.bounds import Limit, limit_of, refuse_enormous
from landscape.registry.nearest import did_you_mean

T = TypeVar("T")
Value = str | int | float | bool | None

_FEW = 12  # names that fit on one line of a message


@dataclass(frozen=True)
class Specification:
    """A parsed ``name:option=value,…``: the name and the options that the text sets."""

    name: str
    options: Mapping[str, Value] = field(default_factory=dict)

    def __str__(self) -> str:
        options = ",".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.name}:{options}" if options else self.name


@dataclass(frozen=True)
class Option:
    """One option of a row: its name, its default, the type that its text is converted to, and its bounds."""

    name: str
    default: object
    annotation: object
    limit: Limit | None = None

    @property
    def required(self) -> bool:
        """Whether the option has no default."""
        return self.default is inspect.Parameter.empty

    @property
    def choices(self) -> list[str]:
        """The allowed values, where they can be listed."""
        return [str(v) for kind in _alternatives(self.annotation) for v in _literals(kind)]

    def convert(self, text: Value, owner: str) -> Value:
        """The value of the option from its text; raises :class:`UsageError` naming what is allowed."""
        if not isinstance(text, str):
            return text
        failures = []
        for candidate in _alternatives(self.annotation):
            try:
                return _convert(text, candidate)
            except ValueError as failure:
                failures.append(str(failure))
        raise UsageError(f"{owner}: {self.name}={text} is not {' or '.join(dict.fromkeys(failures))}")

    def checked(self, text: Value, owner: str) -> Value:
        """The converted value; raises :class:`UsageError` if it is out of bounds or enormous."""
        value = self.convert(text, owner)
        if self.limit is None or isinstance(value, float):  # bounds of whole numbers have an upper end
            refuse_enormous(self.name, value, owner)
        if self.limit is not None:
            self.limit.check(self.name, value, owner)
        return value


@dataclass(frozen=True)
class Options:
    """The declared options of a row; if it is ``open``, any other name is an option as well."""

    by_name: Mapping[str, Option]
    open: bool = False


def options_of(function: Callable[..., Any]) -> Options:
    """The keyword-only parameters of a function or class, with the bounds in their annotations."""
    subject = function.__init__ if inspect.isclass(function) else function
    hints, annotated = typing.get_type_hints(subject), typing.get_type_hints(subject, include_extras=True)
    parameters = inspect.signature(function).parameters.values()
    return Options(
        {
            p.name: Option(p.name, p.default, hints.get(p.name, str), limit_of(annotated.get(p.name)))
            for p in parameters
            if p.kind is p.KEYWORD_ONLY
        },
        open=any(p.kind is p.VAR_KEYWORD for p in parameters),
    )


@dataclass(frozen=True)
class Row(Generic[T]):
    """One name of a table.

    Attributes:
        build: Returns the object behind the name.
        summary: One line that describes it.
        reference: The paper.
        hidden: Parameters of ``build`` that only the caller sets.
        stated: The options, where the parameters of ``build`` do not show them; ``None`` where they do.
    """

    name: str
    build: Callable[..., T]
    summary: str
    reference: str = ""
    hidden: frozenset[str] = frozenset()
    stated: Options | None = field(default=None, kw_only=True)

    @cached_property
    def parameters(self) -> Options:
        """The options and the hidden parameters."""
        return self.stated or options_of(self.build)

    @property
    def options(self) -> dict[str, Option]:
        """The declared parameters that a user can set."""
        return {n: option for n, option in self.parameters.by_name.items() if n not in self.hidden}


class NameTable(Mapping[str, Row[T]]):
    """The names of one kind (``"optimizer"``, ``"measure"``, …), in the order in which they are listed.

    Args:
        kind: The word for a row in messages.
        rows: The rows.
        libraries: Returns the row of a name that is not listed but that a file may contain as well, such as
            ``torchvision:NAME``, whose row runs no code but the library's own; or ``None``.
        fallback: Returns the row of a name that only the user may type, such as ``./file.py:factory``; or ``None``.
        forms: The forms of names that are not listed, for messages.
    """

    def __init__(
        self,
        kind: str,
        rows: Sequence[Row[T]],
        *,
        libraries: Callable[[str], Row[T] | None] | None = None,
        fallback: Callable[[str], Row[T] | None] | None = None,
        forms: Sequence[str] = (),
    ) -> None:
        self.kind = kind
        self.forms = tuple(forms)
        self._libraries = libraries
        self._rows = {row.name: row for row in rows}
        self._fallback = fallback

    def __getitem__(self, name: str) -> Row[T]:
        row = self._without_code(name)
        if row is None and self._fallback is not None:
            row = self._fallback(name)
        if row is None:
            raise KeyError(name)
        return row

    def _without_code(self, name: str) -> Row[T] | None:
        row = self._rows.get(name) or self._rows.get(name.replace("_", "-"))
        return self._libraries(name) if row is None and self._libraries is not None else row

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, name: str) -> Row[T]:
        """The row of that name; raises :class:`UsageError` with the nearest name."""
        try:
            return self[name]
        except KeyError:
            raise UsageError(f"unknown {self.kind} '{name}'{self._hint(name)}; {self._known()}") from None

    def _hint(self, name: str) -> str:
        """A suggestion for an unknown name, as the end of a message."""
        head, comma, options = name.partition(",")
        if comma and "=" in options:
            return f" (options follow a colon: '{head}:{options}')"
        if "://" in name:
            return " (download it, and name the file or folder)"
        return did_you_mean(name.replace("_", "-"), self._rows)

    def _known(self) -> str:
        """The names for a message of one line: all, or the first of many."""
        if len(self) <= _FEW:
            return f"known: {', '.join([*self, *self.forms])}"
        some = ", ".join(itertools.islice(self, _FEW // 2))
        return f"known: {some}, … ({len(self)}, see `landscape list`){''.join(f', {form}' for form in self.forms)}"

    def parse(self, text: str | Specification) -> Specification:
        """The specification in ``text``, checked: known name, known options, values of the right type."""
        specification = text if isinstance(text, Specification) else split(text)
        return self._checked(self.row(specification.name), specification)

    def admitted(self, text: str) -> Specification | None:
        """The specification in ``text`` if a file may contain it, checked; ``None`` if only a user may type it.

        A file may name the rows of the table and the names that libraries have registered, with the options that
        they declare; rows that take any option may have numbers and truth values for the others. Nothing else is
        looked up, so that no code is imported because of a name in a file.
        """
        specification = split(text)
        row = self._without_code(specification.name)
        if row is None:
            return None
        parameters = row.parameters
        texts = [key for key, value in specification.options.items() if isinstance(_guessed(value), str)]
        if parameters.open and any(key.replace("-", "_") not in row.options for key in texts):
            return None
        return self._checked(row, specification)

    def _checked(self, row: Row[T], specification: Specification) -> Specification:
        declared, is_open = row.options, row.parameters.open
        options: dict[str, Value] = {}
        for key, value in specification.options.items():
            name = key.replace("-", "_")
            if name in declared:
                options[name] = declared[name].checked(value, row.name)
            elif is_open:
                options[name] = _guessed(value)
                refuse_enormous(name, options[name], row.name)
            else:
                guess, known = did_you_mean(name, declared), ", ".join(declared) or "none"
                raise UsageError(f"{self.kind} '{row.name}' has no option '{key}'{guess}; options: {known}")
        return Specification(row.name, options)

    def settings(self, text: str | Specification) -> dict[str, object]:
        """Every option of the row with its value: the one in ``text``, or the default."""
        specification = self.parse(text)
        defaults = {name: option.default for name, option in self.row(specification.name).options.items()}
        return {**defaults, **specification.options}

    def build(self, text: str | Specification, *arguments: object, **context: object) -> T:
        """The object behind the name, built from ``arguments``, the options, and ``context`` where accepted.

        Args:
            text: A specification, parsed or not.
            arguments: Positional arguments of the builder.
            context: Keyword arguments that are passed on only if the builder declares a parameter of that name
                and the text does not set it.
        """
        specification = self.parse(text)
        row = self.row(specification.name)
        accepted = row.parameters.by_name
        extra = {k: v for k, v in context.items() if k in accepted and k not in specification.options}
        missing = [
            name
            for name, option in row.options.items()
            if option.required and name not in specification.options and name not in extra
        ]
        if missing:
            raise UsageError(f"{self.kind} '{row.name}' needs {', '.join(f'{name}=…' for name in missing)}")
        return row.build(*arguments, **specification.options, **extra)


def split(text: str) -> Specification:
    """A specification from its text, unchecked: options follow the last colon if they contain ``=``."""
    if not text.strip():
        raise UsageError("an empty name names nothing; `landscape list KIND` shows the names there are")
    head, colon, tail = text.strip().rpartition(":")
    if not colon or "=" not in tail:
        return Specification(text.strip(), {})
    options: dict[str, Value] = {}
    for part in tail.split(","):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"'{part}' in '{text}' is not option=value")
        if key.strip() in options:
            raise UsageError(f"option '{key.strip()}' is set twice in '{text}'")
        options[key.strip()] = value.strip()
    return Specification(head, options)


SPLITS = ("train", "test")
"""Parts of the data that a column of a table may name in front of its measure."""
CORRUPTED = "corrupted"
"""The test examples with corruptions; a kind and a severity may follow: ``corrupted-fog-3``."""


def split_of(text: str) -> tuple[str | None, str]:
    """``"test:accuracy"`` → ``("test", "accuracy")``; ``(None, text)`` without the name of a split in front.

    Args:
        text: A measure with options, or the label of a column.
    """
    part, colon, name = text.strip().partition(":")
    is_split = part in SPLITS or part.partition("-")[0] == CORRUPTED
    return (part, name) if colon and is_split else (None, text)


def _guessed(value: Value) -> Value:
    """The value of an option without a declared type, as its text looks."""
    return Option("", None, Value).convert(value, "")


def _alternatives(annotation: object) -> list[object]:
    """The types an annotation allows, the strictest first, so that "5" is an int where both are allowed."""
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        flat = [kind for member in typing.get_args(annotation) for kind in _alternatives(member)]
    else:
        flat = [annotation]
    order = {type(None): 0, bool: 1, int: 2, float: 3, str: 9}
    return sorted(flat, key=lambda kind: order.get(kind, 5) if isinstance(kind, type) else 5)


def _literals(kind: Any) -> tuple[object, ...]:
    return typing.get_args(kind) if typing.get_origin(kind) is Literal else ()


_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_NUMBERS: dict[object, str] = {int: "a whole number", float: "a number"}


def _convert(text: str, kind: Any) -> Value:
    if typing.get_origin(kind) is Literal:
        if text not in map(str, _literals(kind)):
            raise ValueError(f"one of {', '.join(map(str, _literals(kind)))}")
    elif kind is type(None):
        if text.lower() != "none":
            raise ValueError("none")
        return None
    elif kind is bool:
        if text.lower() not in _BOOLEANS:
            raise ValueError("true or false")
        return _BOOLEANS[text.lower()]
    elif kind in _NUMBERS:
        try:
            return int(text) if kind is int else float(text)
        except ValueError:
            raise ValueError(_NUMBERS[kind]) from None
    return text
