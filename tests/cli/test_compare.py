"""``landscape compare``: measures what is missing, leaves out what is not finished, prints what it says."""

import json
import shutil

import pytest

from landscape.records import read

FLAGS = ("-M", "loss", "-M", "accuracy", "--limit", "60", "--device", "cpu")


def test_what_is_missing_is_measured_once_and_kept(landscape, runs):
    first = landscape("compare", "runs", *FLAGS, "--split", "test")
    assert first.code == 0
    assert "Measured 8 numbers of 4 runs" in first.err
    assert max(map(len, first.out.splitlines())) <= 80
    assert all(len(read(runs / name / "measures.jsonl").estimates) == 2 for name in ("sgd-0", "sam-1"))
    again = landscape("compare", "runs", *FLAGS, "--split", "test")
    assert (again.out, again.err) == (first.out, "")
    # One more measure is taken on the same examples, without being told which.
    more = landscape("compare", "runs", "-M", "loss", "-M", "gradient-norm")
    assert "Measured 4 numbers of 4 runs" in more.err
    taken = [e for name in ("sgd-0", "sam-1") for e in read(runs / name / "measures.jsonl").estimates]
    assert len({e.provenance.subset for e in taken}) == 1


def test_nothing_is_measured_where_that_is_not_wanted(landscape, runs):
    landscape("measure", "runs/sgd-0", "runs/sgd-1", "-M", "loss", "--limit", "60", "-q")
    result = landscape("compare", "runs", "--no-measure-missing")
    assert result.code == 0
    assert "loss is not measured of 2 runs (--no-measure-missing)" in result.out
    assert not (runs / "sam-0/measures.jsonl").exists()


def test_a_run_still_going_on_is_left_out_and_said(landscape, runs):
    lines = (runs / "sam-1/history.jsonl").read_text().splitlines()
    (runs / "sam-1/history.jsonl").write_text(lines[0] + "\n")
    result = landscape("compare", "runs", *FLAGS)
    assert "Note: runs/sam-1 is left out: its training is at epoch 1 of 2" in result.err
    assert "runs/sam-1 is left out" in result.out
    assert not (runs / "sam-1/measures.jsonl").exists()


def test_a_damaged_checkpoint_is_left_out_and_said(landscape, runs):
    file = runs / "sam-1/checkpoint.pt"
    file.write_bytes(file.read_bytes()[:500])
    result = landscape("compare", "runs", *FLAGS)
    assert result.code == 0
    assert "runs/sam-1 is left out:" in result.out


def test_a_papers_table_in_latex(landscape, runs):
    shutil.rmtree(runs / "sam-1")
    result = landscape(
        "compare", "runs", "--preset", "ae-sam", "--limit", "60", "--format", "latex", "-o", "t.tex"
    )
    assert result.code == 0
    assert r"optimizer & Accuracy (\%) & \% SAM \\" in result.out
    assert (runs.parent / "t.tex").read_text() == result.out
    assert "\n" + r"sam & $" in result.out


def test_which_measure_predicts_the_gap(landscape, runs):
    flags = ("--against", "generalization-gap", "-M", "loss", "--limit", "60", "--format", "json", "-q")
    found = json.loads(landscape("compare", "runs", *flags).out)
    assert (found["runs"], found["recipes"]) == (4, 2)
    assert [p["measure"] for p in found["predictors"]] == ["loss"]
    assert found["predictors"][0]["verdict"] == "4 runs are too few, take 8 or more"


@pytest.mark.parametrize(
    ("flags", "code", "says"),
    [
        (["--preset", "gsam", "--against", "loss-gap"], 2, "leave one of them out"),
        (["--baseline", "adamw", *FLAGS, "-q"], 3, "no row is called 'adamw'; there are: sam, sgd"),
        (["--by", "epoch"], 3, "no recipe field 'epoch' (did you mean 'epochs'?)"),
    ],
)
def test_what_cannot_be_compared_is_said_in_a_line(landscape, runs, flags, code, says):
    result = landscape("compare", "runs", *flags)
    assert (result.code, says in result.error) == (code, True)
