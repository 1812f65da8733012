"""ASAM: published values, the rule in numpy, its constraint and the scale invariance it exists for."""

import numpy as np
import pytest
import torch
from optim import fixture_function
from optim.battery import Watch, closure, direction, mlp, sgd, weights
from optim.numpy_network import Loss, assert_same_run
from torch import Tensor, nn

from landscape.optim import ASAM, SAM

RHO, ETA = 0.5, 0.01


def rule(w: np.ndarray, loss: Loss) -> np.ndarray:
    matrices = np.r_[np.ones(20), np.zeros(5), np.ones(15), np.zeros(3)]
    t = np.where(matrices == 1, np.abs(w) + ETA, 1.0)
    g = loss(w)[1]
    return loss(w + RHO * t**2 * g / np.linalg.norm(t * g))[1]


def test_twenty_steps_agree_with_the_rule_in_numpy() -> None:
    assert_same_run(lambda model, base: ASAM(base, model=model, rho=RHO, eta=ETA), rule)


@pytest.mark.parametrize(
    ("eta", "expected"),
    [
        (0.0, (2.2405870822, -1.9521799538, 1.7454132596)),
        (0.01, (2.2429629060, -1.9544786584, 1.7476609923)),
    ],
)
def test_direction_at_the_fixture_is_the_published_one(
    eta: float, expected: tuple[float, float, float]
) -> None:
    handed, _ = fixture_function.step(lambda base: ASAM(base, rho=0.1, eta=eta, asam_on="all"))
    assert fixture_function.close(handed, expected)


@pytest.mark.parametrize("asam_on", ["weight", "matrices", "all"])
def test_scaled_displacement_has_length_rho(asam_on: str) -> None:
    model = mlp()
    optimizer = ASAM(sgd(model), model=model, rho=0.5, eta=0.02, asam_on=asam_on)
    t = optimizer.scale().clone()
    watch = Watch(closure(optimizer, model), model)
    optimizer.step(watch)
    assert (watch.displacements[0] / t).norm().item() == pytest.approx(0.5, rel=1e-9)


@pytest.mark.parametrize(
    ("asam_on", "with_model", "scaled"),
    [
        ("weight", True, {"0.weight", "1.weight"}),
        ("weight", False, {"0.weight"}),
        ("matrices", True, {"0.weight"}),
        ("all", True, {"0.weight", "0.bias", "1.weight", "1.bias"}),
    ],
)
def test_what_is_scaled_is_chosen_by_role(asam_on: str, with_model: bool, scaled: set[str]) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)).double()
    for parameter in model.parameters():
        parameter.data.fill_(2.0)
    optimizer = ASAM(sgd(model), model=model if with_model else None, eta=0.5, asam_on=asam_on)
    parts = dict(zip(dict(model.named_parameters()), optimizer.flat.split(optimizer.scale()), strict=True))
    assert {name for name, part in parts.items() if bool((part == 2.5).all())} == scaled
    assert all(bool((part == 1.0).all()) for name, part in parts.items() if name not in scaled)


def test_with_weights_of_size_one_it_is_sam_with_a_radius_longer_by_eta() -> None:
    models = [mlp(), mlp()]
    for model in models:
        for parameter in model.parameters():
            parameter.data.sign_()
    optimizers = [ASAM(sgd(models[0]), rho=0.1, eta=0.25, asam_on="all"), SAM(sgd(models[1]), rho=0.125)]
    for model, optimizer in zip(models, optimizers, strict=True):
        optimizer.step(closure(optimizer, model))
    torch.testing.assert_close(direction(models[0]), direction(models[1]), rtol=1e-11, atol=1e-14)


def _loss_nearby(make: type[ASAM] | type[SAM], factor: float, **options: object) -> float:
    """L(w + ε) of a ReLU network written with another scale between its layers: the same function."""
    torch.manual_seed(0)
    first, second = (nn.Linear(6, 8, bias=False).double() for _ in range(2))
    second = nn.Linear(8, 3, bias=False).double()
    first.weight.data *= factor
    second.weight.data /= factor
    model = nn.Sequential(first, nn.ReLU(), second)
    optimizer = make(sgd(model), model=model, **options)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(32, 6, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 3, (32,), generator=generator)

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        return loss

    optimizer.step(evaluate)
    return optimizer.losses[1].item()


def test_the_loss_nearby_is_that_of_the_rescaled_network_if_eta_is_zero() -> None:
    assert _loss_nearby(ASAM, 5.0, eta=0.0) == pytest.approx(_loss_nearby(ASAM, 1.0, eta=0.0), rel=1e-10)


def test_the_loss_nearby_of_sam_is_not() -> None:
    assert abs(_loss_nearby(SAM, 5.0, rho=0.5) / _loss_nearby(SAM, 1.0, rho=0.5) - 1) > 0.01


def test_without_eta_a_weight_of_zero_is_not_displaced() -> None:
    model = mlp()
    model[0].weight.data[0] = 0.0
    for eta, moved in ((0.0, False), (0.01, True)):
        optimizer = ASAM(sgd(model, lr=1e-9), model=model, eta=eta)
        watch = Watch(closure(optimizer, model), model)
        before = weights(model)
        optimizer.step(watch)
        assert bool((watch.points[1] - before)[:4].any()) is moved
        model[0].weight.data[0] = 0.0
