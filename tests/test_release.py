"""What a release is made of says the same everywhere: the version, and what the package needs."""

import re
import tomllib
from pathlib import Path

import yaml

from landscape.version import __version__

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ELSEWHERE = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
"""Names in the channels of conda."""


def test_the_conda_recipe_needs_what_the_package_needs():
    recipe = yaml.safe_load((ROOT / "conda" / "recipe.yaml").read_text(encoding="utf-8"))
    needed = dict(re.match(r"([\w-]+)(.*)", entry).groups() for entry in PROJECT["dependencies"])
    expected = [f"{ELSEWHERE.get(name, name)} {version}" for name, version in needed.items()]
    assert recipe["requirements"]["run"] == [f"python {PROJECT['requires-python']}", *expected]
    assert recipe["context"] == {"name": PROJECT["name"], "version": __version__}
    [(command, place)] = PROJECT["scripts"].items()
    assert recipe["build"]["python"]["entry_points"] == [f"{command} = {place}"]
    assert recipe["about"]["summary"] == PROJECT["description"]
    assert recipe["about"]["license"] == PROJECT["license"]


def test_the_image_gets_every_file_that_the_package_is_built_from():
    copied = re.findall(r"^COPY (.+) \S+$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    sent = {
        line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").split() if line[0] == "!"
    }
    assert (
        names == sent == {"pyproject.toml", "setup.py", "README.md", "LICENSE", "NOTICE", "landscape", "cli"}
    )
    assert all((ROOT / name).exists() for name in names)
