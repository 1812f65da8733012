"""Friendly-SAM: published values, the authors' order in numpy, SAM without the average, and rounding noise."""

import numpy as np
import pytest
import torch
from optim import fixture_function
from optim.battery import Watch, batch, closure, mlp, sgd, weights
from optim.numpy_network import Loss, assert_same_run

from landscape.errors import UsageError
from landscape.optim import SAM, FriendlySAM

RHO, SIGMA, LAM = 0.2, 0.8, 0.6


class Authors:
    """The authors' rule with the memory it keeps: subtract the average, then update it."""

    def __init__(self) -> None:
        self.average: np.ndarray | None = None

    def __call__(self, w: np.ndarray, loss: Loss) -> np.ndarray:
        g = loss(w)[1]
        if self.average is None:
            self.average, a = g, g
        else:
            a = g - SIGMA * self.average
            self.average = LAM * self.average + (1 - LAM) * g
        return loss(w + RHO * a / np.linalg.norm(a))[1]


def test_twenty_steps_agree_with_the_rule_in_numpy() -> None:
    assert_same_run(lambda model, base: FriendlySAM(base, rho=RHO, sigma=SIGMA, lam=LAM), Authors())


@pytest.mark.parametrize("lam", [0.0, 0.6, 1.0])
def test_direction_at_the_fixture_is_the_published_one(lam: float) -> None:
    def make(base: torch.optim.Optimizer) -> FriendlySAM:
        optimizer = FriendlySAM(base, rho=0.1, sigma=1.0, lam=lam)
        optimizer.memory["average"] = torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64)
        return optimizer

    handed, optimizer = fixture_function.step(make)
    assert fixture_function.close(handed, (2.0285427604, -2.0262013301, 2.3501593827))
    g, m = np.array(fixture_function.GRADIENT), np.array([1.0, -1.0, 0.5])
    assert optimizer.memory["average"].numpy() == pytest.approx(lam * m + (1 - lam) * g)


def test_the_first_step_is_that_of_sam() -> None:
    handed, _ = fixture_function.step(lambda base: FriendlySAM(base, rho=0.1))
    assert fixture_function.close(handed, (2.0753353732, -2.0865700429, 2.1855528488))


def test_without_the_average_it_is_sam() -> None:
    models = [mlp(), mlp()]
    optimizers = [FriendlySAM(sgd(models[0]), rho=0.1, sigma=0.0), SAM(sgd(models[1]), rho=0.1)]
    for number in range(5):
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.step(closure(optimizer, model, seed=number))
    torch.testing.assert_close(weights(models[0]), weights(models[1]), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_where_the_batch_has_nothing_of_its_own_rounding_does_not_decide(dtype: torch.dtype) -> None:
    model = mlp().to(dtype)
    optimizer = FriendlySAM(sgd(model, lr=0.0), rho=0.3, lam=0.7)
    x, y = batch()

    def evaluate() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x[order].to(dtype)), y[order])
        loss.backward()
        return loss

    lengths = []
    for number in range(6):  # the same examples in another order: the same gradient but for rounding
        order = torch.randperm(16, generator=torch.Generator().manual_seed(number))
        watch = Watch(evaluate, model)
        optimizer.step(watch)
        lengths.append(watch.displacements[0].norm().item())
    assert lengths[0] == pytest.approx(0.3, rel=1e-5)
    assert max(lengths[1:]) < 0.3 / 2


def test_the_displacement_has_length_rho_where_batches_differ() -> None:
    model = mlp()
    optimizer = FriendlySAM(sgd(model), rho=0.3)
    for number in range(3):
        watch = Watch(closure(optimizer, model, seed=number), model)
        optimizer.step(watch)
        assert watch.displacements[0].norm().item() == pytest.approx(0.3, rel=1e-9)


def test_the_average_is_of_the_gradients_and_not_of_what_is_left_of_them() -> None:
    """A common port averages the modified gradient, which makes the memory depend on σ."""
    averages = []
    for sigma in (0.0, 1.0):
        w = torch.tensor(fixture_function.POINT, dtype=torch.float64, requires_grad=True)
        optimizer = FriendlySAM(torch.optim.SGD([w], lr=0.0), rho=0.1, sigma=sigma, lam=0.5)
        for scale in (1.0, 3.0):

            def evaluate(scale: float = scale, w: torch.Tensor = w) -> torch.Tensor:
                w.grad = None
                loss = scale * fixture_function.value(w)
                loss.backward()
                return loss

            optimizer.step(evaluate)
        averages.append(optimizer.memory["average"])
    torch.testing.assert_close(averages[0], averages[1])
    torch.testing.assert_close(
        averages[1], 2.0 * torch.tensor(fixture_function.GRADIENT, dtype=torch.float64)
    )


@pytest.mark.parametrize("options", [{"sigma": -1.0}, {"lam": 1.5}, {"lam": -0.1}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="is not allowed"):
        FriendlySAM(sgd(mlp()), **options)
