"""The user's own Python behind a name: ``./file.py:function`` and ``package.module:function``, then its options.

``./file.py`` alone names the only object in the file that can be meant. Naming such code runs it. So a name that comes
out of a file, and not from the user, goes through :func:`named_by_file`, which admits only names that run no code but
ours and the libraries' own.
"""

import ast
import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
import sysconfig
import threading
import traceback
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from landscape.errors import InputError, Remark, UsageError
from landscape.registry.names import NameTable, Option, Options, Row, Specification, Value, split
from landscape.registry.nearest import did_you_mean

FORMS = ("package.module:factory", "./file.py:factory")
LONGEST = 4096  # characters of a name in a file, with its options: a path may be so long
# The words before a colon that do not name a module of the user.
PREFIXES = frozenset({"torchvision", "timm", "hf", "hf-datasets", "imagefolder", "npz", "safetensors"})

_PLAIN = (bool, int, float, str)
_GUARD = "what only a script should do belongs under if __name__ == '__main__':"
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_STANDARD = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib"))
# The import path belongs to the process: without the lock one thread would import what another has named.
_IMPORTING = threading.RLock()
_loaded: dict[Path, ModuleType] = {}  # named files that have been run
_imported: dict[str, Path] = {}  # the user's modules that were imported while named code ran
_imported_by: dict[tuple[str, Path], set[Path]] = {}  # their files, by the named code and its folder
_read: dict[Path, tuple[tuple[int, int], str]] = {}  # these files at that time: time and size, SHA-256


def names_code(specification: str | Specification) -> bool:
    """Whether a specification has the form of the user's own code."""
    name = specification.name if isinstance(specification, Specification) else split(specification).name
    where, attribute = _place(name)
    if where in PREFIXES or not (attribute.isidentifier() or (not attribute and where.endswith(".py"))):
        return False
    return where.endswith(".py") or all(part.isidentifier() for part in where.split("."))


def _place(name: str) -> tuple[str, str]:
    """The file or module in a name, and the object in it; no object where a file stands alone."""
    where, _, attribute = (name, "", "") if name.endswith(".py") else name.rpartition(":")
    return where, attribute


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


def user_module(name: str) -> ModuleType | None:
    """The module of ``./file.py:function`` or ``package.module:function``; ``None`` for names of other forms."""
    if not names_code(name):
        return None
    where, _ = _place(split(name).name)
    return _file(where) if where.endswith(".py") else _module(where)


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
    where, attribute = _place(name)
    module = _file(where) if where.endswith(".py") else _module(where)
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
    where = _place(name)[0]

    def build(**options: Any) -> Any:
        with _watched(where, Path(where).parent if where.endswith(".py") else Path()):
            try:
                return function(**options)
            except (UsageError, InputError):
                raise
            except (Exception, SystemExit) as failure:  # whatever the user's code raises is its own mistake
                raise InputError(f"{name} failed: {described(failure)}") from failure

    return build


def code_hash(*names: str | None) -> str | None:
    """The first 12 digits of a SHA-256 over the user's code behind these names; ``None`` if there is none.

    It covers the files that are named and every module of the user's that they import, directly or not, wherever
    in a file the import stands, with the bytes that were there when the module was imported. Modules count as the
    user's unless they belong to Python, to an installed package or to this one. Other files that the code reads,
    such as settings, are not covered; a change there shows in the loss at the point.
    """
    digest = hashlib.sha256()
    places = [_place(split(name).name)[0] for name in names if name and names_code(name)]
    for where in places:
        module = _file(where) if where.endswith(".py") else _module(where)
        first, *others = [(path.name, _sum(path)) for path in _files(module, where)] or [(where, "")]
        digest.update(repr((first, sorted(others))).encode())
    return digest.hexdigest()[:12] if places else None


