"""The first minute: what it leaves, what it does again, and what stops it. `.ci/run` runs the whole of it."""

import pytest
from landscape.cli import demo

from landscape.records.surface import Surface

pytestmark = pytest.mark.thorough  # its processes import torch


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(demo, "EPOCHS", 1)
    monkeypatch.setattr(demo, "SEEDS", (0, 1))


def test_the_demo_leaves_runs_a_table_and_surfaces_and_does_nothing_twice(landscape, tmp_path):
    first = landscape("demo", "-q")
    assert first.code == 0, first.err
    folder = tmp_path / "landscape-demo"
    runs = sorted(run.name for run in (folder / "runs").iterdir())
    assert runs == ["sam-0", "sam-1", "sgd-0", "sgd-1"]
    assert {Surface.load(folder / f"{name}-0.npz").loss.shape for name in ("sgd", "sam")} == {(31, 31)}
    table = (folder / "table.txt").read_text()
    assert table.splitlines()[0].split()[:2] == ["optimizer", "SGD"]
    (folder / "runs" / "sam-1" / "measures.jsonl").unlink()  # as if it had ended before
    before = {file: file.stat().st_mtime_ns for file in folder.glob("runs/*/checkpoint.pt")}
    again = landscape("demo", "-q")
    assert again.code == 0, again.err
    assert again.out == first.out
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_a_run_that_cannot_be_trained_ends_the_demo_with_its_reason(landscape, tmp_path):
    (tmp_path / "landscape-demo" / "runs").mkdir(parents=True)
    (tmp_path / "landscape-demo" / "runs" / "sgd-0").write_text("in the way")
    result = landscape("demo", "-q")
    assert result.code == 3
    assert "sgd-0 cannot be made a folder" in result.err
