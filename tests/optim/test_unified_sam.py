"""Unified SAM: the published value of USAM, the rule and its schedules in numpy, and its two ends."""

import numpy as np
import pytest
import torch
from optim import fixture_function
from optim.battery import mlp, sgd
from optim.numpy_network import Loss, assert_same_run
from optim.twins import end

from landscape.errors import UsageError
from landscape.optim import SAM, UnifiedSAM

RHO, LAM = 0.1, 0.3


def at_share(w: np.ndarray, loss: Loss, lam: float) -> np.ndarray:
    g = loss(w)[1]
    return loss(w + RHO * (1 - lam + lam / np.linalg.norm(g)) * g)[1]


def test_without_normalisation_it_is_usam_with_its_published_value() -> None:
    handed, _ = fixture_function.step(lambda base: UnifiedSAM(base, rho=0.01, lam=0.0))
    assert fixture_function.close(handed, (1.9372145996, -1.9419216309, 1.8996045460))


def test_direction_at_the_fixture_is_that_of_the_rule() -> None:
    fixture_function.assert_is(
        lambda base: UnifiedSAM(base, rho=RHO, lam=LAM), lambda w, loss: at_share(w, loss, LAM)
    )


@pytest.mark.parametrize("schedule", ["constant", "1/t", "1-1/t"])
def test_twenty_steps_agree_with_the_rule_in_numpy(schedule: str) -> None:
    step = 0

    def rule(w: np.ndarray, loss: Loss) -> np.ndarray:
        nonlocal step
        step += 1
        lam = {"constant": LAM, "1/t": 1 / step, "1-1/t": 1 - 1 / step}[schedule]
        return at_share(w, loss, lam)

    assert_same_run(lambda model, base: UnifiedSAM(base, rho=RHO, lam=LAM, schedule=schedule), rule)


def test_with_the_normalised_displacement_alone_it_is_sam_bit_for_bit() -> None:
    assert torch.equal(end(lambda b: UnifiedSAM(b, rho=0.1, lam=1.0)), end(lambda b: SAM(b, rho=0.1)))


@pytest.mark.parametrize("options", [{"lam": 1.5}, {"rho": -1.0}, {"schedule": "t"}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="is not allowed"):
        UnifiedSAM(sgd(mlp()), **options)
