"""GAM: published values, the rule in numpy, its orthogonality, and SAM inside it."""

import numpy as np
import pytest
import torch
from optim import fixture_function
from optim.battery import Watch, closure, direction, mlp, sgd, weights
from optim.numpy_network import Loss, assert_same_run
from optim.twins import end, same
from torch import Tensor

from landscape.errors import UsageError
from landscape.optim import GAM, SAM

RHO, NORM_RHO, ALPHA, BETA, GAMMA = 0.05, 0.3, 0.6, 0.3, 0.2


def parts(w: np.ndarray, loss: Loss) -> tuple[np.ndarray, np.ndarray]:
    """h₊ and h₋."""
    unit = lambda x: x / np.linalg.norm(x)
    g0 = loss(w)[1]
    g1 = loss(w + RHO * unit(g0))[1]
    w2 = w + NORM_RHO * unit(g1 - g0)
    g2 = loss(w2)[1]
    g3 = loss(w2 + RHO * unit(g2))[1]
    return ALPHA * g1 + (1 - ALPHA) * g3, BETA * g0 + (1 - BETA) * g2


def rule(w: np.ndarray, loss: Loss) -> np.ndarray:
    plus, minus = parts(w, loss)
    return plus - GAMMA * (minus - (minus @ plus) / (plus @ plus) * plus)


def make(base: torch.optim.Optimizer, gamma: float = GAMMA) -> GAM:
    return GAM(base, rho=RHO, norm_rho=NORM_RHO, alpha=ALPHA, beta=BETA, gamma=gamma)


def test_twenty_steps_agree_with_the_rule_in_numpy() -> None:
    assert_same_run(lambda model, base: make(base), rule)


def test_direction_at_the_fixture_is_the_published_one() -> None:
    handed, _ = fixture_function.step(
        lambda base: GAM(base, rho=0.02, norm_rho=0.2, alpha=0.6, beta=0.5, gamma=0.03)
    )
    assert fixture_function.close(handed, (1.9939009852, -1.9943657781, 2.4316812427))


def test_the_defaults_are_those_of_the_paper_for_resnets_on_cifar_100() -> None:
    assert torch.equal(
        fixture_function.step(GAM)[0],
        fixture_function.step(
            lambda base: GAM(base, rho=0.02, norm_rho=0.2, alpha=0.6, beta=0.5, gamma=0.03)
        )[0],
    )


def test_with_the_first_ascent_alone_it_is_sam() -> None:
    sam = end(lambda b: SAM(b, rho=0.1))
    assert same(end(lambda b: GAM(b, rho=0.1, alpha=1.0, gamma=0.0)), sam)
    assert same(end(lambda b: GAM(b, rho=0.1, norm_rho=0.0, gamma=0.0)), sam)


def test_what_gamma_adds_is_orthogonal_to_the_rest() -> None:
    with_term, without = (fixture_function.step(lambda b, g=g: make(b, gamma=g))[0] for g in (GAMMA, 0.0))
    added = with_term - without
    assert abs(added @ without) <= 1e-14 * added.norm() * without.norm()
    assert added.norm() > 1e-3


def test_the_four_points_are_where_the_rule_says() -> None:
    model = mlp()
    optimizer = make(sgd(model))
    gradients: list[Tensor] = []
    watch = Watch(
        closure(optimizer, model), model, before=lambda _: gradients.append(direction(model).clone())
    )
    optimizer.step(watch)
    g0, g1, g2, _ = gradients
    first, second, third = watch.displacements
    torch.testing.assert_close(first, RHO * g0 / g0.norm(), rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(second, NORM_RHO * (g1 - g0) / (g1 - g0).norm(), rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(third - second, RHO * g2 / g2.norm(), rtol=1e-8, atol=1e-12)
    assert (optimizer.gradient_evaluations, optimizer.sam_steps) == (4, 1)


def test_a_group_with_its_own_radius_has_both_radii_in_proportion() -> None:
    model = mlp()
    groups = [{"params": model[0].parameters(), "rho": 2 * RHO}, {"params": model[2].parameters()}]
    optimizer = make(torch.optim.SGD(groups, lr=0.1))
    gradients: list[Tensor] = []
    watch = Watch(
        closure(optimizer, model), model, before=lambda _: gradients.append(direction(model).clone())
    )
    optimizer.step(watch)
    h = gradients[1] - gradients[0]
    factor = torch.ones_like(h)
    factor[:25] = 2.0
    torch.testing.assert_close(
        watch.displacements[1], factor * NORM_RHO * h / h.norm(), rtol=1e-8, atol=1e-12
    )


def test_a_gradient_that_changes_by_rounding_only_has_no_direction() -> None:
    w = torch.nn.Parameter(torch.randn(50, generator=torch.Generator().manual_seed(0)))
    optimizer = GAM(torch.optim.SGD([w], lr=0.1))
    points: list[Tensor] = []

    def nearly_linear() -> Tensor:
        w.grad = None
        points.append(w.detach().clone())
        loss = w.sum()
        loss.backward()
        assert w.grad is not None
        w.grad *= 1 + 1e-7 * (len(points) % 2)
        return loss

    optimizer.step(nearly_linear)
    assert torch.equal(points[2], points[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm_rho": -1.0}, "norm_rho must be a finite number ≥ 0"),
        ({"alpha": 1.1}, "alpha must be a finite number ≥ 0 and ≤ 1"),
        ({"beta": -0.1}, "beta must be a finite number ≥ 0 and ≤ 1"),
        ({"gamma": float("nan")}, "gamma must be a finite number ≥ 0"),
    ],
)
def test_options_outside_their_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        GAM(sgd(mlp()), **options)  # type: ignore[arg-type]


def test_without_radius_it_is_not_moved_at_all() -> None:
    model = mlp()
    optimizer = GAM(sgd(model), rho=0.0)
    watch = Watch(closure(optimizer, model), model)
    before = weights(model)
    optimizer.step(watch)
    assert all(torch.equal(point, before) for point in watch.points)
