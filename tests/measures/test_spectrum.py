"""Measures of the spectrum against the dense Hessian."""

import math

import problems
import pytest
import torch
from torch import nn

from landscape.measures import (
    dominant_eigenvalue,
    hessian_trace,
    layer_traces,
    spectral_density,
    top_eigenvalues,
)
from landscape.objective import Objective


@pytest.fixture(scope="module")
def case() -> tuple[Objective, torch.Tensor]:
    return problems.tiny_case()


@pytest.mark.parametrize("end", ["magnitude", "largest", "smallest"])
def test_top_eigenvalues_are_those_of_the_dense_hessian(
    case: tuple[Objective, torch.Tensor], end: str
) -> None:
    objective, hessian = case
    spectrum = torch.linalg.eigvalsh(hessian)
    keys = {"magnitude": -spectrum.abs(), "largest": -spectrum, "smallest": spectrum}
    truth = spectrum[keys[end].argsort()][:4].tolist()
    found = top_eigenvalues(objective, k=4, end=end, tolerance=1e-4)
    assert found.converged
    assert found.details["eigenvalues"] == pytest.approx(truth, rel=1e-4)
    assert found.value == pytest.approx(truth[0], rel=1e-4)


def test_lanczos_and_power_iteration_agree_and_lanczos_spends_less(
    case: tuple[Objective, torch.Tensor],
) -> None:
    objective, _ = case
    power, lanczos = (dominant_eigenvalue(objective, method=method) for method in ("power", "lanczos"))
    assert lanczos.converged
    assert lanczos.value == pytest.approx(power.value, rel=1e-4)
    assert lanczos.details["iterations"] < power.details["iterations"]


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_layer_traces_are_those_of_the_diagonal_blocks(activation: type[nn.Module]) -> None:
    objective, hessian = problems.tiny_case(activation)
    found = layer_traces(objective, tolerance=0.05)
    errors = found.details["standard_errors"] or dict.fromkeys(objective.layout.names, 0.0)
    for name, part in objective.layout.named(hessian.diag()).items():
        doubt = 4 * errors[name] + 1e-12
        assert abs(found.details["layers"][name] - float(part.sum())) <= doubt, name
    assert found.value == pytest.approx(sum(found.details["layers"].values()))
    assert hessian_trace(objective, tolerance=0.05).cost.products == 0


def test_the_mean_of_the_density_is_the_trace_over_n(case: tuple[Objective, torch.Tensor]) -> None:
    objective, hessian = case
    found = spectral_density(objective, probes=10, steps=30)
    assert found.standard_error is not None
    truth = float(hessian.trace()) / objective.dimension
    assert abs(found.value - truth) <= 4 * found.standard_error
    grid, density = torch.tensor(found.details["grid"]), torch.tensor(found.details["density"])
    assert float(torch.trapezoid(density, grid)) == pytest.approx(1.0, abs=0.02)
    assert math.isfinite(max(found.details["density_error"]))
