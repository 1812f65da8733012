"""LE-SAM: the rule and its schedule in numpy, the rise of the loss, and SAM where the radius is at its bound."""

import numpy as np
import pytest
import torch
from optim import fixture_function
from optim.battery import Watch, closure, in_step, mlp, sgd
from optim.numpy_network import STEPS, Loss, assert_same_run
from optim.twins import end, same

from landscape.errors import UsageError
from landscape.optim import LESAM, SAM

SIGMA, RHO = 0.05, 0.12


def displaced(w: np.ndarray, loss: Loss, sigma: float, rho: float = RHO) -> np.ndarray:
    g = loss(w)[1]
    size = np.linalg.norm(g)
    return loss(w + min(sigma / size, rho) * g / size)[1]


@pytest.mark.parametrize("sigma", [0.5, 5.0])  # below the bound, and at it
def test_direction_at_the_fixture_is_that_of_the_rule(sigma: float) -> None:
    fixture_function.assert_is(
        lambda base: LESAM(base, sigma=sigma, rho=0.2, total_steps=9),
        lambda w, loss: displaced(w, loss, sigma, 0.2),
    )


def test_twenty_steps_with_a_falling_rise_agree_with_the_rule_in_numpy() -> None:
    step, bounded = 0, []

    def rule(w: np.ndarray, loss: Loss) -> np.ndarray:
        nonlocal step
        sigma = SIGMA if step < 10 else SIGMA * (1 + np.cos(np.pi * (step - 10) / 9)) / 2
        bounded.append(sigma / np.linalg.norm(loss(w)[1]) > RHO)
        step += 1
        return displaced(w, loss, sigma)

    assert_same_run(
        lambda model, base: LESAM(base, sigma=SIGMA, rho=RHO, decay_from=0.5, total_steps=STEPS), rule
    )
    assert 0 < sum(bounded) < STEPS


def test_the_loss_rises_by_sigma_to_first_order() -> None:
    model = mlp()
    optimizer = LESAM(sgd(model), sigma=1e-4, total_steps=9)
    watch = Watch(closure(optimizer, model), model)
    optimizer.step(watch)
    assert (optimizer.losses[1] - optimizer.losses[0]).item() == pytest.approx(1e-4, rel=1e-2)


def test_at_its_bound_it_is_sam() -> None:
    assert same(
        end(lambda b: LESAM(b, sigma=100.0, rho=0.1, decay_from=1.0, total_steps=6)),
        end(lambda b: SAM(b, rho=0.1)),
    )


def test_the_rise_falls_to_zero_with_the_last_step_and_stays_there() -> None:
    optimizer = LESAM(sgd(mlp()), total_steps=100)
    rises = [in_step(number, optimizer).rise() for number in (0, 79, 80, 99, 150)]
    assert rises == pytest.approx([0.35, 0.35, 0.35, 0.0, 0.0])
    assert LESAM(sgd(mlp()), total_steps=1).rise() == 0.35


def test_groups_have_their_own_bound() -> None:
    model = mlp()
    groups = [{"params": model[0].parameters(), "rho": 0.2}, {"params": model[2].parameters(), "rho": 0.05}]
    optimizer = LESAM(torch.optim.SGD(groups, lr=0.1), sigma=100.0, total_steps=9)
    rho = torch.tensor([0.2] * 25 + [0.05] * 18, dtype=torch.float64)
    watch = Watch(closure(optimizer, model), model)
    optimizer.step(watch)
    assert (watch.displacements[0] / rho).norm().item() == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize("options", [{"sigma": -1.0}, {"decay_from": 1.1}, {"total_steps": 0}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="is not allowed"):
        LESAM(sgd(mlp()), **{"total_steps": 9, **options})
