"""Weighted gap: the gradient of its objective, the rule in numpy, and its ends and relatives."""

import numpy as np
import pytest
import torch
from optim import fixture_function
from optim.battery import batch, mlp, sgd
from optim.numpy_network import Loss, assert_same_run, loss_and_gradient
from optim.twins import end, same

from landscape.errors import UsageError
from landscape.optim import GNP, SAM, SharpnessAware, WeightedGap

RHO, LAM = 0.1, 0.6


def rule(w: np.ndarray, loss: Loss) -> np.ndarray:
    g = loss(w)[1]
    p = loss(w + RHO * g / np.linalg.norm(g))[1]
    return LAM * p + (1 - LAM) * (p - g)


def test_twenty_steps_agree_with_the_rule_in_numpy() -> None:
    assert_same_run(lambda model, base: WeightedGap(base, rho=RHO, lam=LAM), rule, moved=0.5)


def test_direction_at_the_fixture_is_that_of_the_rule() -> None:
    fixture_function.assert_is(lambda base: WeightedGap(base, rho=RHO, lam=LAM), rule)


def test_direction_is_the_slope_of_the_weighted_sum() -> None:
    """By central differences of λ f_p + (1 − λ) h with the displacement held constant."""
    w = torch.cat([p.detach().flatten() for p in mlp().parameters()]).numpy()
    x, y = (t.numpy() for t in batch())
    loss = lambda at: loss_and_gradient(at, x, y)
    g = loss(w)[1]
    displacement = RHO * g / np.linalg.norm(g)

    def weighted(at: np.ndarray) -> float:
        perturbed, here = loss(at + displacement)[0], loss(at)[0]
        return LAM * perturbed + (1 - LAM) * (perturbed - here)

    steps = 1e-5 * np.eye(len(w))
    slope = np.array([(weighted(w + step) - weighted(w - step)) / 2e-5 for step in steps])
    np.testing.assert_allclose(rule(w, loss), slope, rtol=1e-6, atol=1e-9)


def test_with_all_weight_on_the_perturbed_loss_it_is_sam_bit_for_bit() -> None:
    assert torch.equal(end(lambda b: WeightedGap(b, rho=0.1, lam=1.0)), end(lambda b: SAM(b, rho=0.1)))


def test_it_is_gnp_with_a_smaller_learning_rate() -> None:
    def gnp(base: torch.optim.Optimizer) -> SharpnessAware:
        for group in base.param_groups:
            group["lr"] *= LAM
            group["weight_decay"] /= LAM
        return GNP(base, rho=RHO, alpha=1 / LAM)

    assert same(end(lambda b: WeightedGap(b, rho=RHO, lam=LAM)), end(gnp))


@pytest.mark.parametrize("options", [{"lam": 1.1}, {"lam": -0.1}, {"rho": -1.0}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="is not allowed"):
        WeightedGap(sgd(mlp()), **options)
