"""Layout, selection and roles."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from landscape.errors import UsageError
from landscape.parameters import layout


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
