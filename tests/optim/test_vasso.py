"""VaSSO: the published value, its average, and SAM where nothing is averaged."""

import pytest
import torch
from optim import fixture_function
from optim.battery import Watch, closure, direction, mlp, sgd, weights

from landscape.errors import UsageError
from landscape.optim import SAM, VaSSO


def test_direction_at_the_fixture_is_the_published_one() -> None:
    def make(base: torch.optim.Optimizer) -> VaSSO:
        optimizer = VaSSO(base, rho=0.1, theta=0.9)
        optimizer.memory["average"] = torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64)
        return optimizer

    handed, _ = fixture_function.step(make)
    assert fixture_function.close(handed, (2.0778293276, -2.0898452622, 2.1753235551))


def test_the_displacement_is_along_the_average_of_all_gradients_so_far() -> None:
    model = mlp()
    optimizer = VaSSO(sgd(model), rho=0.3, theta=0.4)
    average = None
    for number in range(4):
        watch = Watch(closure(optimizer, model, seed=number), model)
        watch()
        gradient = direction(model)
        average = gradient if average is None else 0.6 * average + 0.4 * gradient
        watch.points.clear()
        optimizer.step(watch)
        torch.testing.assert_close(
            watch.displacements[0], 0.3 * average / average.norm(), rtol=1e-9, atol=1e-12
        )


def test_without_an_average_it_is_sam() -> None:
    models = [mlp(), mlp()]
    optimizers = [VaSSO(sgd(models[0]), rho=0.1, theta=1.0), SAM(sgd(models[1]), rho=0.1)]
    for number in range(5):
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.step(closure(optimizer, model, seed=number))
    torch.testing.assert_close(weights(models[0]), weights(models[1]), rtol=1e-12, atol=1e-13)


def test_with_gradients_that_do_not_change_it_is_sam() -> None:
    models = [mlp(), mlp()]
    optimizers = [VaSSO(sgd(models[0], lr=0.0), rho=0.1, theta=0.3), SAM(sgd(models[1], lr=0.0), rho=0.1)]
    for model, optimizer in zip(models, optimizers, strict=True):
        for _ in range(4):
            optimizer.step(closure(optimizer, model))
    torch.testing.assert_close(direction(models[0]), direction(models[1]), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("theta", [0.0, 1.1, -0.1, float("nan")])
def test_a_share_out_of_range_is_refused(theta: float) -> None:
    with pytest.raises(UsageError, match=r"theta=.* is not allowed"):
        VaSSO(sgd(mlp()), theta=theta)
