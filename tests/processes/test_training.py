"""One run in several processes is the run of one: every optimizer, interruptions, failures, and what is on disk."""

import functools
import json
import os
import signal
import time

import pytest
import torch
from command_cases import free_port, process
from command_line import landscape as landscape
from started import results, started
from training_cases import CASES, NORMED_RUN, all_cases, all_runs, cases_of, run_recipe, trained

from landscape import records
from landscape.training import Measuring, Recipe, train

# In bfloat16 the gradients of the parts are rounded before they are added.
TOLERANCES = {"float64": 1e-12, "float32": 1e-6, "bf16": 1e-2}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return functools.cache(
        lambda world: results(all_cases, tmp_path_factory.mktemp("ranks"), ranks=world, seconds=300)
    )


@pytest.mark.parametrize(
    ("world", "case"),
    [
        pytest.param(world, case, marks=[pytest.mark.thorough] if world == 3 else [])
        for world in (2, 3)
        for case in CASES
        if case in cases_of(world)
    ],
)
def test_the_steps_are_those_of_one_process(ranks, world, case):
    ranks = ranks(world)
    expected = _alone(case)
    tolerance = TOLERANCES["bf16" if case == "bf16" else CASES[case].get("dtype", "float64")]
    for each in ranks:
        for name in ("weights", "kept", "losses"):
            torch.testing.assert_close(each[case][name], expected[name], rtol=tolerance, atol=tolerance)
        assert each[case]["metrics"] == pytest.approx(expected["metrics"], rel=10 * tolerance)
        assert torch.equal(each[case]["weights"], ranks[0][case]["weights"])


_KNOWN = {}


def _alone(case):
    if case not in _KNOWN:
        _KNOWN[case] = trained(CASES[case])
    return _KNOWN[case]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return folder, results(all_runs, folder, ranks=3, seconds=300)


def test_a_run_continued_by_other_numbers_of_processes_is_that_of_one(runs, tmp_path):
    folder, ranks = runs
    whole = train(run_recipe(optimizer="gsam", **NORMED_RUN), output=tmp_path / "whole")
    kept, expected = (
        torch.load(path / "checkpoint.pt", weights_only=True) for path in (folder / "chain", whole.path)
    )
    for name, tensor in expected["state_dict"].items():
        torch.testing.assert_close(kept["state_dict"][name], tensor, rtol=1e-11, atol=1e-12)
    for each in ranks:
        assert each["chain"]["metrics"] == pytest.approx(whole.metrics, rel=1e-10)
        for entry, right in zip(each["chain"]["history"], whole.history, strict=True):
            entry, right = ({k: v for k, v in e.items() if k != "seconds"} for e in (entry, right))
            assert entry == pytest.approx(right, rel=1e-10)
    assert [each.get("processes", 1) for each in kept["training"]["environments"]] == [1, 3, 2]


def test_a_signal_to_one_process_stops_all_at_the_same_step_and_is_saved(runs):
    _, ranks = runs
    chains = [each["chain"] for each in ranks]
    assert [each["endings"] for each in chains] == [
        ["KeyboardInterrupt: ", "SystemExit: 143"],
        ["SystemExit: 143"],
        ["SystemExit: 143"],
    ]
    # The signal comes after the passes of step 9, and the processes tell each other in those of step 10.
    assert [each["steps"] for each in chains] == [list(range(11, 16)), list(range(11, 16)), []]


def test_another_number_of_processes_is_said_once(runs):
    _, ranks = runs
    first, *others = (each["chain"]["remarks"] for each in ranks)
    assert others == [[], []]
    assert [("processes=1, and continues with processes=3" in text) for text in first] == [True, False]
    assert "processes=3, and continues with processes=2" in first[1]
    assert "dropout draws other masks" in first[0]


@pytest.mark.parametrize(
    ("case", "own", "words"),
    [
        ("torn", "OSError: the disk is gone", "process 1 of 3 failed (OSError: the disk is gone)"),
        ("diverged", None, "the loss is"),
        ("seeds", None, "process 1 of 3 has another recipe than process 0"),
        ("data", None, "process 1 of 3 has another data set than process 0"),
        ("few", None, "batch norm needs 2 examples in each of 3 processes"),
        ("selected", None, "optimizer=esam selects examples"),
        ("full", None, "cannot be made a folder"),
    ],
)
def test_all_processes_end_with_the_same_words(runs, case, own, words):
    _, ranks = runs
    for rank, each in enumerate(ranks):
        expected = own if own is not None and rank == 1 else words
        assert expected in each["failures"][case]
    kinds = {each["failures"][case].partition(":")[0] for rank, each in enumerate(ranks) if rank != 1}
    assert len(kinds) == 1
    assert {"seeds", "data", "few"}.isdisjoint(
        ranks[0]["failures"]["folders"]
    )  # refused before anything is written


