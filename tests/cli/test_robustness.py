"""Accuracy on shifted data: corrupted test pictures at five severities, and pictures of some of the classes."""

import json
import sys
import types

import numpy as np
import pytest
from PIL import Image

CLASSES = ("ant", "bee", "cat")


@pytest.fixture
def library(monkeypatch):
    """A library whose one kind of corruption darkens a picture until, at severity 5, it is black."""
    module = types.ModuleType("imagecorruptions")
    module.corrupt = lambda image, severity, name: np.uint8(image * (1 - severity / 5))
    module.get_corruption_names = lambda subset: ["darkness"]
    monkeypatch.setitem(sys.modules, "imagecorruptions", module)


def save(folder, colours, count=4):
    rng = np.random.default_rng(0)
    for name, colour in colours.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(0, 60, (32, 32, 3)) + np.asarray(colour)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{index}.png")


@pytest.fixture
def runs(landscape, tmp_path):
    """Two runs on pictures whose classes are told by their colours."""
    for split in ("train", "test"):
        save(tmp_path / "pictures" / split, dict(zip(CLASSES, 150 * np.eye(3, dtype=int), strict=True)))
    train = (
        "-m",
        "mlp:width=4,depth=0",
        "-d",
        "imagefolder:pictures",
        "--epochs",
        "20",
        "-b",
        "6",
        "--lr",
        "0.02",
    )
    result = landscape("train", *train, "--optimizers", "sgd,sam", "--device", "cpu", "-o", "runs", "-q")
    assert result.code == 0, result.err
    return tmp_path / "runs"


def cells(text):
    return {(cell["optimizer"], cell["measure"]): cell["values"][0] for cell in json.loads(text)["cells"]}


def test_the_preset_is_the_accuracy_on_test_and_at_each_severity(landscape, runs, library):
    result = landscape("compare", "runs", "--preset", "robustness", "--format", "json", "--device", "cpu")
    assert result.code == 0, result.err
    found = cells(result.out)
    names = ["test:accuracy", *(f"corrupted-{severity}:accuracy" for severity in range(1, 6))]
    assert [name for row, name in found if row == "sgd"] == names
    assert found["sgd", "test:accuracy"] == 1
    assert found["sgd", "corrupted-5:accuracy"] == pytest.approx(1 / 3)  # one answer to every black picture
    again = landscape("compare", "runs", "--preset", "robustness", "--format", "json", "--device", "cpu")
    assert again.out == result.out
    assert "0 measured now" in again.err
    # All five in one number, beside another measure of one severity.
    both = landscape(
        "measure", *runs.glob("sgd*"), "-M", "corrupted:accuracy,corrupted-5:loss", "--format", "json", "-q"
    )
    whole, black = json.loads(both.out)
    assert whole["value"] == pytest.approx(np.mean([found["sgd", name] for name in names[1:]]))
    assert (whole["provenance"]["split"], black["provenance"]["split"]) == ("corrupted", "corrupted-5")


def test_pictures_of_some_classes_are_compared_among_these(landscape, runs, tmp_path):
    """As ImageNet-R: pictures of two of the three classes, of which one looks like the third."""
    save(tmp_path / "shifted", {"ant": (150, 0, 0), "cat": (0, 150, 100)})
    data = ("-d", "imagefolder:shifted:classes_of=pictures/train", "--device", "cpu", "--format", "json")
    result = landscape("compare", "runs", *data, "-M", "train:accuracy,train:subset-accuracy")
    assert result.code == 0, result.err
    found = cells(result.out)
    assert found["sgd", "accuracy"] == 0.5  # a green cat is a bee
    assert found["sgd", "subset-accuracy"] == 1


def test_corruptions_of_what_is_no_picture_are_refused_in_one_line(landscape, library):
    train = (
        "train",
        "-m",
        "mlp:width=4,depth=0",
        "-d",
        "digits",
        "--epochs",
        "1",
        "--device",
        "cpu",
        "-o",
        "r",
        "-q",
    )
    assert landscape(*train).code == 0
    failed = landscape("measure", "r", "-M", "corrupted-3:accuracy", "-q")
    assert failed.code == 3
    assert "corruptions need colour pictures" in failed.error
