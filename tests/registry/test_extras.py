"""The command that installs an optional package is one that works, released or not."""

import importlib.metadata
import shlex

import pytest

from landscape.registry.extras import PACKAGE, install

EXTRAS = importlib.metadata.metadata(PACKAGE).get_all("Provides-Extra") or []


@pytest.mark.parametrize("extra", EXTRAS)
def test_it_names_what_the_extra_asks_for(extra):
    command, verb, *needed = shlex.split(install(extra))
    assert (command, verb) == ("pip", "install")
    assert needed
    assert not any(name.startswith((PACKAGE, ".")) for name in needed)


def test_without_metadata_it_is_that_of_the_source_tree(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", missing)
    assert install("html") == "pip install '.[html]'"
    assert "plotly" not in install("html")