def test_the_first_process_writes_and_all_return_the_same(runs):
    folder, ranks = runs
    for name in ("noisy", "measured"):
        assert ranks[1][name] == ranks[0][name] == ranks[2][name]
    files = {path.name for path in (folder / "noisy").iterdir()}
    assert files == {"checkpoint.pt", "checkpoints", "history.jsonl", "recipe.toml"}
    lines = (folder / "noisy" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]


def test_running_statistics_of_the_processes_are_averaged(runs):
    _, ranks = runs
    own = [each["own statistics"] for each in ranks]
    assert not torch.allclose(own[0], own[1], rtol=1e-3)
    for each in ranks:
        torch.testing.assert_close(each["statistics"], torch.stack(own).mean(0), rtol=1e-12, atol=1e-14)
        assert torch.equal(each["averaged"], ranks[0]["averaged"])


def test_what_is_measured_during_training_is_that_of_one_process(runs, tmp_path):
    folder, _ = runs
    names = ("loss", "gradient-norm", "dominant-eigenvalue:method=lanczos")
    train(run_recipe(), output=tmp_path, measuring=Measuring(2, names=names, batch_size=16))
    together, alone = (
        records.read(path / "measures-history.jsonl").estimates for path in (folder / "measured", tmp_path)
    )
    assert len(together) == len(alone) == 12
    for each, expected in zip(together, alone, strict=True):
        assert (each.measure, each.provenance.split) == (expected.measure, expected.provenance.split)
        assert each.value == pytest.approx(expected.value, rel=1e-6)


def test_what_is_measured_after_steps_is_that_of_one_process_and_changes_no_weight(runs, tmp_path):
    folder, _ = runs
    by_step = Measuring(3, names=("loss", "gradient-norm"), batch_size=16, unit="steps")
    train(run_recipe(), output=tmp_path, measuring=by_step)
    together, alone = (
        records.read_lines(path / "measures-history.jsonl").during for path in (folder / "by-step", tmp_path)
    )
    assert [each.step for each in together] == [each.step for each in alone]
    assert len({each.step for each in together}) > 2
    for each, expected in zip(together, alone, strict=True):
        assert each.estimate.value == pytest.approx(expected.estimate.value, rel=1e-6)
    assert (folder / "by-step/checkpoint.pt").read_bytes() == (folder / "measured/checkpoint.pt").read_bytes()
    # With batch norm, whose statistics are averaged in what is measured and not in what is trained.
    assert records.read_lines(folder / "by-stepnormed/measures-history.jsonl").during


def joint_command(folder, *arguments, world=2):
    """The processes of a command as a launcher starts them."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    return [started(process, folder, rank, world, port, list(arguments)) for rank in range(world)]


def ended(folder, running):
    for each in running:
        each.join(120)
    texts = [
        "".join(path.read_text() for path in sorted(folder.glob(f"*.{kind}"))) for kind in ("out", "err")
    ]
    return [each.exitcode for each in running], *texts


@pytest.mark.thorough
def test_the_command_is_stopped_by_a_signal_to_one_process_and_goes_on(tmp_path):
    words = ["train", "-m", "mlp:width=8", "-d", "moons:samples=100", "-b", "16", "--optimizer", "sam"]
    words += ["--dtype", "float64", "--epochs", "120", "--device", "cpu", "-q", "-o", "run"]
    folder, history = tmp_path / "here", tmp_path / "here" / "run" / "history.jsonl"
    running = joint_command(folder, *words)
    while not history.exists() and all(each.is_alive() for each in running):
        time.sleep(0.01)
    os.kill(running[1].pid, signal.SIGTERM)
    codes, out, err = ended(folder, running)
    assert codes == [143, 143]
    assert out == ""
    assert err.count("Interrupted; the results so far are on disk") == 1
    kept = torch.load(folder / "run" / "checkpoint.pt", weights_only=True)
    assert 0 < kept["epoch"] < 120
    assert len(history.read_text().splitlines()) == kept["epoch"]
    codes, out, err = ended(folder, joint_command(folder, *words))
    assert codes == [0, 0]
    assert out.count("test accuracy") == 1
    expected = train(
        Recipe.from_toml((folder / "run" / "recipe.toml").read_text()), output=tmp_path / "alone"
    )
    kept = torch.load(folder / "run" / "checkpoint.pt", weights_only=True)
    right = torch.load(expected.checkpoint, weights_only=True)
    for name, tensor in right["state_dict"].items():
        torch.testing.assert_close(kept["state_dict"][name], tensor, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    "flags", [["--optimizers", "sgd,sam"], ["--seeds", "0-2"], ["--jobs", "2"], ["--dry-run"]]
)
@pytest.mark.parametrize("way", ["launcher", "flag"])
def test_several_runs_in_several_processes_are_refused(monkeypatch, landscape, flags, way):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2"}.items() if way == "launcher" else ():
        monkeypatch.setenv(name, value)
    result = landscape("train", *flags, *(["--processes", "2"] if way == "flag" else []))
    assert result.code == 2
    assert "take the steps of one run together" in result.error
