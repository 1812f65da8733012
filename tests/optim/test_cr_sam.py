"""CR-SAM: published values in both modes, the rules in numpy, quadratics, and logarithms that do not exist."""

import numpy as np
import pytest
import torch
from optim import fixture_function
from optim.battery import Watch, closure, mlp, sgd, weights
from optim.numpy_network import Loss, assert_same_run
from torch import Tensor

from landscape.optim import CRSAM, SAM

RHO, ALPHA, BETA = 0.1, 0.5, 0.1


def linear(w: np.ndarray, loss: Loss) -> np.ndarray:
    g = loss(w)[1]
    v = RHO * g / np.linalg.norm(g)
    plus, minus = loss(w + v)[1], loss(w - v)[1]
    return plus + ALPHA * (plus + minus - 2 * g) + BETA * (plus - minus)


def log(w: np.ndarray, loss: Loss) -> np.ndarray:
    here, g = loss(w)
    v = RHO * g / np.linalg.norm(g)
    (up, plus), (down, minus) = loss(w + v), loss(w - v)
    d = plus
    if up + down - 2 * here > 1e-6 * max(1, here):
        d = d + 1e-3 * (plus + minus - 2 * g) / (up + down - 2 * here)
    return d + 1e-3 * (plus - minus) / (up - down)


def test_twenty_steps_agree_with_the_rule_in_numpy() -> None:
    assert_same_run(lambda model, base: CRSAM(base, model=model, rho=RHO, alpha=ALPHA, beta=BETA), linear)


def test_twenty_steps_with_logarithms_agree_with_the_rule_in_numpy() -> None:
    assert_same_run(lambda model, base: CRSAM(base, rho=RHO, alpha=1e-3, beta=1e-3, mode="log"), log)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("linear", (2.1211066986, -2.1304313584, 2.2686101787)),
        ("log", (2.2875608441, -2.1934673853, 2.2929979708)),
    ],
)
def test_direction_at_the_fixture_is_the_published_one(
    mode: str, expected: tuple[float, float, float]
) -> None:
    handed, optimizer = fixture_function.step(
        lambda base: CRSAM(base, rho=0.1, alpha=0.5, beta=0.1, mode=mode)
    )
    assert fixture_function.close(handed, expected)
    here, up, down = (loss.item() for loss in optimizer.losses)
    assert up + down - 2 * here == pytest.approx(0.0470313653, abs=1e-9)
    assert up - down == pytest.approx(0.6374527081, abs=1e-9)


def test_without_regulariser_it_is_sam() -> None:
    models = [mlp(), mlp()]
    optimizers = [CRSAM(sgd(models[0]), rho=0.1, alpha=0.0, beta=0.0), SAM(sgd(models[1]), rho=0.1)]
    for number in range(5):
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.step(closure(optimizer, model, seed=number))
    torch.testing.assert_close(weights(models[0]), weights(models[1]), rtol=1e-12, atol=1e-14)


def _on_quadratic(h: list[float], start: list[float], **options: object) -> tuple[Tensor, CRSAM]:
    """One step on ½ wᵀ diag(h) w: the direction, and the optimizer."""
    hessian = torch.tensor(h, dtype=torch.float64)
    w = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = CRSAM(torch.optim.SGD([w], lr=0.1), rho=0.1, **options)  # type: ignore[arg-type]

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        loss = 0.5 * (hessian * w**2).sum()
        loss.backward()
        return loss

    optimizer.step(evaluate)
    assert w.grad is not None
    return w.grad, optimizer


@pytest.mark.parametrize("alpha", [0.0, 0.5, 3.0])
def test_on_a_quadratic_it_is_a_gradient_norm_penalty_whatever_alpha(alpha: float) -> None:
    h, start = [1.0, 4.0, 9.0], [1.0, -0.5, 0.25]
    d, optimizer = _on_quadratic(h, start, alpha=alpha, beta=0.3)
    hessian, w = torch.tensor(h).double(), torch.tensor(start).double()
    g = hessian * w
    v = g / g.norm()
    torch.testing.assert_close(d, g + (1 + 2 * 0.3) * 0.1 * hessian * v, rtol=1e-11, atol=1e-12)
    here, up, down = optimizer.losses
    torch.testing.assert_close(up + down - 2 * here, 0.1**2 * v @ (hessian * v), rtol=1e-9, atol=0)


@pytest.mark.parametrize(("policy", "terms"), [("drop", 0.0), ("floor", 1e6), ("abs", None)])
def test_where_the_curvature_is_not_positive_the_policy_decides(policy: str, terms: float | None) -> None:
    optimizer = CRSAM(sgd(mlp()), alpha=1.0, beta=1.0, mode="log", log_policy=policy)
    alpha, beta = optimizer._coefficients(list(torch.tensor([0.5, 0.6, 0.3], dtype=torch.float64)))
    assert float(alpha) == pytest.approx(-1 / 0.1 if terms is None else terms)
    assert float(beta) == pytest.approx(1 / 0.3)


@pytest.mark.parametrize("policy", ["drop", "floor", "abs"])
def test_a_zero_gradient_gives_no_nan(policy: str) -> None:
    d, optimizer = _on_quadratic([1.0, 2.0], [0.0, 0.0], mode="log", log_policy=policy)
    assert torch.equal(d, torch.zeros(2, dtype=torch.float64))
    assert optimizer.skipped_steps == 0


def test_second_and_third_pass_are_opposite_each_other() -> None:
    model = mlp()
    optimizer = CRSAM(sgd(model), rho=0.1)
    watch = Watch(closure(optimizer, model), model)
    optimizer.step(watch)
    up, down = watch.displacements
    torch.testing.assert_close(up, -down, rtol=0, atol=1e-15)
