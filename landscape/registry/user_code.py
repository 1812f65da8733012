"""The user's own Python behind a name, ``./file.py:function`` or ``package.module:function``: run, watched, hashed.

Naming such code runs it. A file is run once, and again after it, or a module that it imports, has changed on disk.
"""

import ast
import contextlib
import hashlib
import importlib
import importlib.util
import os
import sys
import sysconfig
import threading
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from landscape.errors import InputError, Remark
from landscape.registry.names import Specification, split

# The words before a colon that do not name a module of the user.
PREFIXES = frozenset(
    {"torchvision", "timm", "hf", "hf-datasets", "imagefolder", "npz", "safetensors", "text"}
)

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
    where, attribute = place(name)
    if where in PREFIXES or not (attribute.isidentifier() or (not attribute and where.endswith(".py"))):
        return False
    return where.endswith(".py") or all(part.isidentifier() for part in where.split("."))


def place(name: str) -> tuple[str, str]:
    """The file or module in a name, and the object in it; no object where a file stands alone."""
    where, _, attribute = (name, "", "") if name.endswith(".py") else name.rpartition(":")
    return where, attribute


def user_module(name: str) -> ModuleType | None:
    """The module of ``./file.py:function`` or ``package.module:function``; ``None`` for names of other forms."""
    if not names_code(name):
        return None
    return module_of(place(split(name).name)[0])


def module_of(where: str) -> ModuleType:
    """The module of a file or a dotted name; its code runs on first use, and again after the file has changed.

    Raises:
        InputError: There is none, or it fails when it is run.
    """
    return _file(where) if where.endswith(".py") else _module(where)


def code_hash(*names: str | None) -> str | None:
    """The first 12 digits of a SHA-256 over the user's code behind these names; ``None`` if there is none.

    It covers the files that are named and every module of the user's that they import, directly or not, wherever
    in a file the import stands, with the bytes that were there when the module was imported. Modules count as the
    user's unless they belong to Python, to an installed package or to this one. Other files that the code reads,
    such as settings, are not covered; a change there shows in the loss at the point.
    """
    digest = hashlib.sha256()
    places = [place(split(name).name)[0] for name in names if name and names_code(name)]
    for where in places:
        module = module_of(where)
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
            with watched(where, path.parent):
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
    with watched(where, Path()):
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
def watched(where: str, folder: Path) -> Iterator[None]:
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
