"""The notebooks run from nothing but the bundled data, hold what they print, and pass nothing over."""

import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "docs" / "notebooks").glob("*.ipynb"))


def cells(file):
    return [
        cell for cell in json.loads(file.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"
    ]


def test_there_are_three():
    assert len(NOTEBOOKS) == 3


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_was_run_from_the_first_cell_to_the_last(file):
    assert [cell["execution_count"] for cell in cells(file)] == list(range(1, len(cells(file)) + 1))
    kinds = [output["output_type"] for cell in cells(file) for output in cell["outputs"]]
    assert kinds
    assert "error" not in kinds
    assert not any(output.get("name") == "stderr" for cell in cells(file) for output in cell["outputs"])


@pytest.mark.thorough
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_runs(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    space = {"__name__": "__main__"}
    for cell in cells(file):
        exec(compile("".join(cell["source"]), file.name, "exec"), space)
