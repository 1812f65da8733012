"""The user's own Python behind a name: ``./file.py:function`` and ``package.module:function``, options behind it.

Naming such code runs it. So a name that comes out of a file, and not from the user, goes through
:func:`named_by_file`, which admits only names that run no code but ours and the libraries' own.
"""

import contextlib
import difflib
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from landscape.errors import InputError, UsageError
from landscape.registry import NameTable, Row, Specification, Value, split

FORMS = ("package.module:factory", "./file.py:factory")
PREFIXES = frozenset({"torchvision", "timm", "hf", "hf-datasets", "imagefolder", "npz", "safetensors"})
"""What stands before a colon where no code of the user is meant."""

_PLAIN = (bool, int, float, str)
_loaded: dict[tuple[Path, int, int], ModuleType] = {}


def names_code(specification: str | Specification) -> bool:
    """Whether a specification has the form of the user's own code."""
    name = specification.name if isinstance(specification, Specification) else split(specification).name
    where, colon, attribute = name.rpartition(":")
    if not colon or not attribute.isidentifier() or where in PREFIXES:
        return False
    return where.endswith(".py") or all(part.isidentifier() for part in where.split("."))


def named_by_file(
    table: NameTable[Any], text: object, *, source: str, kind: str, way_out: str
) -> Specification:
    """What a file says is the model, the data, …, provided that a file may say it.

    Args:
        table: The names of that kind.
        text: What the file says.
        source: Which file, in words.
        kind: What the file is: ``checkpoint``.
        way_out: What a user may do who knows what is named.

    Raises:
        InputError: It names code, or something else that only the user may name; it is no text; or its options are
            wrong.
    """
    if not isinstance(text, str):
        raise InputError(f"{source} has {text!r} for its {table.kind}, which is no text; {way_out}")
    try:
        specification = table.admitted(text)
        code = specification is None and names_code(text)
    except UsageError as failure:
        raise InputError(f"{source} names {text} for its {table.kind}: {failure}; {way_out}") from None
    if specification is not None:
        return specification
    if code:
        raise InputError(f"{source} names the Python code {text}, which a {kind} cannot make run: {way_out}")
    raise InputError(
        f"{source} names {text} for its {table.kind}, which a {kind} may not, as it is neither in `landscape list` nor "
        f"a library's own: {way_out}"
    )


def user_function(name: str) -> Callable[..., Any] | None:
    """What ``./file.py:function`` or ``package.module:function`` names; ``None`` where it has another form.

    Options are not part of the name: :func:`landscape.registry.split` alone parses them.

    A file is run once, with its folder first on the import path, as Python does with a script.

    Raises:
        InputError: There is no such file or module, or it fails when it is run.
        UsageError: There is no such function in it.
    """
    if not names_code(Specification(name)):
        return None
    where, _, attribute = name.rpartition(":")
    module = _file(where) if where.endswith(".py") else _module(where)
    found = getattr(module, attribute, None)
    if not callable(found):
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        close = difflib.get_close_matches(attribute, public, n=1, cutoff=0.5)
        guess = f" (did you mean '{close[0]}'?)" if close else ""
        raise UsageError(f"{where} has no function '{attribute}'{guess}")
    function: Callable[..., Any] = found
    return function


def user_row(name: str) -> Row[Any] | None:
    """A row that calls the user's function; its options are the function's parameters."""
    function = user_function(name)
    if function is None:
        return None
    return Row(name, with_options(function, name), (inspect.getdoc(function) or "").partition("\n")[0])


def with_options(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The function with its parameters as keyword-only options, and its mistakes told in one line.

    An option without an annotation is taken for what its default is, and else for what its text looks like.
    """
    hints = _hints(function)
    parameters = []
    for parameter in _signature(function, name).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            parameters.append(parameter)
            continue
        default = parameter.default
        guess = type(default) if type(default) in _PLAIN else Value
        parameters.append(
            parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=hints.get(parameter.name, guess))
        )
    where = name.rpartition(":")[0]

    def build(**options: Any) -> Any:
        with _first_on_path(Path(where).parent if where.endswith(".py") else Path()):
            try:
                return function(**options)
            except (UsageError, InputError):
                raise
            except Exception as failure:  # whatever the user's code raises is told as its own mistake
                raise InputError(f"{name} failed: {described(failure)}") from failure

    build.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    build.__annotations__ = {p.name: p.annotation for p in parameters if p.kind is p.KEYWORD_ONLY}
    return build


def code_hash(*names: str | None) -> str | None:
    """The first 12 digits of the SHA-256 of the user's files behind these names; ``None`` if there are none."""
    digest = hashlib.sha256()
    files = [name for name in names if name and names_code(name)]
    for name in files:
        where = split(name).name.rpartition(":")[0]
        if where.endswith(".py"):
            file: str | None = where
        else:
            file = getattr(_module(where), "__file__", None)
        digest.update(Path(file).expanduser().read_bytes() if file else where.encode())
    return digest.hexdigest()[:12] if files else None


def described(failure: BaseException) -> str:
    """An exception in one line, with the place in the code that raised it."""
    words = " ".join(str(failure).split())
    frames = traceback.extract_tb(failure.__traceback__)
    place = f" ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})" if frames else ""
    return f"{type(failure).__name__}: {words}{place}" if words else f"{type(failure).__name__}{place}"


def _file(where: str) -> ModuleType:
    path = Path(where).expanduser()
    if not path.is_file():
        raise InputError(f"there is no file {where}; a factory in a file is written ./file.py:factory")
    path = path.resolve()
    status = path.stat()
    key = (path, status.st_mtime_ns, status.st_size)
    if key not in _loaded:
        label = f"landscape_user_{hashlib.sha256(repr(key).encode()).hexdigest()[:12]}"
        specification = importlib.util.spec_from_file_location(label, path)
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        sys.modules[label] = module  # dataclasses and pickles look the module up by its name
        try:
            with _first_on_path(path.parent), _no_bytecode():
                specification.loader.exec_module(module)
        except Exception as failure:
            del sys.modules[label]
            raise InputError(f"{where} cannot be loaded: {described(failure)}") from failure
        _loaded[key] = module
    return _loaded[key]


def _module(where: str) -> ModuleType:
    with _first_on_path(Path()):
        try:
            return importlib.import_module(where)
        except ModuleNotFoundError as failure:
            if failure.name and (where == failure.name or where.startswith(failure.name + ".")):
                raise InputError(
                    f"there is no module '{where}', neither installed nor in this folder; a factory in a file is "
                    "written ./file.py:factory"
                ) from None
            raise InputError(f"module {where} cannot be imported: {described(failure)}") from failure
        except Exception as failure:
            raise InputError(f"module {where} cannot be imported: {described(failure)}") from failure


@contextlib.contextmanager
def _first_on_path(folder: Path) -> Iterator[None]:
    entry = str(folder.expanduser().resolve())
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(entry)


@contextlib.contextmanager
def _no_bytecode() -> Iterator[None]:
    """Nothing is written beside the user's file."""
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function.__init__ if inspect.isclass(function) else function)
    except Exception:  # an annotation that cannot be evaluated is as good as none
        return {}


def _signature(function: Callable[..., Any], name: str) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        raise UsageError(f"{name} does not tell its parameters; wrap it in a function of your own") from None
