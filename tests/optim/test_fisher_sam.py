"""FisherSAM: the published value, the ellipsoid, and SAM without the Fisher information."""

import pytest
import torch
from optim import fixture_function
from optim.battery import Watch, closure, direction, mlp, sgd, weights

from landscape.errors import UsageError
from landscape.optim import SAM, FisherSAM


def test_direction_at_the_fixture_is_the_published_one() -> None:
    handed, _ = fixture_function.step(lambda base: FisherSAM(base, rho=0.1, eta=1.0))
    assert fixture_function.close(handed, (1.9647474938, -1.9700069523, 1.9835363698))


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_displacement_is_on_the_ellipsoid_and_the_worst_of_it(scale: float) -> None:
    model = mlp()
    optimizer = FisherSAM(sgd(model), rho=0.3, eta=2.0)
    watch = Watch(closure(optimizer, model, scale=scale), model)
    watch()
    g = direction(model)
    watch.points.clear()
    optimizer.step(watch)
    e, f = watch.displacements[0], 1 + 2.0 * g**2
    assert (e @ (f * e)).item() == pytest.approx(0.3**2, rel=1e-9)
    assert (g @ e).item() == pytest.approx(0.3 * (g @ (g / f)).sqrt().item(), rel=1e-9)


def test_without_fisher_information_it_is_sam() -> None:
    models = [mlp(), mlp()]
    optimizers = [FisherSAM(sgd(models[0]), rho=0.1, eta=0.0), SAM(sgd(models[1]), rho=0.1)]
    for number in range(5):
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.step(closure(optimizer, model, seed=number))
    torch.testing.assert_close(weights(models[0]), weights(models[1]), rtol=1e-12, atol=1e-13)


def test_a_negative_eta_is_refused() -> None:
    with pytest.raises(UsageError, match="eta=-1 is not allowed"):
        FisherSAM(sgd(mlp()), eta=-1)