def described(failure: BaseException) -> str:
    """An exception in one line, with the place in the code that raised it."""
    words = " ".join(str(failure).split())
    if isinstance(failure, SyntaxError):  # its own words name the place, the frames only Python's import
        return f"SyntaxError: {words}"
    if isinstance(failure, SystemExit):
        words = f"it calls sys.exit({failure.code!r}); {_GUARD}"
    frames = traceback.extract_tb(failure.__traceback__)
    place = f" ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})" if frames else ""
    return f"{type(failure).__name__}: {words}{place}" if words else f"{type(failure).__name__}{place}"


def _file(where: str) -> ModuleType:
    path = Path(where).expanduser()
    if not path.is_file():
        raise InputError(f"there is no file {where}; a factory in a file is written ./file.py:factory")
    path = path.resolve()
    _forget_changed()
    if path not in _loaded:
        # The stamp is a part of the name: a pickle of a class in an older version must not find the new one.
        label = f"landscape_user_{hashlib.sha256(repr((path, _stamp(path))).encode()).hexdigest()[:12]}"
        specification = importlib.util.spec_from_file_location(label, path)
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        no_bytecode = sys.dont_write_bytecode
        sys.dont_write_bytecode = True  # nothing is written beside the user's file
        try:
            with _watched(where, path.parent):
                sys.modules[label] = module  # dataclasses and pickles look the module up by its name
                specification.loader.exec_module(module)
        except (Exception, SystemExit) as failure:
            sys.modules.pop(label, None)
            raise InputError(f"{where} cannot be loaded: {described(failure)}") from failure
        finally:
            sys.dont_write_bytecode = no_bytecode
        _loaded[path] = module
    return _loaded[path]


def _module(where: str) -> ModuleType:
    _forget_changed()
    with _watched(where, Path()):
        try:
            return importlib.import_module(where)
        except (Exception, SystemExit) as failure:
            missing = failure.name if isinstance(failure, ModuleNotFoundError) else None
            if missing and f"{where}.".startswith(f"{missing}."):
                raise InputError(
                    f"there is no module '{where}', neither installed nor in this folder; a factory in a file is "
                    "written ./file.py:factory"
                ) from None
            raise InputError(f"module {where} cannot be imported: {described(failure)}") from failure


def _absent_device() -> str | None:
    """Why torch's default device cannot be used on this machine; ``None`` if it can."""
    torch = sys.modules.get("torch")  # whoever chose one has imported it
    try:
        return "whose tensors have no values" if torch is not None and torch.empty(0).is_meta else None
    except (RuntimeError, AssertionError) as failure:
        return f"which cannot be used here ({str(failure).splitlines()[0].partition('. ')[0]})"


@contextlib.contextmanager
def _usable_device(where: str) -> Iterator[None]:
    """Afterwards the CPU is torch's default device if the user's code inside chose one that is not there."""
    before = _absent_device()
    yield
    reason = _absent_device()
    if reason is not None and before is None:
        sys.modules["torch"].set_default_device(None)
        warnings.warn(
            f"{where} chooses a default device of torch, {reason}: the CPU takes its place; the network and the data "
            "go to --device in any case",
            Remark,
            stacklevel=2,
        )


@contextlib.contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Inside, modules are searched in ``folder`` first; other threads that need another folder wait."""
    entry = str(folder)
    with _IMPORTING:
        sys.path.insert(0, entry)
        try:
            yield
        finally:
            with contextlib.suppress(ValueError):
                sys.path.remove(entry)


@contextlib.contextmanager
def _watched(where: str, folder: Path) -> Iterator[None]:
    """Inside, modules are searched in ``folder`` first; the user's modules that are imported are recorded."""
    folder = folder.expanduser().resolve()
    with importable(folder):
        for name in list(_imported):  # a module of the same name in another folder is another module
            top = name.partition(".")[0]
            own = _lying_in(folder, top)
            if own is not None and own != _file_of(sys.modules.get(top)):
                sys.modules.pop(name, None)
        before, arguments = set(sys.modules), sys.argv
        sys.argv = [where]  # a script that parses its arguments must not find ours
        try:
            # stdout is for numbers.
            with contextlib.redirect_stdout(sys.stderr), _usable_device(where):
                yield
        finally:
            sys.argv = arguments
            for name in set(sys.modules) - before:
                path = _users_file(sys.modules[name])
                if path is not None:
                    _imported[name] = path
                    _imported_by.setdefault((Path(where).name, folder), set()).add(path)
                    _read[path] = (_stamp(path), hashlib.sha256(path.read_bytes()).hexdigest())


