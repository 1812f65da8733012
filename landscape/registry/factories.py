"""Functions and classes of the user's by name: ``./file.py:function`` and ``package.module:function``, with options.

``./file.py`` alone names the only object in the file that can be meant. Naming such code runs it. So a name that comes
out of a file, and not from the user, goes through :func:`named_by_file`, which admits only names that run no code but
ours and the libraries' own.
"""

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from landscape.errors import InputError, UsageError
from landscape.registry.names import NameTable, Option, Options, Row, Specification, Value
from landscape.registry.nearest import did_you_mean
from landscape.registry.user_code import described, module_of, names_code, place, watched

FORMS = ("package.module:factory", "./file.py:factory")
LONGEST = 4096  # characters of a name in a file, with its options: a path may be so long

_PLAIN = (bool, int, float, str)


def named_by_file(
    table: NameTable[Any], text: object, *, source: str, kind: str, way_out: str
) -> Specification:
    """The specification in a text of a file, provided that a file may contain it.

    Args:
        table: The names of that kind.
        text: The content of the file.
        source: The file, for messages.
        kind: The kind of file: ``checkpoint``.
        way_out: The advice to a user who knows the named object.

    Raises:
        InputError: It is no name, one that only the user may type, such as code, or one with wrong options.
    """
    if not isinstance(text, str) or len(text) > LONGEST:
        seen = f"{len(text):,} characters" if isinstance(text, str) else f"a {type(text).__name__}"
        raise InputError(f"{source} has {seen} for its {table.kind}, which is no name of one")
    try:
        specification = table.admitted(text)
        code = specification is None and names_code(text)
    except UsageError as failure:
        raise InputError(f"{source} names {text} for its {table.kind}: {failure}; {way_out}") from None
    if specification is not None:
        return specification
    if code:
        raise InputError(f"{source} names the Python code {text}, which a {kind} cannot run: {way_out}")
    raise InputError(
        f"{source} names {text} for its {table.kind}, which a {kind} may not, as it is neither in `landscape list` nor "
        f"a library's own: {way_out}"
    )


@dataclass(frozen=True)
class Kind:
    """The objects that ``./file.py`` without ``:NAME`` can refer to.

    Attributes:
        name: The kind of object, as in :class:`NameTable`; an object of this very name comes first.
        fits: Predicates on the objects of the file, the most specific first; the first that any object satisfies
            decides.
        advice: How the file should be written, for messages.
    """

    name: str
    fits: Sequence[Callable[[Any], bool]]
    advice: str


def user_function(name: str, kind: Kind) -> tuple[str, Callable[..., Any]] | None:
    """The function of ``./file.py:function`` or ``package.module:function`` with its name; ``None`` for other forms.

    Options are not part of the name: :func:`landscape.registry.names.split` alone parses them.
    A file is run once, with its folder first on the import path, as Python does with a script. Its top level runs
    whatever stands there; what only a script should do belongs under ``if __name__ == "__main__":``.

    Raises:
        InputError: There is no such file or module, or it fails when it is run.
        UsageError: There is no such function in it, or several that the name can mean.
    """
    if not names_code(Specification(name)):
        return None
    where, attribute = place(name)
    module = module_of(where)
    attribute = attribute or _meant(module, where, kind)
    function: Callable[..., Any] | None = getattr(module, attribute, None)
    if not callable(function):
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise UsageError(f"{where} has no function '{attribute}'{did_you_mean(attribute, public)}")
    return f"{where}:{attribute}", function


def _meant(module: ModuleType, where: str, kind: Kind) -> str:
    """The name of the object in a file that ``./file.py`` means."""
    own = {
        key: value
        for key, value in vars(module).items()
        if callable(value) and not key.startswith("_") and getattr(value, "__module__", "") == module.__name__
    }
    if kind.name in own:
        return kind.name
    for rule in kind.fits:
        names = [key for key, value in own.items() if rule(value)]
        if len(names) == 1:
            return names[0]
        if names:
            listed = ", ".join(f"{where}:{key}" for key in names[:8])
            raise UsageError(
                f"{where} has {len(names)} objects that can be the {kind.name}; name one: {listed}"
            )
    others = f" (it defines {', '.join(list(own)[:8])})" if own else ""
    raise UsageError(f"{where} has nothing that can be the {kind.name} by itself{others}: {kind.advice}")


