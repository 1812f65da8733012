"""Layout, selection and roles."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from landscape.errors import UsageError
from landscape.parameters import frozen, layout, selection_note


def test_flatten_and_split_are_inverse() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(5, 3))
    shapes = layout(model)
    vector = torch.arange(float(shapes.dimension))
    assert torch.equal(shapes.flatten(shapes.split(vector)), vector)
    assert list(shapes.named(vector)) == [name for name, _ in model.named_parameters()]


def test_roles_follow_the_kind_of_module_not_the_name() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Linear(3, 4)
            self.weight = nn.LayerNorm(4)
            self.table = nn.Embedding(7, 2)
            self.cls_token = nn.Parameter(torch.zeros(1, 1, 4))
            self.mixing = nn.Parameter(torch.zeros(4, 4))

    roles = {entry.name: (entry.role, entry.filters) for entry in layout(Odd()).entries}
    assert roles == {
        "cls_token": ("other", 1),
        "mixing": ("filter", 4),
        "scale.weight": ("filter", 4),
        "scale.bias": ("bias", 1),
        "weight.weight": ("scale", 1),
        "weight.bias": ("bias", 1),
        "table.weight": ("embedding", 7),
    }


def test_a_tied_tensor_is_chosen_by_any_of_its_names() -> None:
    model = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    model["b"].weight = model["a"].weight
    assert layout(model, ["b.weight"]).names == ("a.weight",)


NETWORK = nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 2, 3), norm=nn.BatchNorm2d(2), fc=nn.Linear(5, 3)))


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["fc.*"], ["fc.weight", "fc.bias"]),
        (["*", "!*.bias"], ["conv.weight", "norm.weight", "fc.weight"]),
        (["!norm.*", "!*.bias"], ["conv.weight", "fc.weight"]),
        (["!fc.bias", "fc.*"], ["fc.weight"]),
    ],
)
def test_patterns_select_and_exclude(patterns: list[str], names: list[str]) -> None:
    assert list(layout(NETWORK, patterns).names) == names


class Decoder(nn.Module):
    """Names as of a decoder with adapters, whose output layer is its embedding."""

    def __init__(self) -> None:
        super().__init__()
        block = {"attn": nn.Linear(4, 4, bias=False), "lora_A": nn.ModuleDict({"default": nn.Linear(4, 1)})}
        self.wte = nn.Embedding(7, 4)
        self.h = nn.ModuleList([nn.ModuleDict(block)])
        self.lm_head = nn.Linear(4, 7, bias=False)
        self.lm_head.weight = self.wte.weight


ADAPTED = nn.ModuleDict({"base_model": nn.ModuleDict({"model": Decoder()})})
_H = "base_model.model.h.0"
_ADAPTERS = [f"{_H}.lora_A.default.weight", f"{_H}.lora_A.default.bias"]


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["lora_*"], _ADAPTERS),
        (["lora_A.*.weight"], _ADAPTERS[:1]),
        (["*.attn.*"], [f"{_H}.attn.weight"]),
        (["attn.*"], [f"{_H}.attn.weight"]),
        (["h.*.attn.*"], [f"{_H}.attn.weight"]),
        (["!wte*", "!lora_*"], [f"{_H}.attn.weight"]),
        (["lm_head.*"], ["base_model.model.wte.weight"]),
    ],
)
def test_a_pattern_that_matches_no_whole_name_matches_what_follows_a_dot(
    patterns: list[str], names: list[str]
) -> None:
    assert list(layout(ADAPTED, patterns).names) == names


def test_a_pattern_that_matches_whole_names_means_no_others() -> None:
    model = nn.ModuleDict({"conv1": nn.Linear(2, 2), "layer": nn.ModuleDict({"conv1": nn.Linear(2, 2)})})
    assert layout(model, ["conv1.*"]).names == ("conv1.weight", "conv1.bias")


@pytest.mark.parametrize(
    ("patterns", "says"),
    [
        (["!lm_head.*"], ["'!lm_head.*' holds all of it fixed"]),
        (["!lm_head.*", "*.wte.*", "lora_*"], ["'!lm_head.*' holds all of it fixed"]),
        (["lm_head.*"], ["'lm_head.*' frees all of it"]),
        (["!lora_*"], []),
    ],
)
def test_a_tied_tensor_that_patterns_would_split_is_said_to_be_one(
    patterns: list[str], says: list[str]
) -> None:
    lines = selection_note(ADAPTED, patterns, layout(ADAPTED, patterns).names)
    tied = "base_model.model.wte.weight and base_model.model.lm_head.weight are one tensor: "
    assert lines[1:] == [tied + effect for effect in says]


def test_frozen_parameters_are_named_unless_the_selection_frees_them() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    model[0].requires_grad_(False)
    body = "2 of 4 parameter tensors (6 of 9 weights)"
    held = f"{body} do not require a gradient and are held fixed: 0.weight, 0.bias"
    for patterns, lines in (
        (None, [held]),
        (["!1.bias"], ["1 of 4 parameter tensors (2 of 9 weights) are free: !1.bias", held]),
    ):
        names = layout(model, patterns).names
        assert selection_note(model, patterns, names) == lines
        assert frozen(model, patterns, names) == f"{body}, 0.weight, 0.bias"
    assert frozen(model, ["0.*"], layout(model, ["0.*"]).names) is None
    model[1].weight.requires_grad_(False)
    other = frozen(nn.Sequential(nn.Identity(), *model), None, ("2.bias",))
    assert frozen(model, None, ("1.bias",)) != other  # other names, with as many weights


def test_what_is_excluded_beside_frozen_parameters_leaves_these_frozen() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    assert layout(model, ["!*.bias"]).names == ("1.weight",)
    assert layout(model, ["*", "!*.bias"]).names == ("0.weight", "1.weight")


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("cf.*", "did you mean 'fc.*'?"),
        ("!fc.wieght", "did you mean 'fc.weight'?"),
        ("layer4.*", "matches none of conv.weight, conv.bias, norm.weight"),
    ],
)
def test_a_pattern_that_matches_nothing_names_the_nearest(pattern: str, says: str) -> None:
    with pytest.raises(UsageError) as failure:
        layout(NETWORK, [pattern])
    assert says in str(failure.value)
    assert pattern in str(failure.value)


def test_a_selection_without_parameters_says_that_it_excludes_all() -> None:
    with pytest.raises(UsageError, match=r"parameters=fc\.\*,!fc\.\* excludes all of them"):
        layout(NETWORK, ["fc.*", "!fc.*"])


@pytest.mark.parametrize(
    ("pattern", "nearest"),
    [
        ("base_model.model.h.*.atn.*", "base_model.model.h.*.attn.*"),
        ("lora_B.*", "lora_A.*"),
        ("lm_haed.*", "lm_head.*"),
    ],
)
def test_the_nearest_name_is_found_in_the_depth(pattern: str, nearest: str) -> None:
    with pytest.raises(UsageError, match=r"did you mean ") as failure:
        layout(ADAPTED, [pattern])
    assert f"did you mean '{nearest}'?" in str(failure.value)
