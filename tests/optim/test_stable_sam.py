"""Stable-SAM: published values, the rule in numpy, and the length that it keeps."""

import numpy as np
import pytest
import torch
from optim import fixture_function
from optim.battery import closure, direction, mlp, sgd
from optim.numpy_network import Loss, assert_same_run
from torch import Tensor, nn

from landscape.errors import UsageError
from landscape.optim import ERM, SAM, StableSAM


def rule(w: np.ndarray, loss: Loss) -> np.ndarray:
    g = loss(w)[1]
    p = loss(w + 0.3 * g / np.linalg.norm(g))[1]
    return np.linalg.norm(g) / np.linalg.norm(p) * p


def test_twenty_steps_agree_with_the_rule_in_numpy() -> None:
    assert_same_run(lambda model, base: StableSAM(base, rho=0.3), rule)


def test_direction_at_the_fixture_is_the_published_one() -> None:
    handed, _ = fixture_function.step(lambda base: StableSAM(base, rho=0.1))
    assert fixture_function.close(handed, (1.8035780941, -1.8133416265, 1.8993630102))


def test_it_has_the_direction_of_sam_and_the_length_of_the_gradient() -> None:
    found = []
    for make in (StableSAM, SAM, lambda base, rho: ERM(base)):
        model = mlp()
        optimizer = make(sgd(model), rho=0.5)
        optimizer.step(closure(optimizer, model))
        found.append(direction(model))
    stable, sam, plain = found
    torch.testing.assert_close(stable / stable.norm(), sam / sam.norm(), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(stable.norm(), plain.norm(), rtol=1e-12, atol=0)
    assert abs(sam.norm() / plain.norm() - 1) > 0.01


def test_a_perturbed_gradient_of_zero_moves_nothing() -> None:
    w = nn.Parameter(torch.tensor([0.125], dtype=torch.float64))
    optimizer = StableSAM(torch.optim.SGD([w], lr=0.1), rho=0.125)

    def hill() -> Tensor:
        w.grad = None
        loss = -0.5 * (w**2).sum()
        loss.backward()
        # The ascent ends at the top, but for the 1e-12 that keeps a division by zero away.
        if len(optimizer.losses) == 1 and w.grad is not None:
            w.grad.zero_()
        return loss

    optimizer.step(hill)
    assert w.item() == 0.125
    assert (optimizer.steps, optimizer.skipped_steps) == (1, 0)


def test_a_negative_radius_is_refused() -> None:
    with pytest.raises(UsageError, match="rho must be a finite number ≥ 0"):
        StableSAM(sgd(mlp()), rho=-0.1)
