"""Packages that only trackers need."""

import importlib.util

from landscape.errors import UsageError


def required(package: str) -> None:
    """Raises :class:`UsageError` with the way out if a package is not installed; it is not imported."""
    if importlib.util.find_spec(package) is None:
        raise UsageError(
            f"{package} is not installed; pip install 'landscape-geometry[tracking]' installs it"
        )
