"""``landscape compare``: measures what is missing, leaves out what is not finished, prints what it says."""

import json
import shutil

import pytest

from landscape.records.json_lines import read

FLAGS = ("-M", "loss", "-M", "accuracy", "--limit", "60", "--device", "cpu")


def test_what_is_missing_is_measured_once_and_kept(landscape, runs):
    first = landscape("compare", "runs", *FLAGS, "--split", "test")
    assert first.code == 0
    assert "0 numbers read from records, 8 measured now" in first.err
    assert max(map(len, first.out.splitlines())) <= 80
    assert all(len(read(runs / name / "measures.jsonl").estimates) == 2 for name in ("sgd-0", "sam-1"))
    again = landscape("compare", "runs", *FLAGS, "--split", "test")
    assert (again.out, again.err) == (first.out, "8 numbers read from records, 0 measured now\n")
    # One more measure is taken on the same examples, without being told which.
    more = landscape("compare", "runs", "-M", "test:loss,test:gradient-norm")
    assert "4 numbers read from records, 4 measured now" in more.err
    taken = [e for name in ("sgd-0", "sam-1") for e in read(runs / name / "measures.jsonl").estimates]
    assert len({e.provenance.subset for e in taken}) == 1


def test_without_columns_the_table_of_papers_and_what_every_run_has_on_record(landscape, runs):
    landscape("measure", "runs/sgd-0", "runs/sgd-1", "-M", "gradient-noise", "-q")
    flags = ("--format", "json", "--device", "cpu")
    result = landscape("compare", "runs/sgd-0", "runs/sgd-1", *flags)
    content = json.loads(result.out)
    names = [cell["measure"] for cell in content["cells"] if cell["optimizer"] == "sgd"]
    assert names[:2] == ["test:accuracy", "generalization-gap"]
    assert names[2:] == [
        *(
            "train:surrogate-gap",
            "train:dominant-eigenvalue",
            "train:hessian-trace",
            "train:normalized-trace",
        ),
        *("train:approximation-ratio", "train:gradient-norm", "train:gradient-noise"),
    ]
    assert content["measured_on"] == "digits test, 360 examples; train, 1437 examples"
    assert "2 numbers read from records, 16 measured now" in result.err
    # A limit above the size is the size: nothing is measured again.
    again = landscape("compare", "runs/sgd-0", "runs/sgd-1", "--limit", "99999", "--format", "json")
    assert (again.out, again.err) == (result.out, "18 numbers read from records, 0 measured now\n")
    recorded = json.loads(
        landscape("compare", "runs/sgd-0", "runs/sgd-1", "--no-measure-missing", "--format", "json").out
    )
    assert [cell["measure"] for cell in recorded["cells"]] == names
    plan = landscape("compare", "runs/sgd-0", "runs/sgd-1", "--dry-run")
    assert plan.out == "Nothing would be measured: all 18 numbers are on record.\n"


def test_the_default_split_is_train_and_both_are_two_columns(landscape, runs):
    flags = ("-M", "loss", "--limit", "60", "--format", "json")
    assert json.loads(landscape("compare", "runs", *flags).out)["measured_on"] == "digits train, 60 examples"
    both = json.loads(landscape("compare", "runs", *flags, "--split", "both").out)
    assert [cell["measure"] for cell in both["cells"][:4:2]] == ["train:loss", "test:loss"]
    paper = ("compare", "runs", "--preset", "ae-sam", "--limit", "60", "--format", "json")
    assert json.loads(landscape(*paper).out)["measured_on"] == "digits test, 60 examples"
    moved = json.loads(landscape(*paper, "--split", "train").out)
    assert moved["measured_on"] == "digits train, 60 examples"


def test_a_run_of_own_code_is_compared_where_the_flags_name_it_again(landscape, tmp_path):
    import numpy as np

    (tmp_path / "net.py").write_text("from torch import nn\ndef net():\n    return nn.Linear(4, 3)\n")
    inputs = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
    np.savez(
        tmp_path / "d.npz", x_train=inputs, y_train=np.arange(60) % 3, x_test=inputs, y_test=np.arange(60) % 3
    )
    own = ("-m", "./net.py:net", "-d", "npz:d.npz")
    train = ("train", *own, "--optimizers", "sgd,sam", "--epochs", "1", "--device", "cpu", "-o", "runs", "-q")
    assert landscape(*train).code == 0
    refused = landscape("compare", "runs", *FLAGS)
    assert (refused.code, "-m ./net.py:net" in refused.err, "-d" in refused.err) == (3, True, False), (
        refused.err
    )
    result = landscape("compare", "runs", *own, *FLAGS)
    assert result.code == 0
    assert result.out.splitlines()[1].startswith("SGD")
    assert "4 numbers read from records, 0 measured now" in landscape("compare", "runs", *own, *FLAGS).err


