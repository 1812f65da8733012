"""Wrappers' prefixes are stripped; what does not fit is said exactly, and changes nothing."""

import copy

import pytest
import torch
from torch import nn

from landscape.checkpoints.fitting import fit
from landscape.errors import InputError


def fresh(net):
    model = copy.deepcopy(net.model)
    for tensor in model.state_dict().values():
        tensor.zero_()
    return model


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "module.",
        "_orig_mod.",
        "model.",
        "net.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "module.module.",
        "model.net.",
    ],
)
def test_prefixes_of_wrappers_are_stripped_until_none_is_left(net, prefix):
    model = fresh(net)
    fit(model, {prefix + name: tensor for name, tensor in net.state.items()}, source="m.pt")
    assert all(torch.equal(tensor, net.state[name]) for name, tensor in model.state_dict().items())


def test_a_prefix_that_the_network_uses_itself_stays(net):
    wrapped = nn.Sequential()
    wrapped.add_module("model", fresh(net))
    state = {f"model.{name}": tensor for name, tensor in net.state.items()}
    fit(wrapped, state, source="m.pt")
    assert torch.equal(wrapped.state_dict()["model.0.weight"], net.state["0.weight"])
    fit(wrapped, {f"module.{name}": tensor for name, tensor in state.items()}, source="m.pt")


def test_weights_in_another_precision_are_converted(net):
    model = fresh(net).double()
    fit(model, net.state, source="m.pt")
    assert torch.equal(model.state_dict()["0.weight"], net.state["0.weight"].double())


def renamed(state):
    return {("fc.weight" if k == "3.weight" else k): v for k, v in state.items()}


def test_missing_and_foreign_names_are_counted_and_the_first_is_named(net):
    model = fresh(net)
    with pytest.raises(InputError, match="does not fit Sequential: 8 of its 9 tensors match") as caught:
        fit(model, renamed(net.state), source="m.pt")
    assert "1 are missing, first 3.weight" in str(caught.value)
    assert "1 are not in the model, first fc.weight" in str(caught.value)
    assert "-m NAME" in str(caught.value)
    assert not any(tensor.any() for tensor in model.state_dict().values())


def test_another_number_of_classes_is_recognised_and_the_way_out_is_named(net):
    net.state["3.weight"], net.state["3.bias"] = torch.zeros(3, 4), torch.zeros(3)
    with pytest.raises(InputError, match=r"has 3 classes; .*num_classes=3"):
        fit(fresh(net), net.state, source="m.pt")


def test_another_width_is_not_taken_for_another_number_of_classes(net):
    net.state["0.weight"] = torch.zeros(5, 2)
    with pytest.raises(
        InputError, match=r"first 0.weight: \(5, 2\) in the checkpoint, \(4, 2\) in the model"
    ):
        fit(fresh(net), net.state, source="m.pt")
