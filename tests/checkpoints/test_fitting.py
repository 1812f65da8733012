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


def convolution(channels=3, kernel=3, classes=5, positions=None, name="pos_embed"):
    """A network with a convolution first, and perhaps a parameter for positions."""
    body = nn.Sequential(nn.Conv2d(channels, 4, kernel), nn.Flatten(), nn.Linear(4, 6), nn.Linear(6, classes))
    if positions is not None:
        body.register_parameter(name, nn.Parameter(torch.zeros(1, positions, 2)))
    return body


@pytest.mark.parametrize(
    ("network", "checkpoint", "name", "advice"),
    [
        ({}, {"classes": 7}, "timm:net", "try -m timm:net:num_classes=7"),
        ({}, {"classes": 7}, "timm:net:depth=2", "name the data it was trained on"),
        ({}, {"classes": 7}, "net", "name the data it was trained on"),
        ({}, {"channels": 1}, "net", "takes 1 channels, these data have 3"),
        ({}, {"channels": 1, "kernel": 5}, "net", "takes 1 channels, these data have 3"),
        ({"positions": 4}, {"positions": 9}, "net", "Only the positions differ"),
        (
            {"positions": 4, "name": "position"},
            {"positions": 9, "name": "position"},
            "net",
            "Only the positions",
        ),
        (
            {"positions": 4, "name": "where"},
            {"positions": 9, "name": "where"},
            "net",
            "Only the first layer differs",
        ),
        ({"positions": 4}, {"positions": 9, "classes": 7}, "net", "Name the architecture"),
        ({"positions": 4}, {}, "net", "Name the architecture"),
        ({}, {"positions": 4}, "net", "leave them out: --drop pos_embed"),
    ],
)
def test_the_advice_is_for_what_differs(network, checkpoint, name, advice):
    state = convolution(**checkpoint).state_dict()
    with pytest.raises(InputError, match=advice):
        fit(convolution(**network), state, source="m.pt", name=name)


def test_an_input_that_is_a_vector_has_numbers_and_not_channels():
    state = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).state_dict()
    with pytest.raises(InputError, match="takes 3 numbers in an input, these data have 2"):
        fit(nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2)), state, source="m.pt")


def test_a_first_layer_of_another_width_is_not_taken_for_other_channels():
    network = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.Flatten(), nn.Linear(4, 6), nn.Linear(6, 2))
    state = dict(network.state_dict()) | {"0.weight": torch.zeros(5, 1, 1, 1)}
    with pytest.raises(InputError, match="Name the architecture"):
        fit(network, state, source="m.pt")


def test_three_of_the_shapes_that_differ_are_named():
    network = nn.ParameterDict({name: nn.Parameter(torch.zeros(2, 3)) for name in "abcdef"})
    state = {name: torch.zeros(2, 2 if name in "abcd" else 3) for name in "abcdef"}
    with pytest.raises(
        InputError, match=r"2 of its 6 tensors match; 4 differ in shape, first a: .*c: .*"
    ) as failure:
        fit(network, state, source="m.pt")
    assert "d: " not in str(failure.value)


@pytest.mark.parametrize(
    ("name", "shape", "advice"),
    [
        ("2.weight", (6, 5), "Name the architecture"),
        ("2.bias", (7,), "Name the architecture"),
        ("3.weight", (7, 6), "the checkpoint has 7 classes"),
    ],
)
def test_only_the_last_layer_says_how_many_classes_there_are(name, shape, advice):
    network = convolution()
    with pytest.raises(InputError, match=advice):
        fit(network, network.state_dict() | {name: torch.zeros(shape)}, source="m.pt")
