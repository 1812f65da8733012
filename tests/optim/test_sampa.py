"""SAMPa: its rule in numpy, its two points, and the reductions that follow from the formula."""

import numpy as np
import pytest
import torch
from optim.battery import Watch, closure, direction, mlp, sgd, weights
from optim.numpy_network import LR, Loss, assert_same_run

from landscape.errors import UsageError
from landscape.optim import ERM, SAMPa

RHO, LAM = 0.1, 0.2


class Rule:
    """The rule with the gradient it keeps."""

    def __init__(self) -> None:
        self.g: np.ndarray | None = None

    def ahead(self, w: np.ndarray) -> np.ndarray:
        return w if self.g is None else w - LR * self.g

    def __call__(self, w: np.ndarray, loss: Loss) -> np.ndarray:
        at_y = loss(self.ahead(w))[1]
        g = at_y if self.g is None else self.g
        self.g = at_y
        return (1 - LAM) * loss(w + RHO * g / np.linalg.norm(g))[1] + LAM * at_y


def test_twenty_steps_agree_with_the_rule_in_numpy() -> None:
    assert_same_run(
        lambda model, base: SAMPa(base, rho=RHO, lam=LAM),
        rule := Rule(),
        reported=lambda w, loss: loss(rule.ahead(w))[0],
    )


def test_pass_one_is_where_a_plain_step_leads_and_pass_two_along_the_gradient_kept() -> None:
    model = mlp()
    optimizer = SAMPa(sgd(model), rho=0.3)
    optimizer.step(closure(optimizer, model))
    g, before = optimizer.memory["gradient"], weights(model)
    watch = Watch(closure(optimizer, model, seed=4), model)
    optimizer.step(watch)
    torch.testing.assert_close(watch.points[0] - before, -0.1 * g, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(watch.points[1] - before, 0.3 * g / g.norm(), rtol=1e-9, atol=1e-12)


def test_groups_look_ahead_with_their_own_learning_rate_and_those_not_perturbed_stay() -> None:
    model = mlp()
    groups = [
        {"params": model[0].parameters(), "perturb": False},
        {"params": model[2].parameters(), "lr": 0.5},
    ]
    optimizer = SAMPa(torch.optim.SGD(groups, lr=0.1))
    optimizer.step(closure(optimizer, model))
    g, before = optimizer.memory["gradient"], weights(model)
    watch = Watch(closure(optimizer, model), model)
    optimizer.step(watch)
    assert all(torch.equal(point[:25], before[:25]) for point in watch.points)
    torch.testing.assert_close(watch.points[0][25:] - before[25:], -0.5 * g[25:], rtol=1e-9, atol=1e-12)


def test_with_all_the_weight_at_y_the_radius_does_not_matter() -> None:
    ends = []
    for rho in (0.0, 0.5):
        model = mlp()
        optimizer = SAMPa(sgd(model), rho=rho, lam=1.0)
        for number in range(4):
            optimizer.step(closure(optimizer, model, seed=number))
        ends.append(weights(model))
    assert torch.equal(*ends)


def test_with_neither_radius_nor_weight_at_y_it_is_its_base() -> None:
    models = [mlp(), mlp()]
    optimizers = [SAMPa(sgd(models[0]), rho=0.0, lam=0.0), ERM(sgd(models[1]))]
    for number in range(5):
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.step(closure(optimizer, model, seed=number))
    torch.testing.assert_close(weights(models[0]), weights(models[1]), rtol=1e-12, atol=1e-14)


def test_the_direction_is_between_the_gradients_of_its_two_points() -> None:
    model = mlp()
    optimizer = SAMPa(sgd(model), rho=0.3, lam=0.25)
    optimizer.step(closure(optimizer, model))
    gradients: list[torch.Tensor] = []
    optimizer.step(Watch(closure(optimizer, model), model, lambda _: gradients.append(direction(model))))
    torch.testing.assert_close(direction(model), 0.25 * gradients[0] + 0.75 * gradients[1])


@pytest.mark.parametrize("lam", [-0.1, 1.1])
def test_a_weight_out_of_range_is_refused(lam: float) -> None:
    with pytest.raises(UsageError, match=r"lam=.* is not allowed: .* ≥ 0 and ≤ 1"):
        SAMPa(sgd(mlp()), lam=lam)
