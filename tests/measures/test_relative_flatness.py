"""Relative flatness against dense Hessians, closed forms and rescaled layers."""

import math

import problems
import pytest
import torch
from torch import nn

from landscape.errors import UsageError
from landscape.measures import relative_flatness
from landscape.objective import Objective


def by_blocks(objective: Objective, hessian: torch.Tensor, name: str) -> float:
    """The definition: Σ ⟨w_s, w_t⟩ Tr H_st from a dense Hessian."""
    entry = next(entry for entry in objective.layout.entries if entry.name == name)
    here = slice(entry.offset, entry.offset + entry.size)
    blocks = hessian[here, here].view(*entry.shape, *entry.shape)
    weights = objective.point[here].view(entry.shape)
    return float(((weights @ weights.T) * torch.einsum("sjtj->st", blocks)).sum())


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
@pytest.mark.parametrize("layer", ["0", "2"])
def test_it_is_the_sum_over_blocks_of_the_dense_hessian(activation: type[nn.Module], layer: str) -> None:
    objective, hessian = problems.tiny_case(activation)
    found = relative_flatness(objective, layer=layer)
    assert found.value == pytest.approx(by_blocks(objective, hessian, f"{layer}.weight"), rel=1e-10)
    assert (found.standard_error, found.converged) == (None, None)
    assert found.cost.products == found.details["probes"] == {"0": 5 * 8, "2": 4 * 5}[layer]


def test_the_estimate_is_within_four_standard_errors() -> None:
    objective, hessian = problems.tiny_case()
    truth = by_blocks(objective, hessian, "0.weight")
    found = [
        relative_flatness(objective, layer="0", max_probes=39, tolerance=1e-9, seed=s) for s in range(20)
    ]
    values = torch.tensor([each.value for each in found])
    assert {(each.converged, each.details["probes"]) for each in found} == {(False, 39)}
    assert abs(float(values.mean()) - truth) <= 4 * float(values.std()) / math.sqrt(20)
    claimed = sum(float(each.standard_error or 0) for each in found) / 20
    assert 0.5 < claimed / float(values.std()) < 2  # 20 values have a standard deviation to about 16 %


def test_without_a_name_it_is_the_head_whose_hessian_is_known() -> None:
    """H_st = E[(p_s δ_st − p_s p_t) φφᵀ] for cross-entropy over a linear layer of features φ."""
    objective = problems.small_objective()
    x, _ = problems.classification()
    model = problems.small_net()
    features, weights = model[:-1](x), model[-1].weight
    p = model(x).softmax(1)
    spread = ((p @ (weights @ weights.T)) * p).sum(1)
    expected = (features.square().sum(1) * (p @ weights.square().sum(1) - spread)).mean()
    found = relative_flatness(objective)
    assert found.value == pytest.approx(expected.item(), rel=1e-10)
    assert found.details["layer"] == "4"


def test_of_least_squares_it_is_the_penalty_of_ridge_regression() -> None:
    x, _ = problems.classification()
    model = problems.network(nn.Linear(8, 1, bias=False))
    found = relative_flatness(Objective(model, nn.MSELoss(), [(x, x[:, :1])]))
    expected = model[0].weight.square().sum() * 2 * x.square().sum(1).mean()
    assert found.value == pytest.approx(expected.item(), rel=1e-12)


def test_rescaling_two_layers_against_each_other_changes_nothing() -> None:
    x, y = problems.classification()
    layers = [
        problems.network(nn.Linear(8, 6, bias=False), nn.ReLU(), nn.Linear(6, 4, bias=False)) for _ in "ab"
    ]
    with torch.no_grad():
        layers[1][0].weight *= 8
        layers[1][2].weight /= 8
    for options in ({"layer": "0"}, {"layer": "0", "max_probes": 20}, {"layer": "2"}):
        plain, scaled = (
            relative_flatness(Objective(m, nn.CrossEntropyLoss(), [(x, y)]), **options) for m in layers
        )
        assert scaled.value == pytest.approx(plain.value, rel=1e-9)


def test_what_is_no_linear_layer_is_said() -> None:
    objective = problems.small_objective()
    with pytest.raises(UsageError, match=r"layer=5 is not a linear layer .*there are 0, 2, 4"):
        relative_flatness(objective, layer="5")
    found = relative_flatness(problems.quadratic([1.0, 2.0])[0])
    assert found.details["undefined"] == "no linear layer has free weights"
