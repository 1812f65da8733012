"""Layout, selection and roles."""

import torch
from torch import nn

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
