"""R-SAM: the published value with a given noise, its length, its noise by filter, and SAM without noise."""

import pytest
import torch
from optim import fixture_function
from optim.battery import Watch, closure, in_step, mlp, sgd, weights
from torch import Tensor

from landscape.errors import UsageError
from landscape.optim import RSAM, SAM

NOISE = torch.tensor([0.05, -0.02, 0.01], dtype=torch.float64)


class Given(RSAM):
    """R-SAM with a noise that is known."""

    def noise(self) -> Tensor:
        return NOISE.clone()


def test_direction_at_the_fixture_is_the_published_one() -> None:
    w = torch.tensor(fixture_function.POINT, dtype=torch.float64, requires_grad=True)
    optimizer = Given(torch.optim.SGD([w], lr=1.0), rho=0.1)
    points: list[Tensor] = []

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        points.append(w.detach().clone())
        loss = fixture_function.value(w)
        loss.backward()
        return loss

    loss = optimizer.step(evaluate)
    start = torch.tensor(fixture_function.POINT, dtype=torch.float64)
    assert fixture_function.close(start - w.detach(), (2.0909713609, -2.0813702369, 2.1651557894))
    torch.testing.assert_close(points[0], start + NOISE)
    assert loss == fixture_function.value(start + NOISE)


@pytest.mark.parametrize("mode", ["combined", "smoothed"])
def test_displacement_of_the_second_pass_has_length_rho(mode: str) -> None:
    model = mlp()
    optimizer = RSAM(sgd(model), rho=0.3, sigma=0.2, mode=mode)
    before = weights(model)
    watch = Watch(closure(optimizer, model), model)
    optimizer.step(watch)
    assert (watch.points[0] - before).norm() > 0.05
    assert (watch.points[1] - before).norm().item() == pytest.approx(0.3, rel=1e-9)


def test_smoothed_goes_along_the_gradient_at_the_noisy_point() -> None:
    model = mlp()
    optimizer = RSAM(sgd(model), rho=0.3, mode="smoothed")
    before = weights(model)
    gradients: list[Tensor] = []
    watch = Watch(
        closure(optimizer, model),
        model,
        before=lambda _: gradients.append(torch.cat([p.grad.flatten().clone() for p in model.parameters()])),
    )
    optimizer.step(watch)
    expected = 0.3 * gradients[0] / gradients[0].norm()
    torch.testing.assert_close(watch.points[1] - before, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("mode", ["combined", "smoothed"])
def test_without_noise_it_is_sam(mode: str) -> None:
    models = [mlp(), mlp()]
    optimizers = [RSAM(sgd(models[0]), rho=0.1, sigma=0.0, mode=mode), SAM(sgd(models[1]), rho=0.1)]
    for number in range(5):
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.step(closure(optimizer, model, seed=number))
    torch.testing.assert_close(weights(models[0]), weights(models[1]), rtol=1e-12, atol=1e-13)


def test_noise_is_as_large_as_sigma_times_the_length_of_its_filter() -> None:
    w = torch.zeros(3, 10, 10, dtype=torch.float64)
    w[0, 0, 0], w[1, 0, 0] = 1.0, 5.0
    b = torch.zeros(400, dtype=torch.float64)
    b[7] = 2.0
    parameters = [w.requires_grad_(), b.requires_grad_()]
    optimizer = RSAM(torch.optim.SGD(parameters, lr=0.1), sigma=0.1)
    draws = torch.stack([in_step(number, optimizer).noise() for number in range(50)])
    sizes = [
        part.std().item() for part in (draws[:, :100], draws[:, 100:200], draws[:, 200:300], draws[:, 300:])
    ]
    # The standard error of a standard deviation of 5000 numbers is one percent.
    assert sizes == pytest.approx([0.1, 0.5, 0.0, 0.2], rel=0.05)
    assert abs(draws[:, :100].mean()) < 4 * 0.1 / 5000**0.5


def test_the_noise_is_the_same_in_every_run_and_another_in_every_step() -> None:
    noises = []
    for _ in range(2):
        model = mlp()
        optimizer = RSAM(sgd(model))
        noises.append([in_step(number, optimizer).noise() for number in range(2)])
    assert torch.equal(noises[0][0], noises[1][0])
    assert torch.equal(noises[0][1], noises[1][1])
    assert not torch.equal(noises[0][0], noises[0][1])


@pytest.mark.parametrize("options", [{"sigma": -0.1}, {"lam": float("nan")}, {"mode": "both"}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="is not allowed"):
        RSAM(sgd(mlp()), **options)