def needs_only(function: Callable[..., Any], known: Sequence[str] = ()) -> bool:
    """Whether a function or class can be called with no arguments other than these."""
    parameters = _parameters(function)
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return parameters is not None and all(
        p.default is not p.empty
        or p.kind in optional
        or (p.name in known and p.kind is not p.POSITIONAL_ONLY)
        for p in parameters
    )


def required_parameters(function: Callable[..., Any]) -> list[str]:
    """The names of the positional parameters without a default, in order; empty for a builtin without a signature."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = _parameters(function) or ()
    return [p.name for p in parameters if p.default is p.empty and p.kind in kinds and p.name != "self"]


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter] | None:
    """The parameters of a function or class; ``None`` for some builtins, which have no signature."""
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None


def user_row(name: str, kind: Kind) -> Row[Any] | None:
    """A row that calls the user's function; its options are the function's parameters."""
    named = user_function(name, kind)
    if named is None:
        return None
    full, function = named
    return Row(full, guarded(function, full), summary_of(function), stated=user_options(function, full))


_TASK = Kind("task", [needs_only], "write a function task() that returns dict(model=…, data=…, loss=…)")

TASKS: NameTable[Any] = NameTable("task", [], fallback=lambda name: user_row(name, _TASK), forms=FORMS)
"""The user's functions that return ``dict(model=…, data=…, loss=…)``; there are no others."""

PARTS = ("model", "data", "loss")


def task_parts(task: str | Mapping[str, Any] | None) -> dict[str, Any]:
    """The parts that a task returns, without those that are ``None``; empty where there is no task.

    Raises:
        UsageError: The text does not name a function.
        InputError: The function fails, or returns something else.
    """
    if task is None:
        return {}
    if isinstance(task, str) and not names_code(task):
        raise UsageError(
            f"--task {task} is not {' or '.join(reversed(FORMS)).replace('factory', 'function')}"
        )
    parts: Any = TASKS.build(task) if isinstance(task, str) else task
    if not isinstance(parts, Mapping) or not parts or not set(parts) <= set(PARTS):
        keys = f"a dictionary of {', '.join(map(str, parts))}" if isinstance(parts, Mapping) else None
        raise InputError(
            f"{task} returns {keys or type(parts).__name__}; a task returns dict(model=…, data=…, loss=…)"
        )
    return {key: value for key, value in parts.items() if value is not None}


def summary_of(function: Callable[..., Any]) -> str:
    """The first line of the function's docstring."""
    return (inspect.getdoc(function) or "").partition("\n")[0]


def user_options(function: Callable[..., Any], name: str) -> Options:
    """The parameters of a user's function that can be set by name.

    An option without an annotation has the type of its default, or else the type that its text looks like.
    """
    parameters = _parameters(function)
    if parameters is None:
        raise UsageError(f"{name} has no signature that Python can read; wrap it in a function of your own")
    try:
        hints = typing.get_type_hints(function.__init__ if inspect.isclass(function) else function)
    except Exception:  # an annotation that cannot be evaluated is as good as none
        hints = {}
    by_name = {}
    for parameter in parameters:
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            default = parameter.default
            guess = type(default) if type(default) in _PLAIN else Value
            by_name[parameter.name] = Option(parameter.name, default, hints.get(parameter.name, guess))
    return Options(by_name, open=any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters))


def guarded(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The user's function with its failures reported in one line."""
    where = place(name)[0]

    def build(**options: Any) -> Any:
        with watched(where, Path(where).parent if where.endswith(".py") else Path()):
            try:
                return function(**options)
            except (UsageError, InputError):
                raise
            except (Exception, SystemExit) as failure:  # whatever the user's code raises is its own mistake
                raise InputError(f"{name} failed: {described(failure)}") from failure

    return build
