"""A user's mistake: one clear line, the documented exit code, nothing on disk changed."""

import json
import os
import pickle
import shutil
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
from command_line import TINY
from torch import nn

from landscape.models import build_model


@pytest.fixture
def refused(landscape, snapshot):
    """A function: a command that must fail with the code, and say all of the words in its one line."""

    def check(code, *arguments, says=()):
        before = snapshot()
        result = landscape(*arguments)
        assert result.code == code, result.err
        for words in [says] if isinstance(says, str) else says:
            assert words in result.error
        assert len(result.error) > 30
        assert snapshot() == before

    return check


def mlp(classes=10, **changes):
    state = build_model("mlp:width=8,depth=1", classes=classes, input_shape=(1, 8, 8), seed=0).state_dict()
    return {**state, **changes}


class Command:
    def __reduce__(self):
        return os.system, (f"touch {os.getcwd()}/pwned",)


FILES = SimpleNamespace(
    empty=lambda path: path.write_bytes(b""),
    text=lambda path: path.write_text("step 3: loss 0.2\n"),
    json=lambda path: path.write_text(json.dumps({"layers.1.weight": [[1, 2]]})),
    system=lambda path: torch.save({"state_dict": Command()}, path),
    system_legacy=lambda path: path.write_bytes(pickle.dumps({"state_dict": Command()})),
    module=lambda path: torch.save(nn.Linear(64, 10), path),
    safetensors=lambda path: path.write_bytes(safetensors.torch.save(mlp())[:300]),
    another=lambda path: torch.save(nn.Linear(3, 3).state_dict(), path),
    eleven=lambda path: torch.save(mlp(11), path),
    nan=lambda path: torch.save(mlp(**{"layers.1.bias": torch.full((8,), float("nan"))}), path),
)
SAID = {
    "empty": ["m.pt is empty (0 bytes)"],
    "text": ["m.pt (17 bytes) cannot be read as a checkpoint", "begins with b'step 3: l'"],
    "json": ["cannot be read as a checkpoint"],
    "system": ["m.pt would run code when opened", "posix.system", "--trust-checkpoint"],
    "system_legacy": ["m.pt would run code when opened", "posix.system", "--trust-checkpoint"],
    "module": ["m.pt does not fit MLP: 0 of its 4 tensors match", "-m NAME"],  # read without running its code
    "safetensors": ["cannot be read as a checkpoint"],
    "another": ["m.pt does not fit MLP: 0 of its 4 tensors match", "-m NAME"],
    "eleven": ["has 11 classes", "num_classes=11"],
    "nan": ["layers.1.bias", "NaN"],
}


@pytest.mark.parametrize("command", ["measure", "surface"])
@pytest.mark.parametrize("kind", list(SAID))
def test_a_checkpoint_that_cannot_be_used(refused, tmp_path, kind, command):
    getattr(FILES, kind)(tmp_path / "m.pt")
    refused(3, command, "m.pt", "-m", "mlp:width=8,depth=1", "-d", "digits", says=SAID[kind])
    assert not (tmp_path / "pwned").exists()


def test_a_checkpoint_cut_off_anywhere(refused, runs, tmp_path):
    whole = (runs / "sgd-0/checkpoint.pt").read_bytes()
    for length in (1, 9, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "m.pt").write_bytes(whole[:length])
        refused(
            3, "measure", "m.pt", says=[f"m.pt ({length} bytes) cannot be read as a checkpoint", "truncated"]
        )


def test_a_checkpoint_that_is_not_there(refused, runs):
    refused(
        3, "measure", "runs/sgd-0/checkpoint_9.pt", says=["does not exist", "runs/sgd-0 holds checkpoint.pt"]
    )
    refused(3, "measure", "none/at/all.pt", says="none/at/all.pt does not exist, nor does its folder")
    refused(3, "surface", "runs", says=["runs is a folder without a checkpoint.pt", "sam-0, sam-1, sgd-0"])


def test_a_foreign_checkpoint_without_model_or_data(refused, tmp_path):
    torch.save(mlp(), tmp_path / "m.pt")
    refused(3, "measure", "m.pt", says=["which model and data", "-m MODEL", "-d DATA"])
    refused(3, "measure", "m.pt", "-d", "digits", says=["which model it belongs to", "-m MODEL"])


