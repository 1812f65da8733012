"""Functional-SAM: the rule in numpy, SAM where the loss is linear in the outputs, and what it cannot do."""

import numpy as np
import pytest
import torch
from optim.battery import batch, closure, direction, mlp, sgd, weights
from optim.numpy_network import LR, MOMENTUM, STEPS, WEIGHT_DECAY, loss_and_gradient
from torch import nn

from landscape.errors import UsageError
from landscape.optim import SAM, BatchClosure, FunctionalSAM, MicroBatches

RHO = 0.5


def hidden_and_slope(theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The hidden layer, and the slope of the mean cross-entropy in the scores."""
    hidden = np.tanh(x @ theta[:20].reshape(5, 4).T + theta[20:25])
    scores = hidden @ theta[25:40].reshape(3, 5).T + theta[40:]
    p = np.exp(scores - scores.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(len(y)), y] -= 1.0
    return hidden, p / len(y)


def pulled_back(theta: np.ndarray, x: np.ndarray, y: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """The gradient in the weights of ⟨slope, scores⟩."""
    hidden = hidden_and_slope(theta, x, y)[0]
    inner = (slope @ theta[25:40].reshape(3, 5)) * (1.0 - hidden**2)
    return np.concatenate([(inner.T @ x).ravel(), inner.sum(0), (slope.T @ hidden).ravel(), slope.sum(0)])


def test_twenty_steps_agree_with_the_rule_in_numpy() -> None:
    model = mlp()
    theta = weights(model).numpy()
    optimizer = FunctionalSAM(
        torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY), rho=RHO
    )
    velocity, apart = np.zeros_like(theta), []
    for number in range(STEPS):
        x, y = (t.numpy() for t in batch(seed=number))
        optimizer.step(closure(optimizer, model, seed=number))
        g = loss_and_gradient(theta, x, y)[1]
        np.testing.assert_allclose(pulled_back(theta, x, y, hidden_and_slope(theta, x, y)[1]), g, atol=1e-12)
        there = theta + RHO * g / np.linalg.norm(g)
        d = pulled_back(there, x, y, hidden_and_slope(theta, x, y)[1])
        apart.append(np.linalg.norm(d - loss_and_gradient(there, x, y)[1]))
        velocity = MOMENTUM * velocity + d + WEIGHT_DECAY * theta
        theta = theta - LR * velocity
    np.testing.assert_allclose(weights(model).numpy(), theta, rtol=0, atol=1e-10)
    assert min(apart) > 1e-2  # from SAM


@pytest.mark.parametrize("kind", ["linear", "cross-entropy"])
def test_where_the_loss_is_linear_in_the_outputs_it_is_sam(kind: str) -> None:
    ends = []
    for make in (FunctionalSAM, SAM):
        model = mlp(nn.Dropout(0.3))
        optimizer = make(sgd(model), rho=RHO)
        x, y = batch()
        linear = lambda outputs, targets: outputs.gather(1, targets[:, None])[:, 0]
        loss = linear if kind == "linear" else nn.CrossEntropyLoss(reduction="none")
        torch.manual_seed(3)
        for _ in range(5):
            optimizer.step(BatchClosure(model, loss, inputs=x, targets=y))
        ends.append(weights(model))
    assert torch.allclose(*ends, rtol=1e-10, atol=1e-12) == (kind == "linear")


def test_with_radius_zero_it_is_the_gradient_for_outputs_of_more_dimensions_too() -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 6).double()
    x, y = torch.randn(5, 4, dtype=torch.float64), torch.randint(0, 3, (5, 2))
    shaped = nn.Sequential(model, nn.Unflatten(1, (3, 2)))
    loss = lambda outputs, targets: nn.functional.cross_entropy(outputs, targets, reduction="none").mean(1)
    optimizer = FunctionalSAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.0)
    optimizer.step(BatchClosure(shaped, loss, inputs=x, targets=y))
    handed = direction(model)
    torch.manual_seed(0)
    twin = nn.Linear(4, 6).double()
    loss(twin(x).unflatten(1, (3, 2)), y).mean().backward()
    torch.testing.assert_close(handed, direction(twin), rtol=1e-12, atol=1e-14)


def test_micro_batches_and_options_out_of_range_are_refused() -> None:
    model = mlp()
    x, y = batch()
    optimizer = FunctionalSAM(sgd(model))
    loss = nn.CrossEntropyLoss(reduction="none")
    with pytest.raises(UsageError, match="cannot be accumulated"):
        optimizer.step(MicroBatches(model, loss, size=4, inputs=x, targets=y))
    with pytest.raises(UsageError, match="rho=-1"):
        FunctionalSAM(sgd(model), rho=-1.0)
