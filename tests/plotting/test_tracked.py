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
    assert (values.is_threshold, threshold.is_threshold) == (False, True)
    assert threshold.label == values.label


def test_further_eigenvalues_are_curves_of_their_own_where_one_run_is_drawn(tracked):
    lines = []
    for step, values in ((50, [3.0, 1.0]), (100, [4.0, 2.0, 1.0])):
        estimate = run(values[0], measure="top-eigenvalues", details={"eigenvalues": values})
        lines.append(json.dumps({"epoch": step, "step": step, **json.loads(records.to_json(estimate))}))
    (tracked / "measures-history.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _, drawn = curves(read_source(tracked), "top-eigenvalues")
    assert [(c.label, c.x.tolist(), c.y.tolist()) for c in drawn] == [
        ("own", [50.0, 100.0], [3.0, 4.0]),
        ("eigenvalue 2", [50.0, 100.0], [1.0, 2.0]),
        ("eigenvalue 3", [100.0], [1.0]),
    ]
    twice = read_source(tracked) * 2
    assert [c.label for c in curves(twice, "top-eigenvalues")[1]] == ["own", "own"]


def test_a_timeline_is_one_panel_below_the_other_over_one_axis(tracked):
    text = (tracked / "measures-history.jsonl").read_text(encoding="utf-8")
    (tracked / "measures-history.jsonl").write_text(
        text + text.replace("preconditioned-sharpness", "loss"), encoding="utf-8"
    )
    figure = draw_figure(read_source(tracked), FigureOptions(), "timeline").figure
    upper, lower = figure.axes
    assert [ax.get_ylabel().partition(" ")[0] for ax in (upper, lower)] == [
        "loss",
        "preconditioned-sharpness",
    ]
    assert (upper.get_xlabel(), lower.get_xlabel()) == ("", "step")
    assert upper.get_shared_x_axes().joined(upper, lower)
    assert upper.get_position().x0 == lower.get_position().x0
    assert upper.get_position().y0 > lower.get_position().y1


def whole_run(folder, seconds=(10.0, 30.0)):
    """A run of two epochs of four steps that was measured every two."""
    folder.mkdir()
    epochs = [
        {"epoch": k, "step": 4 * k, "train_loss": 1 / k, "gradients": 8 * k, "seconds": s}
        for k, s in enumerate(seconds, 1)
    ]
    (folder / "history.jsonl").write_text("\n".join(map(json.dumps, epochs)) + "\n", encoding="utf-8")
    measured = [
        {"epoch": step / 4, "step": step, **json.loads(records.to_json(run(float(step))))}
        for step in (2, 4, 6, 8)
    ]
    (folder / "measures-history.jsonl").write_text("\n".join(map(json.dumps, measured)), encoding="utf-8")
    return read_source(folder)


@pytest.mark.parametrize(
    ("over", "places"),
    [
        ("epoch", [0.5, 1.0, 1.5, 2.0]),
        ("step", [2, 4, 6, 8]),
        ("gradients", [4, 8, 12, 16]),
        ("seconds", [5, 10, 25, 40]),
    ],
)
def test_measures_within_an_epoch_lie_between_its_ends(tmp_path, over, places):
    given = whole_run(tmp_path / "run")
    _, (curve,) = curves(given, given[0].measured[0].estimate.measure, over=over)
    assert curve.x.tolist() == places
    assert curve.y.tolist() == [2.0, 4.0, 6.0, 8.0]


def test_seconds_add_up_over_the_epochs(tmp_path):
    _, (loss,) = curves(whole_run(tmp_path / "run"), "loss", over="seconds")
    assert loss.x.tolist() == [10.0, 40.0]
