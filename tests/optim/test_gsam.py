"""GSAM: published values, the rule in numpy, its orthogonality, and the radius that follows the learning rate."""

import numpy as np
import pytest
import torch
from optim import fixture_function
from optim.battery import Watch, closure, direction, mlp, sgd, weights
from optim.numpy_network import Loss, assert_same_run

from landscape.errors import UsageError
from landscape.optim import GSAM, SAM

RHO, ALPHA = 0.1, 0.4


def rule(w: np.ndarray, loss: Loss) -> np.ndarray:
    g = loss(w)[1]
    p = loss(w + RHO * g / np.linalg.norm(g))[1]
    along = (g @ p) / (p @ p) * p
    return p - ALPHA * (g - along)


def test_twenty_steps_agree_with_the_rule_in_numpy() -> None:
    assert_same_run(lambda model, base: GSAM(base, model=model, rho=RHO, alpha=ALPHA), rule)


@pytest.mark.parametrize(
    ("adaptive", "expected"),
    [
        ("none", (2.0458144574, -2.0609493857, 2.2380453322)),
        ("abs", (2.1391807801, -1.9751203245, 1.8073043503)),
    ],
)
def test_direction_at_the_fixture_is_the_published_one(
    adaptive: str, expected: tuple[float, float, float]
) -> None:
    handed, _ = fixture_function.step(lambda base: GSAM(base, rho=0.1, alpha=0.4, adaptive=adaptive))
    assert fixture_function.close(handed, expected)


def test_adaptive_asam_without_the_gap_is_asam_without_eta() -> None:
    handed, _ = fixture_function.step(lambda base: GSAM(base, rho=0.1, alpha=0.0, adaptive="asam"))
    assert fixture_function.close(handed, (2.2405870822, -1.9521799538, 1.7454132596))


def test_without_the_gap_it_is_sam() -> None:
    models = [mlp(), mlp()]
    optimizers = [GSAM(sgd(models[0]), rho=0.1, alpha=0.0), SAM(sgd(models[1]), rho=0.1)]
    for number in range(5):
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.step(closure(optimizer, model, seed=number))
    torch.testing.assert_close(weights(models[0]), weights(models[1]), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_gap_term_is_orthogonal_to_the_perturbed_gradient(dtype: torch.dtype) -> None:
    model = mlp().to(dtype)
    optimizer = GSAM(sgd(model), rho=0.3, alpha=0.7)
    gradients: list[torch.Tensor] = []

    def evaluate() -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        optimizer.zero_grad()
        x = torch.randn(16, 4, generator=generator, dtype=dtype)
        loss = torch.nn.functional.cross_entropy(model(x), torch.arange(16) % 3)
        loss.backward()
        gradients.append(direction(model).clone())
        return loss

    optimizer.step(evaluate)
    g, p = gradients
    d = direction(model)
    orthogonal = (p - d) / 0.7
    tolerance = 1e-6 if dtype is torch.float32 else 1e-14
    assert abs(orthogonal @ p) <= tolerance * orthogonal.norm() * p.norm()
    torch.testing.assert_close(d @ p, p @ p)
    torch.testing.assert_close(d @ d, p @ p + 0.7**2 * (orthogonal @ orthogonal))
    torch.testing.assert_close(orthogonal, g - (g @ p) / (p @ p) * p, rtol=1e-3, atol=1e-6)


def _radius(optimizer: GSAM, lr: float) -> float:
    optimizer.param_groups[0]["lr"] = lr
    return optimizer.radius(optimizer.param_groups[0])


def test_radius_goes_from_its_maximum_to_its_minimum_with_the_learning_rate() -> None:
    optimizer = GSAM(sgd(mlp(), lr=0.1), rho_max=0.6, rho_min=0.2, lr_min=0.001)
    assert _radius(optimizer, 0.1) == pytest.approx(0.6)
    assert _radius(optimizer, 0.001) == pytest.approx(0.2)
    assert _radius(optimizer, 0.0505) == pytest.approx(0.4)


def test_radius_is_never_negative_in_a_warm_up_from_zero() -> None:
    optimizer = GSAM(sgd(mlp(), lr=3e-3), rho_max=0.6, rho_min=0.0, lr_min=3e-5)
    assert _radius(optimizer, 0.0) == 0.0
    assert all(_radius(optimizer, lr) >= 0.0 for lr in np.linspace(0.0, 6e-3, 50))


def test_radius_is_the_maximum_where_the_learning_rate_cannot_change() -> None:
    optimizer = GSAM(sgd(mlp(), lr=0.1), rho_max=0.6, rho_min=0.1, lr_max=0.1, lr_min=0.1)
    assert _radius(optimizer, 0.1) == 0.6


def test_the_step_uses_the_radius_of_its_own_learning_rate() -> None:
    model = mlp()
    optimizer = GSAM(sgd(model, lr=0.1), rho_max=0.4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: (1.0, 0.5, 0.25)[epoch])
    lengths = []
    for _ in range(3):
        watch = Watch(closure(optimizer, model), model)
        optimizer.step(watch)
        schedule.step() if len(lengths) < 2 else None
        lengths.append(watch.displacements[0].norm().item())
    assert lengths == pytest.approx([0.4, 0.2, 0.1], rel=1e-9)


def test_the_highest_learning_rate_is_the_one_a_scheduler_started_from() -> None:
    base = sgd(mlp(), lr=0.1)
    torch.optim.lr_scheduler.LambdaLR(base, lambda epoch: 0.01)
    optimizer = GSAM(base, rho_max=0.5)
    assert optimizer.radius(base.param_groups[0]) == pytest.approx(0.005)


def test_options_of_the_moving_radius_are_refused_without_it() -> None:
    with pytest.raises(UsageError, match="give rho_max too"):
        GSAM(sgd(mlp()), rho_min=0.01)