DIR = "runs/sgd-0"
MISTAKES = {
    "unknown measure": (2, ["measure", DIR, "-M", "hessian-trase"], "did you mean 'hessian-trace'?"),
    "unknown option": (2, ["measure", DIR, "-M", "surrogate-gap:roh=1"], "did you mean 'rho'?"),
    "option that is no number": (
        2,
        ["measure", DIR, "-M", "surrogate-gap:rho=big"],
        "rho=big is not a number",
    ),
    "rho 0": (2, ["measure", DIR, "-q", "-M", "surrogate-gap:rho=0"], "rho=0.0 is not allowed"),
    "rho -1": (2, ["measure", DIR, "-q", "-M", "surrogate-gap:rho=-1"], "rho=-1.0 is not allowed"),
    "rho nan": (2, ["measure", DIR, "-q", "-M", "approximation-ratio:rho=nan"], "rho=nan is not allowed"),
    "empty name": (2, ["measure", DIR, "-M", ""], "names nothing"),
    "unknown model": (2, ["measure", DIR, "-m", "resnet81"], "did you mean 'resnet18'?"),
    "unknown data": (2, ["measure", DIR, "-d", "cifar11"], "did you mean 'cifar10'?"),
    "data that do not fit": (3, ["measure", DIR, "-d", "moons"], "differ in shape"),
    "data not on disk": (
        3,
        ["measure", DIR, "-d", "cifar10:root=nowhere"],
        "no folder nowhere/cifar-10-batches-py",
    ),
    "unknown plane": (2, ["surface", DIR, "--plane", "randon"], "did you mean 'random'?"),
    "unknown plane option": (2, ["surface", DIR, "--plane", "random:sed=1"], "did you mean 'seed'?"),
    "limit 0": (
        2,
        ["measure", DIR, "--limit", "0"],
        "'--limit': 0 is not in the range x>=1; see landscape measure",
    ),
    "batch size 0": (2, ["measure", DIR, "-b", "0"], "0 is not in the range"),
    "split": (2, ["measure", DIR, "--split", "valid"], "'valid' is not one of"),
    "device": (2, ["measure", DIR, "--device", "cuda:99"], "--device cuda:99 cannot be used"),
    "device of another kind": (2, ["measure", DIR, "--device", "meta"], "not one of cpu, cuda"),
    "device that is none": (2, ["surface", DIR, "--device", "gpu"], "--device gpu cannot be used"),
    "unknown flag": (2, ["measure", DIR, "--limt", "3"], "--limit"),
    "no checkpoint": (2, ["measure"], "Missing argument"),
    "output below a file": (3, ["measure", DIR, "-o", f"{DIR}/checkpoint.pt/m.jsonl"], "is not a folder"),
    "output that is a folder": (2, ["measure", DIR, "-o", "runs"], "is a directory"),
    "grid without a centre": (2, ["surface", "-q", DIR, "--points", "4", "--center"], "--points 5x5"),
    "shard that is none": (2, ["surface", "-q", DIR, "--shard", "3/2"], "shard 3/2 is not allowed"),
    "shard text": (2, ["surface", DIR, "--shard", "half"], "neither auto nor of the form I/N"),
    "line through one checkpoint": (
        2,
        ["surface", "-q", DIR, "--plane", "interpolation"],
        "goes through 2 checkpoints",
    ),
    "plane through one checkpoint twice": (
        3,
        ["surface", "-q", DIR, DIR, "--plane", "checkpoints"],
        "are the same point",
    ),
    "suffix": (2, ["surface", DIR, "-o", "s.jpeg"], "end it in .pdf, .svg, .png"),
    "points 1": (2, ["surface", DIR, "--points", "1"], "points=1 is not allowed"),
    "points text": (2, ["surface", DIR, "--points", "many"], "--points many is not a number"),
    "points half": (2, ["surface", DIR, "--points", "5x"], "--points 5x is not a number"),
    "points three": (2, ["surface", DIR, "--points", "5x5x5"], "has 3 numbers"),
    "span 0": (2, ["surface", DIR, "--span", "0"], "span=0.0 is not allowed"),
    "span nan": (2, ["surface", DIR, "--span", "nan"], "span=nan is not allowed"),
    "output of a surface": (3, ["surface", DIR, "-o", f"{DIR}/checkpoint.pt/s.png"], "is not a folder"),
    "plot of nothing": (3, ["plot", "none.npz"], "none.npz: no such file"),
    "plot of a checkpoint": (3, ["plot", f"{DIR}/checkpoint.pt"], "not a surface"),
    "plot of text": (3, ["plot", f"{DIR}/recipe.toml"], "not a surface"),
    "compare of nothing": (3, ["compare", "none"], "none does not exist; train it first"),
    "compare of a folder without runs": (3, ["compare", "."], "holds no run; train one there first"),
    "compare by a preset that is not there": (
        2,
        ["compare", DIR, "--preset", "cr-sm"],
        "did you mean 'cr-sam'?",
    ),
    "seed of verify": (2, ["verify", DIR, "--seed", "-1"], "'--seed': -1 is not in the range 0<=x<="),
    "seed of a measure": (2, ["measure", DIR, "-M", f"hessian-trace:seed={2**63}"], "from 0 to 2⁶³ − 1"),
    "seed of a plane": (2, ["surface", DIR, "--plane", "random:seed=-1"], "from 0 to 2⁶³ − 1"),
    "seed of data": (2, ["measure", DIR, "-d", "moons:seed=-1"], "from 0 to 2⁶³ − 1"),
    "rho that has no square": (2, ["measure", DIR, "-M", "surrogate-gap:rho=1e300"], "below 1e30 in size"),
    "rho with a square of 0": (
        2,
        ["measure", DIR, "-M", "surrogate-gap:rho=1e-200"],
        "from 1e-100 to 1e+100",
    ),
    "steps without end": (2, ["measure", DIR, "-M", f"adaptive-sharpness:steps={2**63}"], "below 2³¹"),
    "tolerance of a plane": (2, ["surface", DIR, "--plane", "eigenvectors:tolerance=0"], "above 0"),
    "products of a plane": (2, ["surface", DIR, "--plane", "eigenvectors:max_products=0"], "above 0"),
    "margin of a plane": (
        2,
        ["surface", DIR, "runs/sam-0", "-q", "--plane", "checkpoints:margin=inf"],
        "from 0 to",
    ),
    "weight decay": (2, ["train", "--base", "sgd:weight_decay=1e300", "-o", "new"], "below 1e30 in size"),
    "lr without bound": (2, ["train", "--lr", "1e300", "-o", "new"], "below 1e30 in size"),
    "unknown command": (2, ["mesure"], "did you mean 'measure'?"),
    "unknown kind": (2, ["list", "optimisers"], "is not one of"),
    "epochs 0": (2, ["train", "--epochs", "0"], "epochs=0 is not allowed"),
    "epochs text": (2, ["train", "--epochs", "ten"], "'ten' is not a valid integer"),
    "lr nan": (2, ["train", "--lr", "nan"], "lr=nan is not allowed"),
    "unknown optimizer": (2, ["train", "--optimizer", "samm"], "did you mean 'sam'?"),
    "one of several optimizers": (2, ["train", "--optimizers", "sgd,gsamm"], "did you mean 'gsam'?"),
    "no optimizer": (2, ["train", "--optimizers", ","], "names nothing"),
    "optimizer's option": (
        2,
        ["train", "--optimizer", "sam:rh=0.1"],
        "has no option 'rh' (did you mean 'rho'?",
    ),
    "optimizer's rho": (2, ["train", "--optimizer", "sam:rho=-1", "-o", "new"], "rho=-1.0"),
    "model's option": (2, ["train", "-m", "mlp:widht=3"], "did you mean 'width'?"),
    "model's value": (2, ["train", "-m", "mlp:width=0", "-o", "new"], "width=0 must be at least 1"),
    "data of the train": (2, ["train", "-d", "diggits"], "did you mean 'digits'?"),
    "seeds text": (2, ["train", "--seeds", "a-b"], "'a-b' is not a list of whole numbers"),
    "seeds backwards": (2, ["train", "--seeds", "3-1"], "names no number"),
    "seeds without end": (2, ["train", "--seeds", "0-99999999999"], "names more than 10,000 numbers"),
    "seeds beyond an index": (2, ["train", "--seeds", "0-99999999999999999999"], "names more than 10,000"),
    "seeds in many parts": (2, ["train", "--seeds", "0-9999,0"], "names more than 10,000 numbers"),
    "train on no device": (2, ["train", "--device", "cuda:99", "-o", "new"], "cuda:99 cannot be used"),
    "train into a file": (3, ["train", "-o", f"{DIR}/recipe.toml"], "recipe.toml"),
    "another recipe": (
        2,
        ["train", *TINY, "--optimizer", "sam", "-o", DIR],
        "holds a run with optimizer=sgd",
    ),
    "a run that is there": (2, ["train", *TINY, "-o", DIR, "--no-resume"], "holds a run"),
}


