"""How an optional package is installed: by what an extra of this package asks for, which works from anywhere."""

import importlib.metadata

PACKAGE = "landscape-geometry"


def install(extra: str) -> str:
    """The command that installs the packages of an extra, such as ``pip install 'plotly>=6.0'``."""
    try:
        asked = importlib.metadata.requires(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:  # of a source tree that was not installed
        asked = []
    needed = [entry.partition(";")[0].strip() for entry in asked if f'extra == "{extra}"' in entry]
    return " ".join(["pip install", *(f"'{entry}'" for entry in needed or [f".[{extra}]"])])
