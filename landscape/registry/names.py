"""Names a user can type, and what they build: ``"gsam:rho=0.05,alpha=0.4"``.

One spelling serves optimizers, measures, models, data sets and planes: a name, then options behind the last
colon. A :class:`NameTable` is the list of names of one kind; the options of a row are the keyword-only
parameters of the function or class behind it, so a new option needs no second declaration. An unknown name
or option is answered with the nearest one.
"""

import inspect
import itertools
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from landscape.errors import UsageError
from landscape.registry.bounds import Limit, bounds, refuse_enormous
from landscape.registry.nearest import did_you_mean

T = TypeVar("T")
Value = str | int | float | bool | None

_FEW = 12
"""Names that a message can list."""


@dataclass(frozen=True)
class Specification:
    """A parsed ``name:option=value,…``: the name and the options that were given."""

    name: str
    options: Mapping[str, Value] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.options:
            return self.name
        return self.name + ":" + ",".join(f"{key}={value}" for key, value in self.options.items())


@dataclass(frozen=True)
class Option:
    """One option of a row: its name, default and the type that its text is converted to."""

    name: str
    default: object
    annotation: object

    @property
    def required(self) -> bool:
        """Whether the option has no default."""
        return self.default is inspect.Parameter.empty

    @property
    def choices(self) -> list[str]:
        """What the option may be, where that can be listed."""
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


@dataclass(frozen=True)
class Row(Generic[T]):
    """One name of a table: what it builds, and one line that says what it is."""

    name: str
    build: Callable[..., T]
    summary: str
    reference: str = ""
    hidden: frozenset[str] = frozenset()

    @property
    def options(self) -> dict[str, Option]:
        """The keyword-only parameters of ``build`` that a user can set."""
        parameters = inspect.signature(self.build).parameters.values()
        hints = typing.get_type_hints(self.build.__init__ if inspect.isclass(self.build) else self.build)
        return {
            p.name: Option(p.name, p.default, hints.get(p.name, str))
            for p in parameters
            if p.kind is p.KEYWORD_ONLY and p.name not in self.hidden
        }

    @property
    def bounds(self) -> dict[str, Limit]:
        """What the options must be, where that is said."""
        return bounds(self.build.__init__ if inspect.isclass(self.build) else self.build)

    @property
    def takes_any(self) -> bool:
        """Whether ``build`` has ``**options``, so that any name is an option."""
        return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(self.build).parameters.values())


class NameTable(Mapping[str, Row[T]]):
    """The names of one kind (``"optimizer"``, ``"measure"``, …), in the order in which they are listed.

    Args:
        kind: What a row is called in messages.
        rows: The rows.
        libraries: Builds a row for names that are not listed but that a file may use as well, such as
            ``torchvision:NAME``: such a row runs no code but the library's own. Returns ``None`` where it does not
            know the name either.
        fallback: Builds a row for the names that only the user may give, such as ``./file.py:factory``.
        forms: How names that are not listed are written.
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
            raise UsageError(
                f"unknown {self.kind} '{name}'{did_you_mean(name.replace('_', '-'), self._rows)}; {self._known()}"
            ) from None

    def _known(self) -> str:
        """The names there are, or some of them: a message is one line to read."""
        if len(self) <= _FEW:
            return f"known: {', '.join([*self, *self.forms])}"
        some = ", ".join(itertools.islice(self, _FEW // 2))
        return f"known: {some}, … ({len(self)}, see `landscape list`){''.join(f', {form}' for form in self.forms)}"

    def parse(self, text: str | Specification) -> Specification:
        """The specification in ``text``, checked: known name, known options, values of the right type."""
        given = text if isinstance(text, Specification) else split(text)
        return self._checked(self.row(given.name), given)

    def admitted(self, text: str) -> Specification | None:
        """The specification in ``text`` if a file may say it, checked; ``None`` if only the user may.

        A file may name the rows of the table and what libraries have registered, with the options that they declare;
        where a row takes any option, with numbers and truth values. Nothing else is looked up, so that no code is
        imported for the sake of a name in a file.
        """
        given = split(text)
        row = self._without_code(given.name)
        if row is None:
            return None
        declared = row.options
        texts = [key for key, value in given.options.items() if isinstance(_guessed(value), str)]
        if row.takes_any and any(key.replace("-", "_") not in declared for key in texts):
            return None
        return self._checked(row, given)

    def _checked(self, row: Row[T], given: Specification) -> Specification:
        allowed, limits = row.options, row.bounds
        options: dict[str, Value] = {}
        for key, value in given.options.items():
            name = key.replace("-", "_")
            if name not in allowed and row.takes_any:
                options[name] = _guessed(value)
                refuse_enormous(name, options[name], row.name)
                continue
            if name not in allowed:
                known = ", ".join(allowed) or "none"
                guess = did_you_mean(name, allowed)
                raise UsageError(f"{self.kind} '{row.name}' has no option '{key}'{guess}; options: {known}")
            options[name] = allowed[name].convert(value, row.name)
            if name in limits:
                limits[name].check(name, options[name], row.name)
            else:
                refuse_enormous(name, options[name], row.name)
        return Specification(row.name, options)

    def settings(self, text: str | Specification) -> dict[str, object]:
        """Every option of the row with its value: the one given, or the default."""
        specification = self.parse(text)
        defaults = {name: option.default for name, option in self.row(specification.name).options.items()}
        return {**defaults, **specification.options}

    def build(self, text: str | Specification, *arguments: object, **context: object) -> T:
        """What the name builds, called with ``arguments``, the options, and ``context`` where it is accepted.

        Args:
            text: A specification, parsed or not.
            arguments: Positional arguments of the builder.
            context: Keyword arguments that are passed on only if the builder has a parameter of that name
                and the user did not set it.
        """
        specification = self.parse(text)
        row = self.row(specification.name)
        accepted = inspect.signature(row.build).parameters
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
        raise UsageError("an empty name was given; `landscape list KIND` shows the names there are")
    head, colon, tail = text.strip().rpartition(":")
    if not colon or "=" not in tail:
        return Specification(text.strip(), {})
    options: dict[str, Value] = {}
    for part in tail.split(","):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"'{part}' in '{text}' is not option=value")
        if key.strip() in options:
            raise UsageError(f"option '{key.strip()}' is given twice in '{text}'")
        options[key.strip()] = value.strip()
    return Specification(head, options)


def _guessed(value: Value) -> Value:
    """What an option without a declared type is taken for."""
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


def _convert(text: str, kind: Any) -> Value:
    if typing.get_origin(kind) is Literal:
        allowed = [str(value) for value in typing.get_args(kind)]
        if text not in allowed:
            raise ValueError(f"one of {', '.join(allowed)}")
        return text
    if kind is type(None):
        if text.lower() != "none":
            raise ValueError("none")
        return None
    if kind is bool:
        lowered = text.lower()
        if lowered not in ("true", "false", "yes", "no", "on", "off"):
            raise ValueError("true or false")
        return lowered in ("true", "yes", "on")
    if kind is int:
        try:
            return int(text)
        except ValueError:
            raise ValueError("a whole number") from None
    if kind is float:
        try:
            return float(text)
        except ValueError:
            raise ValueError("a number") from None
    return text
