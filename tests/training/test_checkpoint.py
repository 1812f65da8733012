"""A checkpoint opens without running code, and equal content has equal bytes."""

import time
from collections import OrderedDict

import pytest
import torch

from landscape.errors import InputError
from landscape.training import checkpoint


def content(scale=1.0, name=None):
    """The content of a checkpoint, made of objects that no other call shares."""
    name = name or "".join(["wei", "ght"])
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(scale)
    return {
        "state_dict": model.state_dict(),
        "recipe": {"model": "".join(["ml", "p"]), "lr": 0.1, "max_grad_norm": None, name: "mlp"},
        "epoch": 3,
        "step": 30,
        "metrics": {"test_loss": 0.5},
        "training": {"optimizer": {"state": {0: {name: torch.ones(3)}}, "groups": [(0.9, 0.999)]}},
    }


def test_equal_content_has_equal_bytes_whatever_the_name_and_the_time(tmp_path):
    checkpoint.write(tmp_path / "a.pt", content())
    time.sleep(1.1)
    checkpoint.write(tmp_path / "another-name.pt", content())
    first = (tmp_path / "a.pt").read_bytes()
    assert first == (tmp_path / "another-name.pt").read_bytes()
    checkpoint.write(tmp_path / "b.pt", content(scale=2.0))
    assert first != (tmp_path / "b.pt").read_bytes()


def test_what_was_read_and_is_written_again_has_the_same_bytes(tmp_path):
    checkpoint.write(tmp_path / "a.pt", content())
    checkpoint.write(tmp_path / "b.pt", checkpoint.read(tmp_path / "a.pt"))
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


def test_the_order_in_which_plain_dictionaries_were_filled_does_not_matter(tmp_path):
    turned = content()
    turned["recipe"] = dict(reversed(turned["recipe"].items()))
    checkpoint.write(tmp_path / "a.pt", content())
    checkpoint.write(tmp_path / "b.pt", turned)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


def test_the_file_opens_without_running_code_and_loads_into_the_model(tmp_path):
    checkpoint.write(tmp_path / "a.pt", content())
    opened = torch.load(tmp_path / "a.pt", weights_only=True)
    assert opened["format"] == "landscape.checkpoint/1"
    assert isinstance(opened["state_dict"], OrderedDict)
    assert opened["state_dict"]._metadata["1"] == {"version": 2}
    assert list(opened["state_dict"]) == list(content()["state_dict"])


def test_a_view_is_saved_without_what_it_is_a_view_of(tmp_path):
    small, large = content(), content()
    small["state_dict"] = {"weight": torch.zeros(3)}
    large["state_dict"] = {"weight": torch.zeros(100_000)[:3]}
    checkpoint.write(tmp_path / "a.pt", small)
    checkpoint.write(tmp_path / "b.pt", large)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


@pytest.mark.parametrize("kept", [0, 10, 500, -1])
def test_a_damaged_file_is_named_with_the_way_out(tmp_path, kept):
    path = tmp_path / "a.pt"
    checkpoint.write(path, content())
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"a\.pt is damaged.*--overwrite") as caught:
        checkpoint.read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("other", [{"weight": 1}, {"format": "landscape.checkpoint/1"}, [1]])
def test_a_file_of_another_kind_is_refused(tmp_path, other):
    torch.save(other, tmp_path / "a.pt")
    with pytest.raises(InputError, match="is not a checkpoint that training wrote"):
        checkpoint.read(tmp_path / "a.pt")
