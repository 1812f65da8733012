"""The path norm against the sum over all paths, and batch norm folded into the layer before."""

import itertools
import math

import problems
import pytest
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from landscape.errors import UsageError
from landscape.measures import path_norm
from landscape.objective import Objective

PICTURES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def objective(model: nn.Module, x: torch.Tensor = PICTURES, **options: object) -> Objective:
    return Objective(model, nn.CrossEntropyLoss(), [(x, torch.arange(len(x)) % 2)], **options)  # type: ignore[arg-type]


def test_it_is_the_sum_over_all_paths_from_inputs_and_biases() -> None:
    model = problems.network(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    first, second = model[0], model[2]
    total = second.bias.square().sum().item()
    for hidden, output in itertools.product(range(4), range(2)):
        into = [*first.weight[hidden], first.bias[hidden]]
        total += sum((weight * second.weight[output, hidden]).item() ** 2 for weight in into)
    found = path_norm(objective(model, PICTURES[:, :, 0, 0]))
    assert found.value == pytest.approx(math.sqrt(total), rel=1e-12)
    assert found.details["squared"] == pytest.approx(total, rel=1e-12)
    assert (found.standard_error, found.converged) == (None, None)
    assert found.cost.evaluations == 4 / 6  # of one example


def convolutions(norm: nn.Module) -> nn.Sequential:
    layers = nn.Conv2d(3, 4, 3), norm, nn.LeakyReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 2)
    model = problems.network(*layers).train()
    model(PICTURES + 1)  # so that the statistics are those of data
    return model.eval()


def test_folding_batch_norm_into_the_convolution_changes_nothing() -> None:
    model = convolutions(nn.BatchNorm2d(4))
    model[0].bias.data.zero_()  # the square of a sum of two biases is not the sum of their squares
    folded = nn.Sequential(fuse_conv_bn_eval(model[0], model[1]), *model[2:])
    assert path_norm(objective(model)).value == pytest.approx(path_norm(objective(folded)).value, rel=1e-10)


def test_batch_norm_without_weights_is_that_with_weights_of_one() -> None:
    plain, weighted = convolutions(nn.BatchNorm2d(4, affine=False)), convolutions(nn.BatchNorm2d(4))
    weighted.load_state_dict(
        {**plain.state_dict(), "1.weight": torch.ones(4).double(), "1.bias": torch.zeros(4).double()}
    )
    assert path_norm(objective(plain)).value == pytest.approx(path_norm(objective(weighted)).value, rel=1e-10)


def test_rescaling_two_layers_against_each_other_changes_nothing() -> None:
    model = problems.network(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    before = path_norm(objective(model, PICTURES[:, :, 0, 0])).value
    with torch.no_grad():
        for parameter in model[0].parameters():
            parameter *= 7
        model[2].weight /= 7
    assert path_norm(objective(model, PICTURES[:, :, 0, 0])).value == pytest.approx(before, rel=1e-12)


@pytest.mark.parametrize(
    "layer", [nn.Tanh(), nn.GELU(), nn.MaxPool2d(2), nn.GroupNorm(1, 4), nn.Softmax(1)], ids=repr
)
def test_a_network_that_is_no_sum_over_paths_is_said(layer: nn.Module) -> None:
    size = 36 if isinstance(layer, nn.MaxPool2d) else 144
    model = problems.network(nn.Conv2d(3, 4, 3), layer, nn.Flatten(), nn.Linear(size, 2))
    found = path_norm(objective(model))
    assert math.isnan(found.value)
    assert "not affine in its inputs" in str(found.details["undefined"])


def test_what_has_no_fixed_weights_or_no_pictures_is_said() -> None:
    found = path_norm(objective(convolutions(nn.BatchNorm2d(4)), batch_norm="batch"))
    assert "batch_norm=stored" in str(found.details["undefined"])
    huge = problems.network(nn.Linear(3, 2))
    huge[0].weight.data.fill_(1e200)
    assert "double precision" in str(path_norm(objective(huge, PICTURES[:, :, 0, 0])).details["undefined"])
    with pytest.raises(UsageError, match="one tensor of real numbers"):
        path_norm(problems.tiny_case(hidden=True)[0])
