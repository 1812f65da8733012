"""Focal-SAM: the rule and the three gradients of the authors' code in numpy, its ends, and what it needs."""

import numpy as np
import pytest
import torch
from optim.battery import batch, closure, mlp, sgd, weights
from optim.numpy_network import LR, MOMENTUM, STEPS, WEIGHT_DECAY, loss_and_gradient
from optim.twins import end, same
from torch import nn

from landscape.errors import UsageError
from landscape.optim import ERM, SAM, BatchClosure, FocalSAM

RHO, GAMMA, LAM, COUNTS = 0.3, 2.0, 0.6, (60, 30, 10)
SHARES = np.array(COUNTS) / sum(COUNTS)


def weighted(theta: np.ndarray, x: np.ndarray, y: np.ndarray, each: np.ndarray) -> np.ndarray:
    """The gradient of (1/B) Σ cᵢ ℓᵢ, from those of single examples."""
    rows = [c * loss_and_gradient(theta, x[i : i + 1], y[i : i + 1])[1] for i, c in enumerate(each)]
    return np.mean(rows, axis=0)


def test_twenty_steps_agree_with_the_authors_three_gradients_in_numpy() -> None:
    model = mlp()
    theta = weights(model).numpy()
    base = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    optimizer = FocalSAM(base, class_counts=COUNTS, rho=RHO, gamma=GAMMA, lam=LAM)
    velocity = np.zeros_like(theta)
    for number in range(STEPS):
        x, y = (t.numpy() for t in batch(seed=number))
        optimizer.step(closure(optimizer, model, seed=number))
        c = LAM * (1 - SHARES[y]) ** GAMMA
        first, second = weighted(theta, x, y, 1 - c), weighted(theta, x, y, c)
        d = first + weighted(theta + RHO * second / np.linalg.norm(second), x, y, c)
        velocity = MOMENTUM * velocity + d + WEIGHT_DECAY * theta
        theta = theta - LR * velocity
    np.testing.assert_allclose(weights(model).numpy(), theta, rtol=0, atol=1e-10)
    assert np.linalg.norm(theta - weights(mlp()).numpy()) > 1.0


def focal(base: torch.optim.Optimizer, **options: float) -> FocalSAM:
    return FocalSAM(base, class_counts=COUNTS, rho=0.1, **options)


def test_with_classes_that_count_alike_it_is_sam_and_without_weight_its_base() -> None:
    assert same(end(lambda b: focal(b, gamma=0.0, lam=1.0)), end(lambda b: SAM(b, rho=0.1)))
    assert same(end(lambda b: focal(b, lam=0.0)), end(ERM))
    for other in (ERM, lambda b: SAM(b, rho=0.1)):
        assert not same(end(lambda b: focal(b, lam=1.0)), end(other))


def test_a_step_takes_three_gradients_and_reports_the_loss_of_the_batch() -> None:
    model = mlp()
    optimizer = focal(sgd(model))
    x, y = batch()
    expected = nn.functional.cross_entropy(model(x), y)
    assert torch.allclose(optimizer.step(closure(optimizer, model)), expected)
    assert optimizer.gradient_evaluations == 3


@pytest.mark.parametrize("counts", [None, [], [0, 0], [3, -1, 2]])
def test_counts_that_say_nothing_are_refused(counts: list[int] | None) -> None:
    with pytest.raises(UsageError, match=r"number of training examples of each class; pass class_counts"):
        FocalSAM(sgd(mlp()), class_counts=counts)


def test_targets_that_are_no_classes_are_refused() -> None:
    model = mlp()
    x, _ = batch()
    loss = lambda outputs, targets: (outputs - targets).square().mean(1)
    with pytest.raises(UsageError, match=r"got torch\.float64 of shape \(16, 3\)"):
        focal(sgd(model)).step(BatchClosure(model, loss, inputs=x, targets=torch.zeros(16, 3).double()))
