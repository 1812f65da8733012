"""AdaSAM: the rule in numpy over a base that adds nothing, and its reduction to AMSGrad."""

import numpy as np
import pytest
import torch
from optim.battery import batch, build, closure, mlp, weights
from optim.numpy_network import loss_and_gradient

from landscape.errors import UsageError
from landscape.optim import AdaSAM


@pytest.mark.parametrize("rho", [0.1, 0.0])
def test_twenty_steps_agree_with_the_rule_in_numpy(rho: float) -> None:
    model = mlp()
    optimizer = AdaSAM(torch.optim.SGD(model.parameters(), lr=0.01), rho=rho, eps=1e-3)
    theta = weights(model).numpy()
    m, v, largest = np.zeros_like(theta), np.zeros_like(theta), np.full_like(theta, 1e-3**2)
    for number in range(20):
        x, y = (t.numpy() for t in batch(seed=number))
        g = loss_and_gradient(theta, x, y)[1]
        ascended = loss_and_gradient(theta + rho * g / np.linalg.norm(g), x, y)[1]
        m = 0.9 * m + 0.1 * ascended
        v = 0.999 * v + 0.001 * ascended**2
        largest = np.maximum(largest, v)
        theta = theta - 0.01 * m / np.sqrt(largest)
        optimizer.step(closure(optimizer, model, seed=number))
    np.testing.assert_allclose(weights(model).numpy(), theta, rtol=0, atol=1e-10)
    assert optimizer.gradient_evaluations == 40


def test_the_largest_mean_square_never_falls() -> None:
    model = mlp()
    optimizer = AdaSAM(torch.optim.SGD(model.parameters(), lr=0.01), beta2=0.5)
    before = torch.zeros(43, dtype=torch.float64)
    fell = False
    for number in range(10):
        optimizer.step(closure(optimizer, model, seed=number))
        largest = optimizer.memory["largest"]
        assert (largest >= before).all()
        fell = fell or bool((optimizer.memory["square"] < largest).any())
        before = largest
    assert fell


def test_a_zero_gradient_and_parameters_that_join_give_no_nan() -> None:
    model = mlp()
    optimizer = AdaSAM(torch.optim.SGD(model[2].parameters(), lr=0.01))
    optimizer.step(closure(optimizer, model))
    optimizer.add_param_group({"params": model[0].parameters()})
    optimizer.step(closure(optimizer, model, scale=0.0))
    assert (optimizer.steps, optimizer.skipped_steps) == (2, 0)
    assert torch.isfinite(weights(model)).all()


@pytest.mark.parametrize("option", ["rho=-1", "beta1=1", "beta2=-0.1", "eps=0"])
def test_bad_options_are_refused(option: str) -> None:
    with pytest.raises(UsageError, match=option.split("=")[0]):
        build(f"ada-sam:{option}", mlp())