@pytest.mark.parametrize("mistake", list(MISTAKES))
def test_a_mistake_is_answered_in_one_line(refused, runs, mistake):
    code, arguments, says = MISTAKES[mistake]
    refused(code, *arguments, says=says)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("command", [["measure", DIR], ["surface", DIR], ["train", "-o", "new"]])
def test_a_device_that_is_not_there(refused, runs, command):
    refused(2, *command, "--device", "cuda", says=["device cuda cannot be used", "cpu"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to(refused, runs, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    for command in (["measure", DIR, "-o", "locked/m.jsonl"], ["surface", DIR, "-o", "locked/s.pdf"]):
        refused(3, *command, says="no permission in locked")


def test_a_folder_without_permission_is_found_before_anything_is_computed(refused, runs, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    refused(3, "measure", DIR, "-o", "locked.jsonl", says=["no permission", "-o"])
    refused(3, "surface", DIR, "-o", "locked.pdf", says=["no permission", "-o"])


def test_a_surface_that_is_there_is_not_computed_over(refused, landscape, runs, tmp_path):
    (tmp_path / "s.npz").write_bytes(b"mine")
    refused(2, "surface", DIR, "-o", "s.pdf", says=["s.npz is there", "landscape plot s.npz", "--overwrite"])


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"x" * len(b)])
def test_a_damaged_checkpoint_is_not_resumed(refused, runs, damage):
    file = runs / "sgd-0/checkpoint.pt"
    file.write_bytes(damage(file.read_bytes()))
    flags = ["train", *TINY, "--optimizer", "sgd", "-o", DIR]
    refused(3, *flags, says=["checkpoint.pt is damaged and cannot be resumed", "--overwrite"])


def test_a_training_that_diverges_says_so_and_what_to_try(landscape, tmp_path):
    result = landscape("train", *TINY, "--lr", "1e30", "-o", "run", "-q")
    assert result.code == 3
    assert "Try a lower learning rate than lr=1e+30" in result.error


def test_a_surface_journal_of_another_run_is_left_alone(refused, landscape, runs, tmp_path):
    (tmp_path / "s.journal").write_bytes(b"not mine\n")
    refused(3, "surface", DIR, "--points", "3", "--limit", "20", "-o", "s.pdf", "-q", says="not the journal")


@pytest.fixture
def measured(landscape, runs):
    for name in ("sgd-0", "sam-0"):
        assert landscape("measure", f"runs/{name}", "-M", "loss", "--limit", "50", "-q").code == 0
    return runs


def test_numbers_of_different_data_are_not_compared(refused, measured, landscape):
    shutil.rmtree(measured / "sam-1")
    landscape("measure", "runs/sgd-1", "-M", "loss", "--limit", "40", "-q")
    refused(3, "compare", "runs", says=["differ in subset", "--limit"])


def test_a_recipe_field_that_is_not_there_is_named(refused, measured):
    refused(3, "compare", "runs", "--rows", "widht", says=["no recipe field 'widht'", "optimizer"])


def test_a_measure_that_is_not_there_is_answered_with_the_nearest(refused, measured):
    refused(2, "compare", "runs", "-M", "hessian-trase", says=["did you mean 'hessian-trace'?"])
    refused(
        3,
        "compare",
        "runs/sgd-0/measures.jsonl",
        "-M",
        "accuracy",
        says=["no record of accuracy", "no checkpoint"],
    )


def test_a_torn_line_is_skipped_counted_and_said(landscape, measured):
    whole = landscape("compare", "runs").out
    for name in ("sgd-0", "sam-0"):
        with (measured / name / "measures.jsonl").open("a") as stream:
            stream.write('{"schema": "landscape.mea')
    result = landscape("compare", "runs")
    assert (result.code, result.out) == (0, whole)
    assert "2 lines could not be read and were skipped" in result.err


def test_a_file_with_no_record_at_all_is_an_error(landscape, runs):
    result = landscape("compare", "runs/sgd-0/recipe.toml")
    assert result.code == 3
    assert result.err.splitlines()[-1].startswith("Error: there is nothing to compare")


def test_an_error_that_is_ours_says_so(landscape, runs, monkeypatch):
    monkeypatch.setattr("landscape.cli.compare.find_runs", lambda paths: 1 / 0)
    result = landscape("compare", "runs/sgd-0/recipe.toml")
    assert result.code == 1
    assert "Traceback" in result.err
    assert result.err.splitlines()[-1].startswith(
        "Error: internal error (ZeroDivisionError); please report it"
    )


@pytest.mark.parametrize("failure", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory")])
def test_running_out_of_memory_exits_with_5(landscape, monkeypatch, failure):
    def fail(path):
        raise failure

    monkeypatch.setattr("landscape.cli.compare.find_runs", fail)
    result = landscape("compare", "runs")
    assert (result.code, "-b 32" in result.error) == (5, True)
