"""Tensors that are left out and renamed: what is measured are other weights, and what matches nothing is an error."""

import json
from pathlib import Path

import pytest
import torch
from command_line import call
from torch import nn

from landscape.checkpoints import convert, load_checkpoint, read_checkpoint
from landscape.errors import InputError, UsageError


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A network under other names, beside a head that does not belong to it."""
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2))
    state = {f"enc.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": state | {"aux.weight": torch.ones(2), "aux.bias": torch.ones(1)}}, "m.pt")
    return network


NAMES = ["enc.0.weight", "enc.0.bias", "enc.2.weight", "enc.2.bias", "aux.weight", "aux.bias"]


@pytest.mark.parametrize(
    ("drop", "rename", "names"),
    [
        ((), (), NAMES),
        (["aux.*"], (), NAMES[:4]),
        (["aux.weight", "aux.bias"], (), NAMES[:4]),
        (["*.bias"], ["enc="], ["0.weight", "2.weight", "aux.weight"]),
        (["*.bias"], ["enc.="], ["0.weight", "2.weight", "aux.weight"]),
        (["*.bias"], ["enc=a.b"], ["a.b.0.weight", "a.b.2.weight", "aux.weight"]),
        (["*.bias"], ["=net."], ["net.enc.0.weight", "net.enc.2.weight", "net.aux.weight"]),
        (["*.bias"], ["aux.weight=w"], ["enc.0.weight", "enc.2.weight", "w"]),
        (["*.bias"], ["enc=e", "e.0=f"], ["f.weight", "e.2.weight", "aux.weight"]),
    ],
)
def test_names_are_as_they_are_asked_for(file, drop, rename, names):
    contents = read_checkpoint("m.pt", drop=drop, rename=rename)
    assert list(contents.state) == names
    assert len(contents.notes) == len(drop) + len(rename)
    assert (contents.identity == contents.sha256) == (not drop and not rename)
    convert("m.pt", "m.safetensors", drop=drop, rename=rename, overwrite=True)
    assert set(read_checkpoint("m.safetensors").state) == set(names)


def test_other_names_are_other_weights(file):
    identities = {
        read_checkpoint("m.pt", drop=drop, rename=rename).identity
        for drop in ((), ["aux.*"])
        for rename in ((), ["enc.0=a"], ["enc.2=a"])
    }
    assert len(identities) == 6


@pytest.mark.parametrize(
    ("drop", "rename", "failure", "words"),
    [
        (
            ["axu.*"],
            (),
            InputError,
            r"--drop axu\.\* matches none of the 6 names \(did you mean 'aux'\?\); they begin",
        ),
        ((), ["encc=x"], InputError, r"--rename encc=x matches none of the 6 names \(did you mean 'enc'\?\)"),
        ((), ["en=x"], InputError, "matches none"),
        ((), ["enc"], UsageError, r"--rename 'enc' is not OLD=NEW, such as"),
        ((), ["enc=enc"], UsageError, "is not OLD=NEW"),
        ((), ["enc.0=aux"], InputError, "gives two tensors one name"),
        (["*"], (), InputError, "leaves no tensor"),
    ],
)
def test_what_cannot_be_done_is_said(file, drop, rename, failure, words):
    with pytest.raises(failure, match=words):
        read_checkpoint("m.pt", drop=drop, rename=rename)


def test_a_network_fits_once_names_are_those_of_its_own(file, capsys):
    flags = ("-m", "./net.py:net", "-d", "moons:samples=40", "-M", "loss", "--format", "jsonl")
    with pytest.raises(InputError, match="are not in the model"):
        load_checkpoint("m.pt", model=file, data="moons:samples=40", rename=["enc.0=enc.5"])
    fitted = load_checkpoint("m.pt", model=file, data="moons:samples=40", drop=["aux.*"], rename=["enc="])
    assert all(torch.equal(fitted.model.state_dict()[name], t) for name, t in file.state_dict().items())
    body = "nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2))"
    Path("net.py").write_text(f"from torch import nn\ndef net():\n    return {body}\n")
    capsys.readouterr()
    assert call(["measure", "m.pt", *flags, "--drop", "aux.weight,aux.bias", "--rename", "enc="]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["measure"] == "loss"
    told = " ".join(err.split())
    assert "one tensor left out, such as aux.weight (--drop aux.weight)" in told
    assert "4 tensors renamed, such as enc.0.weight to 0.weight" in told
    assert call(["measure", "m.pt", *flags, "--drop", "nothing.*"]) == 3
    assert "--drop nothing.* matches none of the 6 names" in capsys.readouterr().err
    assert call(["convert", "m.pt", "n.safetensors", "--rename", "enc=e", "--drop", "aux.*"]) == 0
    names = ["e.0.bias", "e.0.weight", "e.2.bias", "e.2.weight"]
    assert sorted(read_checkpoint("n.safetensors").state) == names
