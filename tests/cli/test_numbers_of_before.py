"""Numbers beside a checkpoint are used only where they still hold, and are marked where they were not computed now."""

import json
import re

import numpy as np
import pytest
import torch

NETS = """
from torch import nn
from acts import act

def net():
    return nn.Sequential(nn.Linear(3, 4), act(), nn.Linear(4, 2))
"""
FLAGS = ("-m", "./nets.py:net", "-d", "npz:d.npz", "-M", "loss", "-M", "gradient-norm")
FILE = "measures.jsonl"


def data(folder, seed=0):
    draw = np.random.default_rng(seed)
    np.savez(folder / "d.npz", inputs=draw.normal(size=(20, 3)).astype("f4"), targets=draw.integers(0, 2, 20))


def weights(folder, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"0.weight": (4, 3), "0.bias": (4,), "2.weight": (2, 4), "2.bias": (2,)}
    state = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    torch.save(state, folder / "m.pt")
    return state


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "acts.py").write_text("from torch import nn\nact = nn.ReLU\n")
    weights(tmp_path)
    data(tmp_path)
    return tmp_path


def taken(result):
    assert result.code == 0, result.err
    return {line["measure"]: line["value"] for line in map(json.loads, result.out.splitlines())}


def lines(folder):
    return [json.loads(line) for line in (folder / FILE).read_text().splitlines()]


def other_code(folder):
    (folder / "acts.py").write_text("from torch import nn\nact = nn.Tanh\n")


def other_weights(folder):
    weights(folder, seed=1)


def other_data(folder):
    data(folder, seed=1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (other_code, "the Python code has changed"),
        (other_weights, "the weights have changed"),
        (other_data, "the examples have changed"),
    ],
)
def test_what_a_number_depends_on_has_changed_and_it_is_measured_anew(landscape, folder, change, said):
    before = taken(landscape("measure", "m.pt", *FLAGS, "--format", "jsonl"))
    change(folder)
    result = landscape("measure", "m.pt", *FLAGS, "--format", "jsonl", "-q")
    assert result.err == f"{FILE}: measured anew: loss, gradient-norm ({said})\n"
    after = taken(result)
    truth = taken(
        landscape("measure", "m.pt", *FLAGS, "--format", "jsonl", "--no-resume", "-o", "true.jsonl")
    )
    assert after == truth
    assert after["gradient-norm"] != before["gradient-norm"]
    assert len(lines(folder)) == 4


def forged(folder, **changes):
    records = lines(folder)
    origin = {key: changes.pop(key) for key in list(changes) if key in records[-1]["provenance"]}
    records[-1] = {**records[-1], **changes, "provenance": {**records[-1]["provenance"], **origin}}
    (folder / FILE).write_text("".join(json.dumps(record) + "\n" for record in records))


def test_a_record_whose_loss_is_not_the_loss_here_is_measured_anew(landscape, folder):
    before = taken(landscape("measure", "m.pt", *FLAGS, "--format", "jsonl"))
    forged(folder, value=0.0123, loss_value=before["loss"] * 1.01)
    result = landscape("measure", "m.pt", *FLAGS, "--format", "jsonl", "-q")
    assert re.search(r"measured anew: gradient-norm \(its loss is \S+, and here it is \S+\)", result.err)
    assert taken(result) == before


@pytest.mark.parametrize("missing", ["examples", "loss_value"])
def test_a_record_of_an_earlier_version_is_measured_anew(landscape, folder, missing):
    before = taken(landscape("measure", "m.pt", *FLAGS, "--format", "jsonl"))
    forged(folder, value=0.0123, **{missing: None})
    result = landscape("measure", "m.pt", *FLAGS, "--format", "jsonl", "-q")
    assert "measured anew: gradient-norm" in result.err
    assert taken(result) == before


def test_the_loss_and_the_accuracy_are_never_read(landscape, folder):
    landscape("measure", "m.pt", "-m", "./nets.py:net", "-d", "npz:d.npz", "-M", "loss")
    [true] = lines(folder)
    forged(folder, value=0.0123)
    assert taken(landscape("measure", "m.pt", *FLAGS[:6], "--format", "jsonl"))["loss"] == true["value"]
    assert [line["value"] for line in lines(folder)] == [0.0123, true["value"]]


@pytest.mark.parametrize("form", ["table", "md"])
def test_a_number_that_was_read_is_marked_and_its_cost_is_not_counted(landscape, folder, form):
    """Nobody can tell a record that was forged with the right hashes and loss; the mark says that it was read."""
    first = landscape("measure", "m.pt", *FLAGS, "--format", form)
    assert "read" not in first.out
    forged(folder, value=0.0123)
    second = landscape("measure", "m.pt", *FLAGS, "--format", form).out
    assert re.search(r"gradient-norm \W* *0\.0123 .* read( \|)?$", second, re.MULTILINE)
    assert re.search(r"^(\| m.pt \(train\) \| )?loss .* shared( \|)?$", second, re.MULTILINE)
    assert f"read: from {FILE}, not computed now (--no-resume measures again)" in second
    assert form == "md" or "forward pass 1/3); 0 g, 0 s" in second
    anew = landscape("measure", "m.pt", *FLAGS, "--format", form, "--no-resume").out
    assert "0.0123" not in anew
    assert "read" not in anew


def test_records_of_two_checkpoints_in_one_folder_leave_each_other_alone(landscape, folder):
    torch.save(weights(folder, seed=1), folder / "n.pt")
    weights(folder)
    first = taken(landscape("measure", "m.pt", *FLAGS, "--format", "jsonl"))
    second = landscape("measure", "n.pt", *FLAGS, "--format", "jsonl", "-q")
    assert second.err == ""
    assert taken(second) != first
    assert taken(landscape("measure", "m.pt", *FLAGS, "--format", "jsonl")) == first
    assert len(lines(folder)) == 4
