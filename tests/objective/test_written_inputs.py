"""A network that writes to its inputs in place: every forward pass gets the data as they are; the user keeps them."""

import copy

import problems
import pytest
import torch
from problems import MEAN, SCALE, Standardised
from torch import Tensor, nn

from landscape.errors import InputError
from landscape.measures import (
    approximation_ratio,
    average_sharpness,
    dominant_eigenvalue,
    gradient_norm,
    hessian_trace,
    layer_traces,
    surrogate_gap,
)
from landscape.objective import BatchLoss, Objective

CE = nn.CrossEntropyLoss()


def networks(activation: type[nn.Module] = nn.Tanh) -> tuple[nn.Module, nn.Module]:
    """The same network twice: one that writes to its input, and one that does not."""
    body = problems.network(nn.Linear(6, 5), activation(), nn.Linear(5, 3))
    writes, keeps = (nn.Sequential(Standardised(writes=w), copy.deepcopy(body)).eval() for w in (True, False))
    return writes, keeps


def data() -> list[tuple[Tensor, Tensor]]:
    x, y = problems.classification(60, features=6, classes=3)
    return problems.batches(x, y, 25)


MEASURES = {
    "gradient-norm": gradient_norm,
    "surrogate-gap": surrogate_gap,
    "dominant-eigenvalue": dominant_eigenvalue,
    "power iteration": lambda objective: dominant_eigenvalue(objective, method="power"),
    "hessian-trace": lambda objective: hessian_trace(objective, tolerance=0.2),
    "hutchinson": lambda objective: hessian_trace(objective, method="hutchinson", tolerance=0.3),
    "layer-traces": lambda objective: layer_traces(objective, tolerance=0.2),
    "approximation-ratio": approximation_ratio,
    "average-sharpness": average_sharpness,
}


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
@pytest.mark.parametrize("name", MEASURES)
def test_a_measure_is_that_of_the_network_that_does_not_write(name: str, activation: type[nn.Module]) -> None:
    writes, keeps = networks(activation)
    given, untouched = data(), data()
    found, expected = (MEASURES[name](Objective(net, CE, given)) for net in (writes, keeps))
    assert found.value == pytest.approx(expected.value, rel=1e-9)
    assert found.details.get("method") == expected.details.get("method")
    assert (found.standard_error or 0) == pytest.approx(expected.standard_error or 0, rel=1e-6)
    assert all(
        torch.equal(a, b)
        for one, other in zip(given, untouched, strict=True)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("products", ["double-backward", "forward-over-reverse"])
def test_products_are_those_of_the_dense_hessian(products: str) -> None:
    writes, keeps = networks()
    objective = Objective(writes, CE, data(), products=products)  # type: ignore[arg-type]
    x, y = problems.classification(60, features=6, classes=3)
    _, dense = problems.dense(objective, keeps, x, y, CE)
    identity = torch.eye(objective.dimension, dtype=torch.float64)
    for _ in range(2):
        assert torch.allclose(objective.hessian_product(identity), dense, rtol=1e-8, atol=1e-10)


def test_the_other_matrices_are_those_of_the_network_that_does_not_write() -> None:
    writes, keeps = networks()
    found, expected = Objective(writes, CE, data()), Objective(keeps, CE, data())
    identity = torch.eye(found.dimension, dtype=torch.float64)
    for _ in range(2):
        assert torch.allclose(
            found.gauss_newton_product(identity), expected.gauss_newton_product(identity), rtol=1e-9
        )
        assert torch.allclose(
            found.empirical_fisher_product(identity), expected.empirical_fisher_product(identity), rtol=1e-9
        )


def test_a_loss_that_sees_the_batch_gets_a_fresh_one_each_time() -> None:
    writes, keeps = networks()
    losses = [BatchLoss(lambda net, batch: CE(net(batch["x"]), batch["y"])) for _ in range(2)]
    rows = [{"x": x, "y": y} for x, y in data()]
    found, expected = (Objective(net, loss, rows) for net, loss in zip((writes, keeps), losses, strict=True))
    ones = torch.ones(found.dimension, dtype=torch.float64)
    for _ in range(2):
        assert torch.allclose(found.hessian_product(ones), expected.hessian_product(ones), rtol=1e-9)


def test_targets_that_are_the_inputs_are_compared_as_the_network_left_them() -> None:
    body = problems.network(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 6))
    writes = nn.Sequential(Standardised(writes=True), copy.deepcopy(body))
    x, _ = problems.classification(30, features=6)
    found = Objective(writes, nn.MSELoss(), [(x, x)])
    expected = Objective(body, nn.MSELoss(), [((x - MEAN) / SCALE, (x - MEAN) / SCALE)])
    assert torch.allclose(found.gradient, expected.gradient, rtol=1e-10)
    assert gradient_norm(found).value == pytest.approx(gradient_norm(expected).value, rel=1e-10)
    assert found.loss == pytest.approx(expected.loss, rel=1e-12)


class Clamped(nn.Module):
    """Writes values that are there already in the first batch."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp_(max=2.0)


def test_a_write_that_changes_nothing_in_the_first_batch_is_noticed() -> None:
    body = problems.network(nn.Linear(6, 3))
    x, y = problems.classification(40, features=6, classes=3)
    x[:20].clamp_(max=2.0)
    x[20:, 0] = 7.0
    given = problems.batches(x, y, 20)
    objective = Objective(nn.Sequential(Clamped(), body), CE, given)
    assert objective.loss == pytest.approx(
        Objective(body, CE, problems.batches(x.clamp(max=2.0), y, 20)).loss
    )
    assert objective.notes == ["the model writes to its inputs in place: it is given copies"]
    assert float(x.max()) == 7.0


class ClampedWhereNeeded(nn.Module):
    """Writes to some batches only."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp_(max=2.0) if bool((x > 2).any()) else x


def test_a_network_that_first_writes_to_a_later_batch_is_refused() -> None:
    body = problems.network(nn.Linear(6, 3))
    x, y = problems.classification(40, features=6, classes=3)
    x[:20].clamp_(max=2.0)
    x[20:, 0] = 7.0
    objective = Objective(nn.Sequential(ClampedWhereNeeded(), body), CE, problems.batches(x, y, 20))
    with pytest.raises(
        InputError, match=r"writes to its inputs in place, but not in the first batch.*x\.clone\(\)"
    ):
        _ = objective.gradient
