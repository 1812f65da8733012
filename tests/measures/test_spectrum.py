"""Measures of the spectrum against the dense Hessian."""

import math
from pathlib import Path

import problems
import pytest
import torch
from torch import nn

from landscape.curvature import dominant_eigenpair, eigenpairs
from landscape.measures import (
    MEASURES,
    dominant_eigenvalue,
    hessian_trace,
    layer_eigenvalues,
    layer_traces,
    measure,
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


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 12), nn.ReLU(), nn.Linear(12, 4)],
        [nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 4)],
        [nn.Linear(8, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 4)],
        [nn.Unflatten(1, (1, 8)), nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 4)],
    ],
)
def test_the_default_and_power_iteration_hold_the_same_number_where_power_iteration_is_slow(
    layers: list[nn.Module],
) -> None:
    """Weights without training have many eigenvalues near the first, so that power iteration takes long."""
    model = problems.network(*layers, seed=2)
    objective = Objective(model, nn.CrossEntropyLoss(), [problems.classification(60)])
    auto = dominant_eigenvalue(objective)
    power = dominant_eigenvalue(objective, method="power", max_iterations=1000)
    assert auto.settings["method"] == "auto"
    assert auto.converged
    assert power.converged
    # Each is within its residual of an eigenvalue, and much nearer where that is apart from the others.
    assert auto.value == pytest.approx(power.value, rel=1e-4)
    assert 2 * auto.details["iterations"] < power.details["iterations"]


def test_the_default_converges_where_two_eigenvalues_differ_in_sign_alone() -> None:
    """Powers keep the share of both vectors for ever; a Krylov space tells them apart."""
    rest = torch.linspace(-1, 1, 40).tolist()
    objective, _ = problems.quadratic([5.0, -4.995, *rest])
    auto, power = (dominant_eigenvalue(objective, method=method) for method in ("auto", "power"))
    assert auto.converged
    assert auto.value == pytest.approx(5.0, rel=1e-4)
    assert not power.converged


def test_a_record_of_power_iteration_answers_for_power_iteration_alone(tmp_path: Path) -> None:
    objective, _ = problems.quadratic([4.0, 1.0, 0.5])
    records = tmp_path / "records.jsonl"
    (power,) = measure(objective, "dominant-eigenvalue:method=power", records=records)
    fresh, _ = problems.quadratic([4.0, 1.0, 0.5])
    again, default = measure(
        fresh, ["dominant-eigenvalue:method=power", "dominant-eigenvalue"], records=records
    )
    assert again == power
    assert default.settings["method"] == "auto"
    assert fresh.ledger.passes()["products"] == default.details["iterations"]


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
    found = spectral_density(objective, probes=10, steps=30, seed=1)
    assert found.standard_error is not None
    truth = float(hessian.trace()) / objective.dimension
    assert abs(found.value - truth) <= 4 * found.standard_error
    grid, density = torch.tensor(found.details["grid"]), torch.tensor(found.details["density"])
    assert float(torch.trapezoid(density, grid)) == pytest.approx(1.0, abs=0.02)
    assert math.isfinite(max(found.details["density_error"]))
    nodes, width = torch.tensor(found.details["nodes"]), found.details["width"]
    low, high = float(nodes.min()), float(nodes.max())
    assert width == pytest.approx(0.01 * (high - low))
    assert len(grid) == 201
    assert (float(grid[0]), float(grid[-1])) == pytest.approx((low - 5 * width, high + 5 * width))


def test_a_density_of_one_probe_or_of_one_eigenvalue() -> None:
    one = spectral_density(problems.quadratic([3.0, 1.0, 0.5])[0], probes=1, steps=3)
    assert (one.standard_error, one.details["density_error"]) == (None, None)
    two = spectral_density(problems.quadratic([3.0, 1.0, 0.5])[0], probes=2, steps=3)
    assert two.standard_error is not None
    assert two.details["density_error"] is not None
    single = spectral_density(problems.quadratic([3.0])[0], probes=2, steps=3)
    assert single.value == pytest.approx(3.0)
    assert single.details["width"] == pytest.approx(0.01 * 1e-30)


MATRICES = {
    "hessian": lambda objective, identity: objective.hessian_product(identity),
    "gauss-newton": lambda objective, identity: objective.gauss_newton_product(identity),
    "empirical-fisher": lambda objective, identity: outer_products(objective),
}


def outer_products(objective: Objective) -> torch.Tensor:
    """(1/N) Σ gᵢ gᵢᵀ from the gradient of every example by itself."""
    gradients = torch.stack([one.gradient for one in objective.per_example()])
    return gradients.T @ gradients / len(gradients)


@pytest.mark.parametrize("name", MATRICES)
def test_the_spectrum_of_each_matrix_is_that_of_the_dense_one(name: str) -> None:
    objective, _ = problems.tiny_case()
    dense = MATRICES[name](objective, torch.eye(objective.dimension, dtype=torch.float64))
    spectrum = torch.linalg.eigvalsh(dense)
    top = spectrum[(-spectrum.abs()).argsort()]
    for method in ("power", "lanczos"):
        found = dominant_eigenvalue(objective, operator=name, method=method, tolerance=1e-4)
        assert found.value == pytest.approx(float(top[0]), rel=1e-4)
    found = top_eigenvalues(objective, operator=name, k=3, tolerance=1e-5)
    assert found.details["eigenvalues"] == pytest.approx(top[:3].tolist(), rel=1e-5)
    density = spectral_density(objective, operator=name, probes=6, steps=30)
    assert abs(density.value - float(spectrum.mean())) <= 4 * density.standard_error
    assert max(map(max, density.details["nodes"])) == pytest.approx(float(spectrum[-1]), rel=1e-3)


