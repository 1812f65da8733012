"""Lookbehind-SAM: the authors' loop of fast and slow weights in numpy, the places of the ascent, and SAM."""

import numpy as np
import pytest
import torch
from optim import fixture_function
from optim.battery import Watch, batch, closure, mlp, sgd, weights
from optim.numpy_network import Loss, assert_same_run, loss_and_gradient
from optim.twins import end, same

from landscape.errors import UsageError
from landscape.optim import SAM, LookbehindSAM

RHO, K, ALPHA, LR = 0.1, 3, 0.4, 0.1


def rule(w: np.ndarray, loss: Loss) -> np.ndarray:
    place, total = w, np.zeros_like(w)
    for _ in range(K):
        g = loss(place)[1]
        place = place + RHO * g / np.linalg.norm(g)
        total = total + loss(place)[1]
    return ALPHA * total


def test_direction_at_the_fixture_is_that_of_the_rule() -> None:
    fixture_function.assert_is(lambda base: LookbehindSAM(base, rho=RHO, k=K, alpha=ALPHA), rule)


def test_twenty_steps_agree_with_the_rule_in_numpy() -> None:
    assert_same_run(lambda model, base: LookbehindSAM(base, rho=RHO, k=K, alpha=ALPHA), rule)


def test_over_plain_descent_it_is_the_authors_loop_of_fast_and_slow_weights() -> None:
    model = mlp()
    slow = weights(model).numpy()
    optimizer = LookbehindSAM(torch.optim.SGD(model.parameters(), lr=LR), rho=RHO, k=K, alpha=ALPHA)
    for number in range(10):
        x, y = (t.numpy() for t in batch(seed=number))
        optimizer.step(closure(optimizer, model, seed=number))
        climbing, fast = slow.copy(), slow.copy()
        for _ in range(K):
            g = loss_and_gradient(climbing, x, y)[1]
            climbing += RHO * g / np.linalg.norm(g)
            fast -= LR * loss_and_gradient(climbing, x, y)[1]
        slow = ALPHA * fast + (1 - ALPHA) * slow
    np.testing.assert_allclose(weights(model).numpy(), slow, rtol=0, atol=1e-12)


def test_one_whole_step_is_sam() -> None:
    assert same(end(lambda b: LookbehindSAM(b, rho=0.1, k=1, alpha=1.0)), end(lambda b: SAM(b, rho=0.1)))


@pytest.mark.parametrize("k", [1, 4])
def test_every_place_is_rho_from_the_one_before(k: int) -> None:
    model = mlp()
    optimizer = LookbehindSAM(sgd(model), rho=0.2, k=k)
    watch = Watch(closure(optimizer, model), model)
    optimizer.step(watch)
    lengths = torch.stack(watch.points).diff(dim=0).norm(dim=1)
    assert lengths.tolist() == pytest.approx([0.2] * k, rel=1e-9)
    assert optimizer.gradient_evaluations == k + 1


@pytest.mark.parametrize("options", [{"k": 0}, {"alpha": 0.0}, {"alpha": 1.1}, {"rho": -1.0}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="is not allowed"):
        LookbehindSAM(sgd(mlp()), **options)
