"""Names that wrappers have changed are found again, and only where there is one way to do it."""

import copy

import pytest
import torch
from torch import nn
from torchvision import models

from landscape.checkpoints.fitting import fit
from landscape.checkpoints.names import common_prefixes
from landscape.errors import InputError


def fresh(net):
    model = copy.deepcopy(net.model)
    for tensor in model.state_dict().values():
        tensor.zero_()
    return model


def fits(model, state, expected):
    notes = fit(model, state, source="m")
    got = list(model.state_dict().values())
    assert all(torch.equal(a, b) for a, b in zip(got, expected.values(), strict=True))
    return notes


@pytest.mark.parametrize("prefix", ["backbone.", "net.encoder.", "x.y.z.", "module.a._orig_mod.b."])
def test_any_prefix_before_all_names_is_found(net, prefix):
    notes = fits(fresh(net), {prefix + k: v for k, v in net.state.items()}, net.state)
    assert any("stripped" in note for note in notes)


@pytest.mark.parametrize("wrapper", ["module", "_orig_mod", "_fsdp_wrapped_module"])
def test_a_wrapper_around_a_part_of_the_network_is_stripped(net, wrapper):
    state = {(f"0.{wrapper}.{k[2:]}" if k.startswith("0.") else k): v for k, v in net.state.items()}
    assert fits(fresh(net), state, net.state) == (f"'{wrapper}.' was stripped",)


def test_a_wrapper_in_the_network_is_no_hindrance(net):
    fits(nn.DataParallel(fresh(net)), net.state, net.state)
    compiled = nn.Module()  # what torch.compile returns has this name for it, and takes seconds to import
    compiled.add_module("_orig_mod", fresh(net))
    fits(compiled, net.state, net.state)


def test_what_is_beside_the_network_is_left_out_and_said(net):
    state = {f"model.{k}": v for k, v in net.state.items()} | {"criterion.weight": torch.ones(2)}
    notes = fits(fresh(net), state, net.state)
    assert notes[-1] == "1 tensors do not belong to this network and were left out, such as criterion.weight"


def test_what_is_in_the_network_is_never_left_out():
    deep, shallow = (getattr(models, name)(weights=None, num_classes=3) for name in ("resnet34", "resnet18"))
    for prefix in ("", "model."):
        state = {prefix + k: v for k, v in deep.state_dict().items()}
        with pytest.raises(InputError, match=r"122 of its 122 tensors match; \d+ are not in the model"):
            fit(shallow, state, source="m")


def test_different_beginnings_are_matched_by_their_ends(net):
    beginnings = {"0": "features.block.0", "1": "features.block.1", "3": "head.3"}
    state = {f"{beginnings[k[0]]}{k[1:]}": v for k, v in net.state.items()}
    notes = fits(fresh(net), state, net.state)
    assert notes == ("9 names were matched by their ends, such as features.block.0.weight for 0.weight",)


def test_ends_that_fit_twice_are_not_guessed(net):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).requires_grad_(False)
    state = {"a.0.weight": torch.ones(2, 2), "b.0.weight": torch.zeros(2, 2), "0.bias": torch.ones(2)}
    state |= {"c.1.bias": torch.ones(2)}
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InputError, match="does not fit"):
        fit(model, state, source="m")
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_a_network_found_twice_is_not_guessed(net):
    state = {f"{p}.{k}": v for p in ("student", "teacher") for k, v in net.state.items()}
    with pytest.raises(InputError, match=r"2 times, under student\. and teacher\."):
        fit(fresh(net), state, source="m")


def test_counters_that_old_files_lack_and_indices_that_new_networks_lack(net):
    state = {k: v for k, v in net.state.items() if not k.endswith("num_batches_tracked")}
    model = fresh(net)
    notes = fit(model, state | {"embeddings.position_ids": torch.arange(4)}, source="m")
    assert torch.equal(model.state_dict()["0.weight"], net.state["0.weight"])
    assert "position_ids" in notes[-1]


