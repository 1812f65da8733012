"""Adaptive-GSAM: published values, the rule in numpy, its reductions, and the length of its displacement."""

import numpy as np
import pytest
import torch
from optim import fixture_function
from optim.battery import Watch, closure, direction, mlp, sgd, weights
from optim.numpy_network import Loss, assert_same_run
from optim.twins import end, same
from torch import Tensor, nn

from landscape.errors import UsageError
from landscape.optim import ASAM, GSAM, SAM, AdaptiveGSAM, SharpnessAware


def rule(w: np.ndarray, loss: Loss) -> np.ndarray:
    g = loss(w)[1]
    p = loss(w + 0.5 * (np.abs(w) + 0.1) * g / np.linalg.norm(g))[1]
    return p - 0.04 * (g - (g @ p) / (p @ p) * p)


def test_twenty_steps_of_its_defaults_agree_with_the_rule_in_numpy() -> None:
    assert_same_run(lambda model, base: AdaptiveGSAM(base), rule)


def test_direction_at_the_fixture_is_the_published_one() -> None:
    handed, _ = fixture_function.step(lambda base: AdaptiveGSAM(base, rho=0.1, gamma=0.1, alpha=0.04))
    assert fixture_function.close(handed, (2.1306037366, -2.0064256953, 1.8722480471))


@pytest.mark.parametrize("adaptive", ["abs", "asam"])
def test_without_floor_it_is_gsam_scaled_alike(adaptive: str) -> None:
    options = {"rho": 0.4, "alpha": 0.3, "adaptive": adaptive}
    mine = end(lambda b: AdaptiveGSAM(b, gamma=0.0, **options))  # type: ignore[arg-type]
    assert torch.equal(mine, end(lambda b: GSAM(b, **options)))  # type: ignore[arg-type]


def test_with_a_scale_of_asam_and_no_gap_it_is_asam_on_all() -> None:
    mine = end(lambda b: AdaptiveGSAM(b, rho=0.4, alpha=0.0, gamma=0.01, adaptive="asam"))
    assert same(mine, end(lambda b: ASAM(b, rho=0.4, eta=0.01, asam_on="all")))


def _direction(make: type[SharpnessAware], size: float, **options: float) -> Tensor:
    """The direction of a step from weights that are all of one size."""
    model = mlp()
    for parameter in model.parameters():
        parameter.data.sign_().mul_(size)
    optimizer = make(sgd(model), **options)  # type: ignore[arg-type]
    optimizer.step(closure(optimizer, model))
    return direction(model)


def test_with_weights_of_size_one_and_neither_floor_nor_gap_it_is_sam() -> None:
    mine = _direction(AdaptiveGSAM, 1.0, rho=0.1, alpha=0.0, gamma=0.0)
    torch.testing.assert_close(mine, _direction(SAM, 1.0, rho=0.1), rtol=1e-12, atol=1e-14)


def test_with_weights_of_zero_and_a_floor_of_one_it_is_gsam() -> None:
    mine = _direction(AdaptiveGSAM, 0.0, rho=0.1, alpha=0.4, gamma=1.0)
    assert mine.norm() > 0
    torch.testing.assert_close(mine, _direction(GSAM, 0.0, rho=0.1, alpha=0.4), rtol=1e-12, atol=1e-14)


def test_in_the_ball_of_asam_the_displacement_has_length_rho_and_otherwise_not() -> None:
    for adaptive, within in (("asam", True), ("abs", True), ("abs", False)):
        model = mlp()
        before = weights(model)
        optimizer = AdaptiveGSAM(sgd(model), rho=0.5, adaptive=adaptive)  # type: ignore[arg-type]
        watch = Watch(closure(optimizer, model), model)
        optimizer.step(watch)
        displacement = watch.displacements[0] / (before.abs() + 0.1 if within else 1.0)
        length = displacement.norm().item()
        assert length == pytest.approx(0.5, rel=1e-9) if within else length < 0.3


def _loss_nearby(factor: float, adaptive: str) -> float:
    """L(w + ε) of a ReLU network written with another scale between its layers: the same function."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8, bias=False), nn.ReLU(), nn.Linear(8, 3, bias=False)).double()
    model[0].weight.data *= factor
    model[2].weight.data /= factor
    optimizer = AdaptiveGSAM(sgd(model), gamma=0.0, adaptive=adaptive)  # type: ignore[arg-type]
    optimizer.step(closure(optimizer, model))
    return optimizer.losses[1].item()


def test_it_is_not_invariant_to_a_rescaling_that_changes_nothing_unlike_the_scale_of_asam() -> None:
    assert _loss_nearby(5.0, "asam") == pytest.approx(_loss_nearby(1.0, "asam"), rel=1e-10)
    assert abs(_loss_nearby(5.0, "abs") / _loss_nearby(1.0, "abs") - 1) > 0.003


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": -0.1}, "gamma must be a finite number ≥ 0"),
        ({"alpha": -0.1}, "alpha must be a finite number ≥ 0"),
        ({"adaptive": "none"}, "adaptive must be one of abs, asam"),
    ],
)
def test_options_outside_their_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        AdaptiveGSAM(sgd(mlp()), **options)  # type: ignore[arg-type]