def test_the_empirical_fisher_products_are_those_of_the_dense_matrix_for_other_losses_and_shapes() -> None:
    torch.manual_seed(0)
    x, targets = torch.randn(11, 8, dtype=torch.float64), torch.randn(11, 3, 2, dtype=torch.float64)
    model = problems.network(nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 6), nn.Unflatten(1, (3, 2)))
    objective = Objective(model, nn.MSELoss(), problems.batches(x, targets, 4))
    identity = torch.eye(objective.dimension, dtype=torch.float64)
    assert torch.allclose(objective.empirical_fisher_product(identity), outer_products(objective), atol=1e-14)


def test_the_vectors_of_a_measure_cost_nothing_more() -> None:
    objective, hessian = problems.tiny_case()
    found = top_eigenvalues(objective, k=3, tolerance=1e-5)
    spent = objective.ledger.passes()
    pairs = eigenpairs(objective, k=3, tolerance=1e-5)
    assert objective.ledger.passes() == spent
    assert pairs.values.tolist() == found.details["eigenvalues"]
    assert torch.allclose(hessian @ pairs.vectors, pairs.vectors * pairs.values, atol=1e-5 * found.value)


@pytest.mark.parametrize("method", ["power", "auto"])
def test_a_suggested_start_is_cheaper_and_agrees(method: str) -> None:
    objective, _ = problems.tiny_case()
    value = dominant_eigenvalue(objective, method=method)
    spent = objective.ledger.passes()
    pair = dominant_eigenpair(objective, **value.settings)
    assert objective.ledger.passes() == spent  # the vector of a measure costs nothing more
    assert (pair.value, pair.iterations) == (value.value, value.details["iterations"])
    nearby = objective.at(objective.point + 0.01 * torch.ones_like(objective.point))
    expected = dominant_eigenvalue(nearby, method=method)
    found = dominant_eigenvalue(nearby, method=method, start=pair.vector)
    assert (expected.settings, found.settings) == (value.settings, value.settings)
    assert found.details["start"] == "suggested"
    assert found.details["iterations"] < expected.details["iterations"]
    assert abs(found.value - expected.value) <= found.details["residual"] + expected.details["residual"]


def test_a_suggested_start_serves_several_eigenvalues() -> None:
    objective, hessian = problems.tiny_case()
    vectors = eigenpairs(objective, k=1, tolerance=1e-5).vectors
    found = MEASURES.build("top-eigenvalues:k=2,tolerance=1e-5", objective, start=vectors[:, 0])
    spectrum = torch.linalg.eigvalsh(hessian)
    truth = spectrum[(-spectrum.abs()).argsort()][:2].tolist()
    assert found.details["eigenvalues"] == pytest.approx(truth, rel=1e-5)
    assert "start" not in MEASURES["top-eigenvalues"].options


def test_layer_eigenvalues_are_those_of_the_diagonal_blocks() -> None:
    objective, hessian = problems.tiny_case()
    found = layer_eigenvalues(objective, tolerance=1e-5)
    assert found.converged
    for entry in objective.layout.entries:
        rows = slice(entry.offset, entry.offset + entry.size)
        spectrum = torch.linalg.eigvalsh(hessian[rows, rows])
        truth = float(spectrum[spectrum.abs().argmax()])
        assert found.details["layers"][entry.name] == pytest.approx(truth, rel=1e-6), entry.name
    assert found.value == max(found.details["layers"].values(), key=abs)


def test_hutch_plus_plus_as_a_method_is_within_its_error() -> None:
    objective, hessian = problems.tiny_case()
    found = hessian_trace(objective, method="hutch++", tolerance=0.02)
    assert found.details["method"] == "hutch++"
    assert found.converged
    assert abs(found.value - float(hessian.trace())) <= 4 * found.standard_error


def test_repeated_eigenvalues_are_found_as_often_as_they_occur() -> None:
    """Squared error of C outputs of a linear network: every eigenvalue of XᵀX occurs C times."""
    torch.manual_seed(0)
    x = torch.randn(50, 6, dtype=torch.float64) * torch.linspace(1, 0.3, 6)
    network = problems.network(nn.Linear(6, 4))
    objective = Objective(network, nn.MSELoss(), [(x, torch.randn(50, 4, dtype=torch.float64))])
    features = torch.cat([x, torch.ones(50, 1, dtype=torch.float64)], dim=1)
    once = torch.linalg.eigvalsh(2 / 4 * features.T @ features / 50).flip(0)
    truth = once.repeat_interleave(4)[:6].tolist()
    found = top_eigenvalues(objective, k=6, tolerance=1e-5)
    assert found.converged
    assert found.details["multiplicity_confirmed"]
    assert found.details["eigenvalues"] == pytest.approx(truth, rel=1e-6)


def test_the_mean_of_a_density_is_the_mean_eigenvalue(case: tuple[Objective, torch.Tensor]) -> None:
    objective, hessian = case
    density = spectral_density(objective, probes=64, steps=8)
    truth = float(hessian.trace()) / len(hessian)
    assert density.standard_error is not None
    assert abs(density.value - truth) < 4 * density.standard_error
    assert density.standard_error < 0.2 * abs(truth) + 0.2 * float(hessian.abs().max())