def _forget_changed() -> None:
    """Drops the user's modules, so that they are run anew, if the file of one has changed since it was imported."""
    if all(_stamp(path) == stamp for path, (stamp, _) in _read.items()):
        return
    for name in _imported:  # all together: each may hold functions of the others
        sys.modules.pop(name, None)
    importlib.invalidate_caches()
    for cache in (_imported, _imported_by, _read, _loaded):
        cache.clear()


def _files(module: ModuleType, where: str) -> list[Path]:
    """The file of a module, then the user's files that it imports, directly or not."""
    first = _file_of(module)
    if first is None:
        return []
    root = first.parent if where.endswith(".py") else Path().resolve()
    files: dict[Path, None] = {}
    # A module that was imported under a name made up at run time stands in no import statement.
    waiting = [*_imported_by.get((Path(where).name, root), ()), first]
    while waiting:
        path = waiting.pop()
        if path not in files:
            files[path] = None
            waiting += _imports_of(path, root)
    return list(files)


def _imports_of(path: Path, root: Path) -> list[Path]:
    """The user's files that a file imports, whether or not that statement has been reached yet."""
    # modulefinder of the standard library does this, but misses packages without an __init__.py.
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):  # compiled code, whose imports cannot be seen
        return []
    files: list[Path | None] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [name for alias in node.names for name in _parents(alias.name)]
            files += [_module_file(name, root, path.parent) for name in names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            names = [base, *(f"{base}.{alias.name}".strip(".") for alias in node.names)]
            if node.level:
                folder = path.parents[min(node.level, len(path.parents)) - 1]
                files += [_lying_in(folder, name) for name in ("", *names)]
            else:
                files += [_module_file(name, root, path.parent) for name in (*_parents(base), *names)]
    return [file for file in files if file is not None]


def _parents(name: str) -> list[str]:
    """``a.b.c`` → ``a``, ``a.b``, ``a.b.c``: importing a module imports the packages that contain it."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _module_file(name: str, root: Path, beside: Path) -> Path | None:
    """The user's file of a module, also before it is imported: in the import path's first folder or ``beside``."""
    if name in sys.modules and name not in _imported:
        return _users_file(sys.modules[name])
    return _lying_in(root, name) or _users_file(sys.modules.get(name)) or _lying_in(beside, name)


def _lying_in(folder: Path, name: str) -> Path | None:
    place = folder.joinpath(*name.split(".")) if name else folder
    files = (place.with_name(f"{place.name}.py"), place / "__init__.py")
    return next((file for file in files[not name :] if file.is_file()), None)


def _file_of(module: object) -> Path | None:
    file = vars(module).get("__file__") if isinstance(module, ModuleType) else None
    return Path(file).resolve() if isinstance(file, str) else None


def _users_file(module: object) -> Path | None:
    """The file of a module that belongs neither to Python, nor to an installed package, nor to this one."""
    path = _file_of(module)
    if path is None or not path.is_file() or not isinstance(module, ModuleType):
        return None
    own = module.__name__.partition(".")[0] in ("landscape", "__main__", "__mp_main__")
    installed = _INSTALLED & set(path.parts) or any(path.is_relative_to(folder) for folder in _STANDARD)
    return None if own or installed else path


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:  # removed since
        return (0, -1)
    return (status.st_mtime_ns, status.st_size)


def _sum(path: Path) -> str:
    return _read[path][1] if path in _read else hashlib.sha256(path.read_bytes()).hexdigest()
