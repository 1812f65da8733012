"""From training to a figure, as a user would go."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
from command_line import TINY

from landscape.records.json_lines import json_schema, read

CHEAP = (
    "--limit",
    "200",
    "--device",
    "cpu",
    "-M",
    "loss",
    "-M",
    "hessian-trace:method=hutchinson,max_probes=16",
)


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_train_measure_compare_surface_plot(landscape, tmp_path):
    trained = landscape("train", *TINY, "--optimizers", "sgd,sam:rho=0.1", "--seeds", "0-1", "-o", "runs")
    assert trained.code == 0
    assert [line.split()[:3] for line in trained.out.splitlines()] == [
        ["run", "optimizer", "seed"],
        ["runs/sgd-0", "sgd", "0"],
        ["runs/sgd-1", "sgd", "1"],
        ["runs/sam-rho=0.1-0", "sam:rho=0.1", "0"],
        ["runs/sam-rho=0.1-1", "sam:rho=0.1", "1"],
    ]
    assert "4 runs; 1 at a time" in trained.err
    assert "not trained again" not in trained.err
    assert trained.err.endswith(
        "Next: landscape compare runs\n      landscape measure runs/sgd-0\n"
        "      landscape surface runs/sgd-0 runs/sam-rho=0.1-0 -o runs/surface.pdf\n"
    )

    folders = sorted(str(p.relative_to(tmp_path)) for p in (tmp_path / "runs").iterdir())
    measured = landscape("measure", *folders, *CHEAP)
    assert measured.code == 0
    for folder in folders:
        for record in records(tmp_path / folder / "measures.jsonl"):
            jsonschema.validate(record, json_schema())

    compared = landscape("compare", *folders, "--no-measure-missing", "-o", "table.tex")
    assert compared.code == 0
    assert re.search(r"optimizer\s+loss\s+hessian-trace", compared.out) is None
    assert (tmp_path / "table.tex").read_text() == compared.out
    assert r"SAM ($\rho$ = 0.1) & $" in compared.out

    drawn = landscape("surface", folders[0], folders[2], "--points", "5", "--limit", "50", "-o", "both.png")
    assert drawn.code == 0
    assert drawn.out.split() == ["both.png", "both.txt", "both.tex"]
    assert not list(tmp_path.glob("*.journal"))

    picture = (tmp_path / "both.png").read_bytes()
    redrawn = landscape("plot", "both-1.npz", "both-2.npz", "-o", "again.png")
    assert redrawn.code == 0
    assert (tmp_path / "again.png").read_bytes() == picture


def test_a_finished_run_is_not_trained_again_and_reports_the_same(landscape, runs, snapshot):
    before = snapshot()
    again = landscape("train", *TINY, "--optimizers", "sgd,sam", "--seeds", "0-1", "-o", "runs")
    assert again.code == 0
    assert len(again.out.splitlines()) == 5
    names = "runs/sgd-0, runs/sgd-1, runs/sam-0, runs/sam-1"
    assert f"Finished before and not trained again: {names} (--overwrite trains anew)" in again.err
    alone = landscape("train", *TINY, "--optimizer", "sam", "-o", "runs/sam-0")
    assert "not trained again: runs/sam-0 (" in alone.err
    assert snapshot() == before


def test_training_twice_gives_the_same_bytes(landscape, runs, tmp_path):
    assert landscape("train", *TINY, "--optimizer", "sam", "--seed", "1", "-o", "again", "-q").code == 0
    assert (tmp_path / "again/checkpoint.pt").read_bytes() == (runs / "sam-1/checkpoint.pt").read_bytes()


def test_overwrite_trains_anew_and_takes_old_measures_away(landscape, runs):
    landscape("measure", "runs/sgd-0", *CHEAP)
    whole = (runs / "sgd-0/checkpoint.pt").read_bytes()
    result = landscape("train", *TINY, "--optimizer", "sgd", "-o", "runs/sgd-0", "--overwrite", "-q")
    assert (result.code, result.err) == (0, "")
    assert (runs / "sgd-0/checkpoint.pt").read_bytes() == whole
    assert not (runs / "sgd-0/measures.jsonl").exists()


def values(table):
    return [line.split()[:2] for line in table.splitlines() if line.startswith(("loss ", "hessian-trace "))]


def test_what_was_measured_is_not_measured_again(landscape, runs):
    file = runs / "sgd-0/measures.jsonl"
    first = landscape("measure", "runs/sgd-0", *CHEAP)
    written = file.read_bytes()
    second = landscape("measure", "runs/sgd-0", *CHEAP)
    assert second.code == 0
    assert values(second.out) == values(first.out)
    assert re.search(r"^hessian-trace .* read$", second.out, re.MULTILINE)
    assert "read: from runs/sgd-0/measures.jsonl, not computed now" in second.out
    assert "read" not in first.out
    assert file.read_bytes() == written
    as_json = json.loads(landscape("measure", "runs/sgd-0", *CHEAP, "--format", "json").out)
    assert [r["value"] for r in as_json] == [r["value"] for r in records(file)]
    assert [r["read_from"] for r in as_json] == [None, "runs/sgd-0/measures.jsonl"]  # a loss is never read
    as_csv = landscape("measure", "runs/sgd-0", *CHEAP, "--format", "csv").out.splitlines()
    assert [line.split(",")[-1] for line in as_csv] == ["read_from", "", "runs/sgd-0/measures.jsonl"]
    as_markdown = landscape("measure", "runs/sgd-0", *CHEAP, "--format", "md").out
    assert re.search(r"^\| runs/sgd-0 .* hessian-trace .* read \|$", as_markdown, re.MULTILINE)
    assert file.read_bytes() == written
    landscape("measure", "runs/sgd-0", *CHEAP, "-M", "gradient-norm")
    assert [r["measure"] for r in records(file)] == ["loss", "hessian-trace", "gradient-norm"]
    for other in (["--split", "test"], ["--limit", "150"], ["-b", "50"], ["--dtype", "float64"]):
        before = len(records(file))
        landscape("measure", "runs/sgd-0", *CHEAP, *other)
        assert len(records(file)) == before + 2


def test_no_resume_measures_again(landscape, runs):
    landscape("measure", "runs/sgd-0", *CHEAP)
    landscape("measure", "runs/sgd-0", *CHEAP, "--no-resume")
    assert [r["measure"] for r in records(runs / "sgd-0/measures.jsonl")] == ["loss", "hessian-trace"] * 2


def test_a_measure_asked_twice_is_taken_once(landscape, runs):
    landscape("measure", "runs/sgd-0", "-M", "loss", "-M", "loss", "--limit", "50")
    assert len(records(runs / "sgd-0/measures.jsonl")) == 1


def test_a_torn_line_is_said_and_what_follows_is_whole(landscape, runs):
    file = runs / "sgd-0/measures.jsonl"
    landscape("measure", "runs/sgd-0", "-M", "loss", "--limit", "50")
    file.write_bytes(file.read_bytes()[:-40])
    result = landscape("measure", "runs/sgd-0", "-M", "loss", "--limit", "50")
    assert "1 lines could not be read" in result.err
    assert (len(read(file).estimates), read(file).unreadable) == (1, 1)


def test_both_splits_are_measured_and_said_apart(landscape, runs):
    result = landscape("measure", "runs/sgd-0", *CHEAP, "--split", "both")
    assert "runs/sgd-0 (train)" in result.out
    assert "runs/sgd-0 (test)" in result.out
    taken = records(runs / "sgd-0/measures.jsonl")
    assert [r["provenance"]["split"] for r in taken] == ["train", "train", "test", "test"]
    assert taken[0]["value"] != taken[2]["value"]


def test_a_measure_names_its_split_as_in_compare(landscape, runs):
    names = ("-M", "test:accuracy,train:gradient-norm,loss", "--split", "both", "--format", "jsonl", "-q")
    lines = [json.loads(line) for line in landscape("measure", "runs/sgd-0", *names).out.splitlines()]
    measured = [(line["provenance"]["split"], line["measure"]) for line in lines]
    assert measured == [
        ("train", "gradient-norm"), ("train", "loss"), ("test", "accuracy"), ("test", "loss"),
    ]  # fmt: skip
    error = landscape("train", "-M", "test:accuracy", "--measure-every", "1", "-o", "new").error
    assert "'test:accuracy': training measures both splits; leave out the 'test:'" in error


def test_test_examples_alone_are_enough_for_the_test_split(landscape, runs):
    Path("held.py").write_text(
        "import torch\n"
        "def data(): return {'test': torch.utils.data.TensorDataset(torch.rand(10, 1, 8, 8), torch.arange(10))}\n"
    )
    flags = ("-d", "./held.py", "--split", "test", "-M", "loss", "-q")
    result = landscape("measure", "runs/sgd-0", *flags)
    assert result.code == 0, result.err
    error = landscape("measure", "runs/sgd-0", *flags, "--batch-norm", "recalibrate").error
    assert "recalibrated on training examples, and ./held.py:data has none" in error
    assert "measure on --split test" in landscape("measure", "runs/sgd-0", *flags[:2], "-M", "loss").error


def test_json_on_stdout_is_what_is_on_disk_and_everything_else_is_on_stderr(landscape, runs):
    flags = ("measure", "runs/sgd-0", "runs/sam-0", *CHEAP)
    result = landscape(*flags, "--format", "json", "-o", "all.jsonl")
    expected = [r | {"read_from": None} for r in records(runs.parent / "all.jsonl")]
    assert len(expected) == 4
    assert json.loads(result.out) == expected
    assert result.err.count("loss ") == 2
    assert not (runs / "sgd-0/measures.jsonl").exists()
    lines = landscape(*flags, "--format", "jsonl", "-o", "lines.jsonl", "-q").out.splitlines()
    assert [r["measure"] for r in map(json.loads, lines)] == [r["measure"] for r in expected]


def test_printed_lines_are_records_again(landscape, runs):
    for _ in range(2):  # computed, and read
        printed = landscape("measure", "runs/sgd-0", *CHEAP, "--format", "jsonl", "-q").out
        (runs.parent / "printed.jsonl").write_text(printed)
        printed, kept = read(runs.parent / "printed.jsonl"), read(runs / "sgd-0/measures.jsonl")
        assert (printed.unreadable, len(printed.estimates)) == (0, 2)
        assert printed.estimates[1] == kept.estimates[1]  # a loss is computed in any case


def test_csv_and_markdown_hold_the_same_measures(landscape, runs):
    lines = landscape("measure", "runs/sgd-0", *CHEAP, "--format", "csv", "-q").out.splitlines()
    assert lines[0] == "checkpoint,measure,value,standard_error,unit,converged,free,read_from"
    value = json.loads((runs / "sgd-0/measures.jsonl").read_text().splitlines()[1])["value"]
    assert lines[2].startswith(f"runs/sgd-0 (train),hessian-trace,{value!r},")
    lines = landscape("measure", "runs/sgd-0", *CHEAP, "--format", "md", "-q").out.splitlines()
    assert [line.split("|")[2].strip() for line in lines[2:4]] == ["loss", "hessian-trace"]


def test_the_table_of_all_measures_fits_a_terminal_of_80_columns(landscape, runs):
    names = [
        "hessian-trace:method=hutchinson,max_probes=2",
        "normalized-trace:max_probes=2",
        "dominant-eigenvalue:max_iterations=2",
    ]
    names += [
        "loss",
        "accuracy",
        "gradient-norm",
        "gradient-noise",
        "surrogate-gap",
        "approximation-ratio:steps=2",
    ]
    flags = [
        part for name in [*names, "hessian-trace:method=hutchinson,max_probes=3"] for part in ("-M", name)
    ]
    result = landscape("measure", "runs/sgd-0", "--limit", "100", *flags)
    assert result.code == 0
    lines = result.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert len([line for line in lines if re.search(r"( g| g [\d.]+s|shared)$", line)]) == 10
    assert "hessian-trace:max_probes=3" in result.out
    assert "† not converged" in result.out


def test_the_loss_and_accuracy_come_before_any_number(landscape, runs):
    result = landscape("measure", "runs/sgd-0", "-M", "gradient-norm", "--limit", "100")
    head, assumed = result.err.splitlines()
    expected = r"runs/sgd-0/checkpoint.pt: mlp:width=8,depth=1, 610 parameters; digits train, 100 of 1,437 examples: "
    assert re.fullmatch(expected + r"loss \S+, accuracy \d\d\.\d\d%", head)
    assert (
        assumed
        == "  inputs 1×8×8; 10 classes; standardised by mean and standard deviation of the training split"
    )
    assert landscape("measure", "runs/sgd-0", "-M", "loss", "--limit", "99", "-q").err == ""


def test_fail_on_warn_exits_with_4_and_keeps_the_numbers(landscape, runs):
    flags = ("measure", "runs/sgd-0", "--limit", "50", "-q")
    failed = landscape(*flags, "-M", "hessian-trace:method=hutchinson,max_probes=2", "--fail-on", "warn")
    assert failed.code == 4
    assert failed.err == "Error: not converged or not finite: hessian-trace\n"
    assert "hessian-trace" in failed.out
    assert len(records(runs / "sgd-0/measures.jsonl")) == 1
    assert landscape(*flags, "-M", "hessian-trace:method=hutchinson,max_probes=2").code == 0
    assert landscape(*flags, "-M", "loss", "--fail-on", "warn").code == 0


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv", "md", "latex"])
def test_compare_prints_every_format_and_writes_the_same(landscape, runs, form):
    landscape("measure", "runs/sgd-0", "runs/sgd-1", "-M", "loss", "--limit", "50", "-q")
    result = landscape(
        "compare", "runs/sgd-0", "runs/sgd-1", "-M", "loss", "--format", form, "-o", "out.txt", "-q"
    )
    assert result.code == 0
    assert (runs.parent / "out.txt").read_text() == result.out
    assert result.err == ""
    if form == "json":
        assert json.loads(result.out)["cells"][0]["n"] == 2


def test_compare_takes_folders_of_runs_checkpoints_and_record_files(landscape, runs):
    landscape(
        "measure", *(f"runs/{name}" for name in ("sgd-0", "sgd-1")), "-M", "loss", "--limit", "50", "-q"
    )
    table = landscape("compare", "runs/sgd-0", "runs/sgd-1", "--no-measure-missing").out
    assert landscape("compare", "runs/sgd-0/checkpoint.pt", "runs/sgd-1", "-M", "loss").out == table
    assert landscape("compare", "runs/sgd-0/measures.jsonl", "runs/sgd-1/measures.jsonl").out == table


def test_an_interrupted_surface_of_two_checkpoints_goes_on_to_the_same_bytes(
    landscape, runs, tmp_path, monkeypatch
):
    flags = ("surface", "runs/sgd-0", "runs/sam-0", "--points", "5", "--limit", "50", "-q")
    assert landscape(*flags, "-o", "whole.png").code == 0

    from landscape.surfaces.journal import Journal

    append, left = Journal.append, [31]

    def interrupted(self, index, value):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        append(self, index, value)

    monkeypatch.setattr(Journal, "append", interrupted)
    stopped = landscape(*flags, "-o", "parts.png", "--no-resume")
    assert stopped.code == 130
    assert stopped.err.splitlines()[-1] == "  landscape " + " ".join([*flags, "-o", "parts.png"])
    assert sorted(p.name for p in tmp_path.glob("parts*")) == ["parts-1.journal", "parts-2.journal"]
    assert landscape(*flags, "-o", "parts.png").code == 0
    assert left[0] == -20
    for whole in tmp_path.glob("whole*"):
        if whole.suffix == ".png":
            assert whole.with_name(whole.name.replace("whole", "parts")).read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*.journal"))


def test_the_parameters_that_are_free_are_chosen_by_name(landscape, runs):
    flags = ("measure", "runs/sgd-0", "-M", "gradient-norm", "--limit", "50")
    everything = landscape(*flags)
    selection = landscape(*flags, "--parameters", "layers.3.*,!*.bias")
    assert "1 of 4 parameter tensors (80 of 610 weights) are free: layers.3.*,!*.bias" in selection.err
    assert "read" not in selection.out
    assert "free parameters: layers.3.*,!*.bias; all others are held fixed" in selection.out
    assert selection.out != everything.out
    assert "read" in landscape(*flags, "--parameters", "layers.3.*,!*.bias").out
    assert "read" in landscape(*flags).out
    origins = [json.loads(line)["provenance"] for line in (runs / "sgd-0/measures.jsonl").open()]
    assert [(o["parameters"], o["dimension"]) for o in origins] == [(None, 610), ("layers.3.*,!*.bias", 80)]
    wrong = landscape(*flags, "--parameters", "layer.3.*")
    assert (wrong.code, "did you mean 'layers.3.*'" in wrong.error) == (2, True)
    drawn = landscape(
        "surface", "runs/sgd-0", "--points", "3", "--limit", "50", "-o", "s.png", "--parameters", "layers.3.*"
    )
    assert drawn.code == 0, drawn.err
    assert "Free parameters: layers.3.*; all others are held fixed. " in Path("s.txt").read_text()


def test_the_largest_of_several_says_whose_it_is(landscape):
    assert landscape("train", *TINY, "-o", "largest", "-q").code == 0
    shown = landscape("measure", "largest", "-M", "layer-eigenvalues", "--limit", "20", "-q").out
    record = json.loads(
        landscape("measure", "largest", "-M", "layer-eigenvalues", "--limit", "20", "--format", "jsonl").out
    )
    layers = record["details"]["layers"]
    largest = max(layers, key=lambda name: abs(layers[name]))
    assert f"layer-eigenvalues is that of {largest}; --format json has all of them" in shown
