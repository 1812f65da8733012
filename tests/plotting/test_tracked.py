"""Curves of a loop that counts steps and no epochs, with the threshold of what has one."""

import json

import pytest
from records_made import run

from landscape import records
from landscape.plotting.figure_options import FigureOptions
from landscape.plotting.kinds import draw_figure
from landscape.plotting.run_curves import curves
from landscape.plotting.sources import read_source


@pytest.fixture
def tracked(tmp_path):
    lines = []
    for step in (50, 100, 150):
        estimate = run(step / 10, measure="preconditioned-sharpness", details={"threshold": 38.0})
        lines.append({"epoch": step, "step": step, **json.loads(records.to_json(estimate))})
    folder = tmp_path / "own"
    folder.mkdir()
    text = "\n".join(json.dumps(line) for line in lines)
    (folder / "measures-history.jsonl").write_text(text + "\n", encoding="utf-8")
    return folder


def test_the_axis_counts_steps(tracked):
    given = read_source(tracked)
    drawing = draw_figure(given, FigureOptions(measures=("preconditioned-sharpness",)), "history")
    assert drawing.figure.axes[0].get_xlabel() == "step"


def test_the_axis_of_a_run_with_epochs_counts_epochs(tracked):
    (tracked / "history.jsonl").write_text('{"epoch": 50, "train_loss": 1.0}\n', encoding="utf-8")
    drawing = draw_figure(
        read_source(tracked), FigureOptions(measures=("preconditioned-sharpness",)), "history"
    )
    assert drawing.figure.axes[0].get_xlabel() == "epoch"


def test_the_threshold_is_a_curve_beside_the_measure(tracked):
    _, (values, threshold) = curves(read_source(tracked), "preconditioned-sharpness")
    assert values.y.tolist() == [5.0, 10.0, 15.0]
    assert threshold.y.tolist() == [38.0] * 3
    assert threshold.label == f"{values.label}, threshold"
