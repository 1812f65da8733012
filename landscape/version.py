"""The versions: our own, readable without importing anything heavy, and those of what is installed."""

import functools
import importlib.metadata

__version__ = "0.1.0"


@functools.cache
def version_of(package: str) -> str:
    """The version of an installed package; its metadata are parsed once, which takes milliseconds."""
    return importlib.metadata.version(package)