def test_a_tied_weight_that_is_stored_once_is_enough():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(5, 3)
            self.head = nn.Linear(3, 5, bias=False)
            self.head.weight = self.embedding.weight

    model = Tied()
    fit(model, {"embedding.weight": torch.ones(5, 3)}, source="m")
    assert model.head.weight.sum() == 15


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_half_precision_is_cast_up_and_said(net, dtype):
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in net.state.items()}
    notes = fits(fresh(net), state, {k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    assert notes == (f"weights in {str(dtype)[6:]} were up-cast",)


def test_prefixes_are_listed_from_the_outside():
    assert common_prefixes(["module._orig_mod.a", "module._orig_mod.b.c"]) == ["module.", "_orig_mod."]
    assert common_prefixes(["model.net.a"]) == ["model.", "net."]
    assert common_prefixes(["model.a", "b"]) == common_prefixes([]) == common_prefixes(["module."]) == []


@pytest.mark.parametrize("order", [("student", "teacher"), ("teacher", "student")])
def test_of_two_networks_the_one_of_the_same_shapes_is_taken(net, order):
    other = {k: torch.zeros(7, *v.shape) for k, v in net.state.items()}
    parts = {"student": net.state, "teacher": other}
    state = {f"{p}.{k}": v for p in order for k, v in parts[p].items()}
    notes = fits(fresh(net), state, net.state)
    assert "the prefix 'student.' was stripped" in notes


def test_a_network_at_the_top_comes_before_another_inside_it(net):
    state = net.state | {f"teacher.{k}": v + 1 for k, v in net.state.items()}
    with pytest.raises(InputError, match=r"9 of its 9 tensors match; 8 .* first teacher\.0\.weight"):
        fit(fresh(net), state, source="m")


@pytest.mark.parametrize("average", ["ema", "model_ema", "swa.module", "averaged"])
def test_an_averaged_copy_beside_a_network_is_not_taken_for_a_second_network(net, average):
    state = {f"{average}.{k}": v + 1 for k, v in net.state.items()}
    fits(fresh(net), state | {f"model.{k}": v for k, v in net.state.items()}, net.state)


def test_a_beginning_that_is_a_part_of_a_word_is_no_prefix(net):
    state = {f"x{k}": v for k, v in net.state.items()}
    with pytest.raises(InputError, match=r"8 are missing, first 0\.weight"):
        fit(fresh(net), state, source="m")


def test_names_that_would_become_one_are_not_stripped(net):
    state = net.state | {"0.module.weight": net.state["0.weight"] + 1}
    with pytest.raises(InputError, match=r"1 are not in the model, first 0\.module\.weight"):
        fit(fresh(net), state, source="m")


def test_a_network_without_tensors_takes_none():
    with pytest.raises(InputError, match=r"1 are not in the model, first a\.b"):
        fit(nn.Tanh(), {"a.b": torch.ones(2)}, source="m")


def test_names_are_matched_by_ends_of_two_parts_and_more():
    model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.Linear(4, 5, bias=False)).requires_grad_(False)
    with pytest.raises(InputError, match="does not fit"):
        fit(model, {"a.weight": torch.ones(3, 2), "b.weight": torch.ones(5, 4)}, source="m")
    notes = fit(model, {"a.0.weight": torch.ones(3, 2), "b.c.1.weight": torch.ones(5, 4)}, source="m")
    assert notes == ("2 names were matched by their ends, such as a.0.weight for 0.weight",)
    assert model[1].weight.sum() == 20


def test_a_tensor_that_ends_two_names_is_not_taken_twice():
    model = nn.ModuleDict({"a": nn.Sequential(nn.Linear(2, 2, bias=False))})
    model["b"] = nn.Sequential(nn.Linear(2, 2, bias=False))
    with pytest.raises(InputError, match="does not fit"):
        fit(model, {"0.weight": torch.ones(2, 2), "c.9.weight": torch.ones(2, 2)}, source="m")


def test_a_wrapper_that_the_network_has_too_is_not_said_to_be_stripped(net):
    state = {f"_orig_mod.module.{name}": tensor for name, tensor in net.state.items()}
    assert fits(nn.DataParallel(fresh(net)), state, net.state) == ("'_orig_mod.' was stripped",)


def test_names_of_the_network_may_be_the_longer_ones():
    network = nn.ModuleDict({"encoder": nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 4))})
    values = {name: torch.randn_like(tensor) for name, tensor in network.state_dict().items()}
    notes = fits(network, {name.removeprefix("encoder."): t for name, t in values.items()}, values)
    assert notes == ("4 names were matched by their ends, such as 0.weight for encoder.0.weight",)


def test_a_mismatch_is_explained_under_the_prefix_that_fits_best(net):
    names = list(net.state)
    state = {f"old.pupil.{name}": net.state[name] for name in names[:-1]}
    with pytest.raises(InputError, match=rf"{len(names) - 1} of its {len(names)} tensors match"):
        fit(fresh(net), state, source="m")