def test_nothing_is_measured_where_that_is_not_wanted(landscape, runs):
    landscape("measure", "runs/sgd-0", "runs/sgd-1", "-M", "loss", "--limit", "60", "-q")
    result = landscape("compare", "runs", "--no-measure-missing")
    assert result.code == 0
    assert "loss is not measured for 2 runs (--no-measure-missing)" in result.out
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
    assert r"optimizer & accuracy (\%) & SAM steps (\%) \\" in result.out
    assert (runs.parent / "t.tex").read_text() == result.out
    assert "\n" + r"SAM & $" in result.out


def test_labels_a_venue_and_all_sentences_are_flags(landscape, runs):
    flags = ("compare", "runs", "-M", "loss,gradient-norm", "--limit", "60")
    plain = landscape(*flags)
    assert "Δ from SGD " in plain.out
    assert "exclude 0 by chance alone" not in plain.out
    result = landscape(*flags, "--label", "sgd=SGD baseline", "--verbose")
    assert "Δ from SGD baseline" in result.out
    assert "exclude 0 by chance alone" in result.out
    latex = landscape(*flags, "--venue", "icml", "--format", "latex", "--label", "sam=S & M")
    assert r"\begin{table}[t]" in latex.out
    assert "\nS \\& M & $" in latex.out
    refused = landscape(*flags, "--label", "adam=Adam")
    assert refused.code == 2
    assert "--label adam=Adam is not ROW=NAME with one of the rows: sgd, sam" in refused.err


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


def test_a_file_with_the_records_of_all_runs_is_compared_with_none_left_out(landscape, runs):
    folders = [f"runs/{name}-{seed}" for name in ("sgd", "sam") for seed in (0, 1)]
    landscape("measure", *folders, *FLAGS, "--split", "test", "-o", "all.jsonl", "-q")
    found = landscape("compare", "all.jsonl", "--format", "json", "-q")
    assert (found.code, found.err) == (0, "")
    assert [cell["n"] for cell in json.loads(found.out)["cells"]] == [2, 2, 2, 2]
    table = landscape("compare", "runs", "-M", "accuracy,loss", "--limit", "60", "--split", "test").out
    assert table == landscape("compare", "all.jsonl").out


def test_checkpoints_measured_in_one_folder_are_compared_each_for_itself(landscape, runs, tmp_path):
    (tmp_path / "flat").mkdir()
    for name in ("sgd-0", "sgd-1", "sam-0", "sam-1"):
        shutil.copy(runs / name / "checkpoint.pt", tmp_path / "flat" / f"{name}.pt")
    files = [f"flat/{name}.pt" for name in ("sgd-0", "sgd-1", "sam-0", "sam-1")]
    plan = landscape("compare", *files, "-M", "loss", "--limit", "60", "--dry-run")
    assert "4 of 4 numbers would be measured" in plan.out  # their recipes are in the files
    landscape("measure", *files, "-M", "loss", "--limit", "60", "-q")
    table = landscape("compare", *files, "--no-measure-missing").out
    assert "n = 2" in table
    assert landscape("compare", "flat", "-M", "loss").out == table
    assert landscape("compare", "flat/measures.jsonl").out == table
    more = landscape("compare", "flat", "-M", "loss", "-M", "gradient-norm")
    assert "4 numbers read from records, 4 measured now" in more.err
    # One of them is trained on: its numbers are of other weights now, and are taken again.
    shutil.copy(runs / "sgd-0/checkpoint.pt", tmp_path / "flat/sam-0.pt")
    again = landscape("compare", "flat/sam-0.pt", "flat/sgd-1.pt", "-M", "loss")
    assert "2 records of other checkpoints than the runs' last are left out" in again.err


def test_a_checkpoint_that_changes_while_it_is_compared_is_left_out(landscape, runs, monkeypatch):
    from landscape.comparison.runs import require_fields

    landscape("measure", "runs/sgd-1", "-M", "loss", "--limit", "60", "--split", "test", "-q")

    def interfered(found, fields):
        shutil.copy(runs / "sgd-1/checkpoint.pt", runs / "sgd-0/checkpoint.pt")
        return require_fields(found, fields)

    monkeypatch.setattr("landscape.cli.compare.require_fields", interfered)
    result = landscape("compare", "runs/sgd-0", "runs/sgd-1", "-M", "test:loss")
    assert "runs/sgd-0 is left out: runs/sgd-0/checkpoint.pt was written to after" in result.out
    assert not (runs / "sgd-0/measures.jsonl").exists()


def test_numbers_of_some_parameters_are_compared_among_themselves(landscape, runs):
    flags = ("compare", "runs", "-M", "gradient-norm", "--limit", "60", "--device", "cpu")
    everything = landscape(*flags)
    some = landscape(*flags, "--parameters", "layers.3.*, !*.bias")
    assert (everything.code, some.code) == (0, 0), some.err
    assert "0 numbers read from records, 4 measured now" in some.err
    assert "free parameters: layers.3.*,!*.bias; all others are held fixed" in some.out
    for flags_of_one, first in ((flags, everything), ((*flags, "--parameters", "layers.3.*,!*.bias"), some)):
        again = landscape(*flags_of_one)
        assert again.out == first.out
        assert "4 numbers read from records, 0 measured now" in again.err
