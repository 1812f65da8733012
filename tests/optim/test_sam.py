"""SAM: published values, the rule in numpy, and what is known in closed form."""

import numpy as np
import pytest
import torch
from optim import fixture_function
from optim.battery import Watch, closure, direction, mlp, sgd, weights
from optim.numpy_network import Loss, assert_same_run
from torch import Tensor

from landscape.optim import SAM
from landscape.optim.gradients_at import GradientsAt

RHO = 0.1


def rule(w: np.ndarray, loss: Loss) -> np.ndarray:
    g = loss(w)[1]
    return loss(w + RHO * g / np.linalg.norm(g))[1]


def test_direction_at_the_fixture_is_the_published_one() -> None:
    handed, optimizer = fixture_function.step(lambda base: SAM(base, rho=0.1))
    assert fixture_function.close(handed, (2.0753353732, -2.0865700429, 2.1855528488))
    gap = optimizer.losses[1] - optimizer.losses[0]
    assert gap.item() == pytest.approx(0.3422420367, abs=1e-9)


def test_twenty_steps_agree_with_the_rule_in_numpy() -> None:
    assert_same_run(lambda model, base: SAM(base, model=model, rho=RHO), rule)


def test_displacement_has_length_rho_along_the_gradient() -> None:
    model = mlp()
    optimizer = SAM(sgd(model), rho=0.3)
    watch = Watch(closure(optimizer, model), model)
    watch()
    gradient = direction(model)
    watch.points.clear()
    optimizer.step(watch)
    torch.testing.assert_close(watch.displacements[0], 0.3 * gradient / gradient.norm())


@pytest.mark.parametrize("rho", [0.0, 0.1])
def test_direction_on_a_quadratic_is_the_closed_form(rho: float) -> None:
    hessian = torch.diag(torch.tensor([1.0, 4.0, -2.0], dtype=torch.float64))
    w = torch.tensor([1.0, -0.5, 0.25], dtype=torch.float64, requires_grad=True)
    start = w.detach().clone()
    optimizer = SAM(torch.optim.SGD([w], lr=0.1), rho=rho)

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        loss = 0.5 * w @ hessian @ w
        loss.backward()
        return loss

    optimizer.step(evaluate)
    gradient = hessian @ start
    torch.testing.assert_close(
        w.grad, hessian @ (start + rho * gradient / gradient.norm()), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("t", [0.5, 1e-3, 1e-9])
def test_gap_along_the_top_eigenvector_is_rho_sigma_t_and_half_sigma_rho_squared(t: float) -> None:
    sigma, rho = 4.0, 0.1
    w = torch.tensor([0.0, t], dtype=torch.float64, requires_grad=True)
    optimizer = SAM(torch.optim.SGD([w], lr=0.1), rho=rho)

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        loss = 0.5 * (w[0] ** 2 + sigma * w[1] ** 2)
        loss.backward()
        return loss

    optimizer.step(evaluate)
    gap = (optimizer.losses[1] - optimizer.losses[0]).item()
    # The 1e-12 in the unit vector shortens ε by that share of ‖g‖.
    assert gap == pytest.approx(rho * sigma * t + 0.5 * sigma * rho**2, rel=1e-11 / t if t < 1e-3 else 1e-9)


def test_direction_does_not_depend_on_the_units_of_the_loss_but_for_its_scale() -> None:
    displaced = []
    for scale in (1.0, 1000.0):
        model = mlp()
        optimizer = SAM(sgd(model), rho=0.1)
        watch = Watch(closure(optimizer, model, scale=scale), model)
        optimizer.step(watch)
        displaced.append(watch.displacements[0])
    torch.testing.assert_close(displaced[0], displaced[1], rtol=1e-9, atol=1e-12)


def test_a_gradient_that_a_variant_has_written_to_is_measured_again() -> None:
    class Scaled(SAM):
        def direction(self, gradients: Tensor, gradients_at: GradientsAt) -> Tensor:
            return super().direction(gradients.mul_(3), gradients_at)

    ends = []
    for variant in (SAM, Scaled):
        model = mlp()
        optimizer = variant(sgd(model), rho=0.1)
        optimizer.step(closure(optimizer, model))
        ends.append(weights(model))
    torch.testing.assert_close(*ends, rtol=1e-12, atol=1e-12)


def test_groups_have_their_own_radius_and_one_norm() -> None:
    model = mlp()
    base = torch.optim.SGD(
        [{"params": model[0].parameters(), "rho": 0.2}, {"params": model[2].parameters()}], lr=0.1
    )
    optimizer = SAM(base, rho=0.05)
    watch = Watch(closure(optimizer, model), model)
    watch()
    gradient = direction(model)
    watch.points.clear()
    optimizer.step(watch)
    rho = torch.cat([torch.full((25,), 0.2), torch.full((18,), 0.05)]).double()
    torch.testing.assert_close(watch.displacements[0], rho * gradient / gradient.norm())


def test_a_group_that_is_not_perturbed_stays_and_is_not_in_the_norm() -> None:
    model = mlp()
    base = torch.optim.SGD(
        [{"params": model[0].parameters(), "perturb": False}, {"params": model[2].parameters()}], lr=0.1
    )
    optimizer = SAM(base, rho=0.05)
    start = weights(model)
    watch = Watch(closure(optimizer, model), model)
    optimizer.step(watch)
    assert torch.equal(watch.points[1][:25], start[:25])
    assert watch.displacements[0].norm().item() == pytest.approx(0.05, rel=1e-9)
    assert not torch.equal(weights(model)[:25], start[:25])


def test_a_radius_changed_in_the_group_is_used_in_the_next_step() -> None:
    model = mlp()
    optimizer = SAM(sgd(model), rho=0.05)
    optimizer.param_groups[0]["rho"] *= 2
    watch = Watch(closure(optimizer, model), model)
    optimizer.step(watch)
    assert watch.displacements[0].norm().item() == pytest.approx(0.1, rel=1e-9)


def test_two_hundred_steps_fit_one_batch() -> None:
    model = mlp()
    optimizer = SAM(sgd(model), rho=0.05)
    evaluate = closure(optimizer, model)
    first = optimizer.step(evaluate).item()
    for _ in range(200):
        last = optimizer.step(evaluate).item()
    assert last < 0.2 * first


def test_half_precision_is_displaced_where_the_square_of_the_gradient_overflows() -> None:
    weight = torch.nn.Parameter(torch.tensor([300.0, 400.0], dtype=torch.float16))
    optimizer = SAM(torch.optim.SGD([weight], lr=1.0), rho=5.0)

    def evaluate() -> Tensor:
        loss = weight.float().square().sum() / 2
        loss.backward()
        return loss

    optimizer.step(evaluate)
    assert weight.tolist() == [-3, -4]  # w − ∇L(w + ρ∇L/‖∇L‖) with ∇L(w) = w
