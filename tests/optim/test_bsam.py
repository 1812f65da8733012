"""bSAM: the rule in numpy with the noise taken from its passes, the noise, and its limit."""

import numpy as np
import pytest
import torch
from optim.battery import Watch, batch, build, closure, in_step, mlp, weights
from optim.numpy_network import loss_and_gradient

from landscape.errors import UsageError
from landscape.optim import BSAM


def test_twenty_steps_agree_with_the_rule_in_numpy() -> None:
    rho, n, lr = 0.05, 16, 0.1
    model = mlp()
    optimizer = BSAM(torch.optim.SGD(model.parameters(), lr=lr), num_examples=n, rho=rho, beta2=0.9)
    theta = weights(model).numpy()
    m, s = np.zeros_like(theta), np.ones_like(theta)
    for number in range(20):
        x, y = (t.numpy() for t in batch(seed=number))
        watch = Watch(closure(optimizer, model, seed=number), model)
        optimizer.step(watch)
        g = loss_and_gradient(watch.points[0].numpy(), x, y)[1]
        np.testing.assert_allclose(watch.points[1].numpy(), theta + rho * g / s, rtol=0, atol=1e-10)
        ascended = loss_and_gradient(theta + rho * g / s, x, y)[1]
        m = 0.9 * m + 0.1 * (ascended + 5e-4 * theta)
        theta = theta - lr * m / s
        s = 0.9 * s + 0.1 * (np.sqrt(s) * np.abs(g) + 5e-4 + 0.1)
    np.testing.assert_allclose(weights(model).numpy(), theta, rtol=0, atol=1e-10)
    np.testing.assert_allclose(optimizer.memory["precision"].numpy(), s, rtol=1e-10)
    assert (s > 0).all()
    assert optimizer.gradient_evaluations == 40


def test_the_sample_has_the_variance_of_the_posterior() -> None:
    optimizer = BSAM(torch.optim.SGD(mlp().parameters(), lr=0.1), num_examples=100, s_init=4.0)
    draws = torch.stack([in_step(number, optimizer).first_displacement() for number in range(500)])
    # Standard deviation 1/√(100·4) = 0.05, of 21500 draws: standard error 0.5 %.
    assert draws.std().item() == pytest.approx(0.05, rel=0.02)
    assert draws.mean().item() == pytest.approx(0.0, abs=0.0015)


def test_without_radius_and_with_many_examples_it_is_deterministic() -> None:
    ends = []
    for seed in (0, 1):
        model = mlp()
        optimizer = BSAM(torch.optim.SGD(model.parameters(), lr=0.1), num_examples=10**18, rho=0.0)
        optimizer.seed = seed
        for number in range(5):
            optimizer.step(closure(optimizer, model, seed=number))
        ends.append(weights(model))
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    "option", ["rho=-1", "num_examples=0", "beta1=1", "beta2=1", "delta=-1", "damping=-1", "s_init=0"]
)
def test_bad_options_are_refused(option: str) -> None:
    with pytest.raises(UsageError, match=option.split("=")[0]):
        build(f"bsam:{option}", mlp())


def test_a_precision_that_could_vanish_is_refused() -> None:
    with pytest.raises(UsageError, match="damping"):
        build("bsam:delta=0,damping=0", mlp())
