"""`landscape train --preset`: flags come before the config file, that before the preset, that before defaults."""

import json
import tomllib


def recipe(folder):
    return tomllib.loads((folder / "recipe.toml").read_text())


def test_a_preset_is_trained(landscape, tmp_path):
    result = landscape("train", "--preset", "sam-digits", "--epochs", "1", "-o", "run", "-q")
    assert result.code == 0
    found = recipe(tmp_path / "run")
    assert (found["optimizer"], found["epochs"], found["lr"]) == ("sam:rho=0.05", 1, 0.1)


def test_flags_come_before_the_file_and_the_file_before_the_preset(landscape, tmp_path):
    (tmp_path / "c.toml").write_text('preset = "bsam-digits"\nlr = 0.25\nbatch-size = 400\nepochs = 7\n')
    result = landscape("train", "-c", "c.toml", "--epochs", "1", "-o", "run", "-q")
    assert result.code == 0
    found = recipe(tmp_path / "run")
    assert found["epochs"] == 1  # flag, also in the file
    assert (found["lr"], found["batch_size"]) == (0.25, 400)  # file
    assert found["base"] == "sgd:momentum=0.0,weight_decay=0.0"  # preset
    assert found["label_smoothing"] == 0.0  # default


def test_a_flag_that_repeats_a_default_is_a_flag(landscape, tmp_path):
    arguments = ("--preset", "bsam-digits", "--lr", "0.1", "--optimizer", "sgd", "--epochs", "1", "-o", "run")
    assert landscape("train", *arguments, "-q").code == 0
    found = recipe(tmp_path / "run")
    assert (found["lr"], found["optimizer"]) == (0.1, "sgd")


def test_optimizers_and_seeds_go_with_a_preset(landscape, tmp_path):
    command = (
        "train",
        "--preset",
        "sam-digits",
        "--optimizers",
        "sgd,sam",
        "--seeds",
        "0-1",
        "--epochs",
        "1",
    )
    assert landscape(*command, "-o", "runs", "-q").code == 0
    assert sorted(p.name for p in (tmp_path / "runs").iterdir() if p.is_dir()) >= [
        "sam-0",
        "sam-1",
        "sgd-0",
        "sgd-1",
    ]


def test_what_is_missing_or_unknown_is_said_in_one_line(landscape):
    result = landscape("train", "--preset", "sam-digit")
    assert result.code == 2
    assert "unknown preset 'sam-digit' (did you mean 'sam-digits'?)" in result.error
    result = landscape("train", "--preset", "gsam-vit-b32")
    assert result.code == 2
    assert "pass --data" in result.error


def test_they_are_listed_with_optimizer_setting_and_source(landscape):
    text = " ".join(landscape("list", "presets").out.split())
    assert "cr-sam-cifar10" in text
    assert (
        "cr-sam:rho=0.1,alpha=0.1,beta=0.01 over sgd:momentum=0.9,weight_decay=5e-3 · resnet18 on cifar10"
        in text
    )
    assert "arXiv 2312.13555" in text
    rows = {row["name"]: row for row in json.loads(landscape("list", "presets", "--format", "json").out)}
    assert rows["sam-digits"]["fields"]["lr"] == 0.1
    assert rows["gsam-vit-b32"]["needs"] == {
        "data": "ImageNet, such as imagefolder:root=DIR,normalize=imagenet"
    }
    assert rows["r-sam-cifar10"]["status"] == "third-party"
