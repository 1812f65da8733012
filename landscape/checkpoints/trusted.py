"""Unpickles trusted files, whose classes may be defined in the current folder or in the named script."""

import contextlib
import importlib
import pickle
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import IO, Any

import torch

from landscape.errors import InputError
from landscape.registry.user_code import described, importable


def unpickled(file: Path, script: ModuleType | None) -> object:
    """The content of a bare pickle, which runs its code; see :func:`trusted` for the arguments."""
    with _from_here(), file.open("rb") as stream:
        return _unpickler(file, script)(stream).load()


def trusted(file: Path, *, mapped: bool, script: ModuleType | None) -> object:
    """The content of a file of ``torch.save``, which runs its code.

    Args:
        file: The file.
        mapped: Whether its tensors are mapped into memory.
        script: The user's script in which classes of ``__main__`` are looked up first.

    Raises:
        InputError: A class in the file cannot be found.
    """
    module: Any = SimpleNamespace(__name__="pickle", Unpickler=_unpickler(file, script), load=_load)
    with _from_here(), contextlib.nullcontext(file) if mapped else file.open("rb") as source:
        return torch.load(source, map_location="cpu", weights_only=False, mmap=mapped, pickle_module=module)


def _load(stream: IO[bytes], **options: Any) -> object:
    return pickle.load(stream, **options)


def _unpickler(file: Path, script: ModuleType | None) -> type[pickle.Unpickler]:
    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if module == "__main__" and hasattr(script, name):
                return getattr(script, name)
            try:
                return super().find_class(module, name)
            except Exception as failure:  # a module can raise anything while it is imported
                raise InputError(_missing(file, module, name, failure)) from failure

    return Unpickler


def _missing(file: Path, module: str, name: str, failure: Exception) -> str:
    if module == "__main__":
        reason = "which the current script does not define"
        way_out = f"name the script that defines it: -m ./FILE.py:{name}"
    elif isinstance(failure, ModuleNotFoundError) and f"{module}.".startswith(f"{failure.name}."):
        reason = f"but there is no module '{failure.name}', neither installed nor in this folder"
        way_out = "run the command in the folder of that module"
    elif isinstance(failure, AttributeError):
        reason, way_out = (
            f"which module '{module}' does not have",
            "use the version of it that saved the file",
        )
    else:
        reason, way_out = f"whose module fails: {described(failure)}", "fix that module"
    return (
        f"{file} needs {module}.{name}, {reason}; {way_out}, or leave out --trust-checkpoint: the weights of a "
        "whole network are read without its classes"
    )


@contextlib.contextmanager
def _from_here() -> Iterator[None]:
    """Inside, modules of the current folder can be imported."""
    with importable(Path.cwd()):
        importlib.invalidate_caches()  # a module may be newer than the cached listing of its folder
        yield
