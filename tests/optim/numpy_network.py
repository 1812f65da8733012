"""A small network, its gradient and SGD written out in numpy: the published rules are re-typed against it."""

from collections.abc import Callable

import numpy as np
import torch
from optim.battery import batch, closure, mlp, weights

from landscape.optim import SharpnessAware

Loss = Callable[[np.ndarray], tuple[float, np.ndarray]]
Rule = Callable[[np.ndarray, Loss], np.ndarray]
STEPS, LR, MOMENTUM, WEIGHT_DECAY = 20, 0.1, 0.9, 5e-4


def loss_and_gradient(theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean cross-entropy of softmax(W₂ tanh(W₁x + b₁) + b₂) and its gradient; θ = (W₁, b₁, W₂, b₂)."""
    w1, b1 = theta[:20].reshape(5, 4), theta[20:25]
    w2, b2 = theta[25:40].reshape(3, 5), theta[40:]
    hidden = np.tanh(x @ w1.T + b1)
    scores = hidden @ w2.T + b2
    scores = scores - scores.max(1, keepdims=True)
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    rows = np.arange(len(y))
    loss = -np.log(p[rows, y]).mean()
    p[rows, y] -= 1.0
    d2 = p / len(y)
    d1 = (d2 @ w2) * (1.0 - hidden**2)
    return loss, np.concatenate([(d1.T @ x).ravel(), d1.sum(0), (d2.T @ hidden).ravel(), d2.sum(0)])


def assert_same_run(
    make: Callable[[torch.nn.Module, torch.optim.Optimizer], SharpnessAware],
    rule: Rule,
    *,
    reported: Callable[[np.ndarray, Loss], float] = lambda w, loss: loss(w)[0],
    moved: float = 1.0,
) -> None:
    """Twenty steps of the optimizer over SGD end where the rule ends, at least so far away, to 1e-10."""
    model = mlp()
    theta = weights(model).numpy()
    base = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    optimizer = make(model, base)
    velocity = np.zeros_like(theta)
    for number in range(STEPS):
        x, y = (t.numpy() for t in batch(seed=number))
        evaluate = lambda at, x=x, y=y: loss_and_gradient(at, x, y)
        loss = optimizer.step(closure(optimizer, model, seed=number))
        np.testing.assert_allclose(loss.item(), reported(theta, evaluate), rtol=1e-10)
        velocity = MOMENTUM * velocity + rule(theta, evaluate) + WEIGHT_DECAY * theta
        theta = theta - LR * velocity
    np.testing.assert_allclose(weights(model).numpy(), theta, rtol=0, atol=1e-10)
    assert np.linalg.norm(theta - weights(mlp()).numpy()) > moved
