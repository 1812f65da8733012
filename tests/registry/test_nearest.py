"""The one suggestion of messages about unknown names."""

from pathlib import Path

import landscape
from landscape.registry.nearest import did_you_mean


def test_the_most_similar_name_is_suggested_with_its_prefix():
    assert did_you_mean("gsma", ["sam", "gsam"]) == " (did you mean 'gsam'?)"
    assert did_you_mean("resnet19", {"resnet18": 1}, prefix="timm:") == " (did you mean 'timm:resnet18'?)"


def test_nothing_is_suggested_where_no_name_is_similar():
    assert did_you_mean("zzz", ["sam", "gsam"]) == ""
    assert did_you_mean("sam", []) == ""


def test_no_other_file_looks_for_similar_names():
    root = Path(landscape.__file__).parent
    files = [*root.rglob("*.py"), *(root.parent / "cli").rglob("*.py")]
    assert [path.name for path in files if "import difflib" in path.read_text()] == ["nearest.py"]
