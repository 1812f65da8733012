"""``landscape inspect``: what is in the file is told, the command it prints works, and numbers are true."""

import argparse
import json
import math
import shlex

import pytest
import torch
import torchvision
from command_line import TINY, call
from torch.optim.swa_utils import AveragedModel

from landscape.checkpoints import inspect_checkpoint
from landscape.checkpoints.inspection import _is_finite
from landscape.models import build_model

NAME = "mlp:width=8,depth=2,norm=batch"


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = build_model(NAME, classes=10, input_shape=(1, 8, 8), seed=0)
    state = {f"module._orig_mod.{k}": v for k, v in model.state_dict().items()}
    averaged = AveragedModel(model).state_dict()
    args = argparse.Namespace(lr=0.1, name="\x1b[31mred")
    torch.save({"model": state, "model_ema": averaged, "epoch": 7, "args": args}, "m.pt")
    return model


def test_everything_in_the_file_is_told(foreign, capsys):
    found = inspect_checkpoint("m.pt")
    assert found.parameters == sum(p.numel() for p in foreign.parameters())
    assert (found.key, found.weights, found.average) == ("model", "raw", "model_ema")
    assert found.prefixes == ("module.", "_orig_mod.")
    assert (found.tensors, found.batch_norms) == (len(foreign.state_dict()), 2)
    assert found.dtypes == {"float32": 14, "int64": 2}
    assert found.values == {"epoch": 7, "args.lr": 0.1, "args.name": "\x1b[31mred"}
    assert found.looks == "mlp with 10 classes"
    capsys.readouterr()
    assert call(["inspect", "m.pt"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "\x1b" not in out
    for words in (
        "torch.save",
        "under model",
        "module. _orig_mod.",
        "2 layers",
        "epoch=7",
        "mlp with",
    ):
        assert words in out
    assert call(["inspect", "m.pt", "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["parameters"], told["command"]) == (found.parameters, found.command)


def test_the_command_that_it_prints_measures_the_file(foreign, capsys):
    command = inspect_checkpoint("m.pt").command
    assert command == f"landscape measure m.pt -m {NAME} -d DATA"
    words = shlex.split(command.replace("DATA", "digits"))[1:]
    assert call([*words, "-M", "loss", "--limit", "30", "--weights", "ema"]) == 0
    assert "the averaged weights under model_ema are used" in capsys.readouterr().err


def test_raw_and_averaged_weights_are_two_measurements(foreign, tmp_path, capsys):
    for weights in ("raw", "ema", "raw"):
        flags = ["-m", NAME, "-d", "digits", "-M", "loss", "--limit", "30", "--weights", weights]
        assert call(["measure", "m.pt", *flags]) == 0
    lines = [json.loads(line) for line in (tmp_path / "measures.jsonl").read_text().splitlines()]
    assert [line["provenance"]["checkpoint"].partition(":")[2] for line in lines] == ["", "ema"]


def test_a_run_of_ours_says_its_recipe(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call(["train", *TINY, "-o", "run", "-q"]) == 0
    found = inspect_checkpoint("run")
    assert found.command == "landscape measure run"
    assert found.form == "torch.save, by landscape train"
    assert found.recipe["data"] == "digits"
    assert {"epoch", "metrics.train_loss"} & set(found.values)


def test_weights_that_are_not_finite_are_named(tmp_path):
    torch.save({"a": torch.ones(2), "b": torch.tensor([1.0, float("nan")])}, tmp_path / "m.pt")
    assert inspect_checkpoint(tmp_path / "m.pt").not_finite == ("b",)


def test_an_architecture_named_in_the_file_is_suggested(tmp_path):
    import timm

    state = timm.create_model("resnet10t", num_classes=4).state_dict()
    content = {"arch": "resnet10t", "state_dict": state, "args": argparse.Namespace(lr=1), "epoch": 2}
    torch.save(content, tmp_path / "m.pt")
    found = inspect_checkpoint(tmp_path / "m.pt")
    assert found.form == "torch.save, by timm"
    assert "-m timm:resnet10t" in found.command


def test_an_architecture_that_no_library_has_is_not_suggested(tmp_path):
    for arch in ("resnet81", "./evil.py:f", "resnet18:pretrained=True"):
        content = {"arch": arch, "state_dict": {"w": torch.ones(2)}, "args": argparse.Namespace(lr=1)}
        torch.save(content, tmp_path / "m.pt")
        assert inspect_checkpoint(tmp_path / "m.pt").command.endswith("m.pt -m ./FILE.py:FACTORY -d DATA")


class Mine(torch.nn.Linear):
    pass


@pytest.mark.parametrize(
    ("network", "module", "model"),
    [
        (Mine(2, 2), f"{__name__}.Mine", "./FILE.py:Mine"),
        (torch.nn.DataParallel(Mine(2, 2)), f"{__name__}.Mine", "./FILE.py:Mine"),
        (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear", "./FILE.py:FACTORY"),
        (
            torchvision.models.resnet18(),
            "torchvision.models.resnet.ResNet",
            "torchvision:resnet18:num_classes=1000",
        ),
    ],
)
def test_the_class_of_a_whole_network_is_named(tmp_path, capsys, network, module, model):
    torch.save({"model": network, "epoch": 1}, tmp_path / "m.pt")
    inspection = inspect_checkpoint(tmp_path / "m.pt")
    assert inspection.module == module
    assert inspection.command.endswith(f"m.pt -m {model} -d DATA")
    capsys.readouterr()
    assert call(["inspect", str(tmp_path / "m.pt")]) == 0
    assert f"class       {module}" in capsys.readouterr().out
    assert call(["measure", str(tmp_path / "m.pt"), "-M", "loss"]) == 3
    assert (
        f"it holds a network of class {module}; add -m MODEL (such as -m {model})" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("values", "dtype", "finite"),
    [
        ([1e300], torch.float64, True),
        ([math.inf], torch.float64, False),
        ([1.0, math.nan], torch.float32, False),
        ([1.0, 2.0], torch.float8_e4m3fn, True),
        ([1.0, math.nan], torch.float8_e4m3fn, False),
        ([1, 2], torch.int8, True),
    ],
)
def test_numbers_of_every_width_are_finite_or_not(values, dtype, finite):
    assert _is_finite(torch.tensor(values, dtype=torch.float64).to(dtype)) == finite
