"""SAM-ON: what is displaced is chosen by the type of the module, and alone counts in the norm."""

import copy

import pytest
import torch
from optim.battery import Watch, closure, direction, mlp, sgd, weights
from torch import nn

from landscape.errors import UsageError
from landscape.optim import SAM, SAMON
from landscape.optim.asam import ASAM

NORMALISATION = slice(25, 35)


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(5), nn.LayerNorm(5), nn.GroupNorm(1, 5)])
@pytest.mark.parametrize("layers", ["normalisation", "others"])
def test_only_the_chosen_layers_are_displaced_and_only_they_are_in_the_norm(
    layer: nn.Module, layers: str
) -> None:
    model = mlp(copy.deepcopy(layer))
    optimizer = SAMON(sgd(model), model=model, rho=0.3, layers=layers)
    before = weights(model)
    watch = Watch(closure(optimizer, model), model)
    watch()
    gradient = direction(model)
    watch.points.clear()
    optimizer.step(watch)
    chosen = torch.zeros_like(gradient)
    chosen[NORMALISATION] = 1.0
    chosen = chosen if layers == "normalisation" else 1.0 - chosen
    part = chosen * gradient
    torch.testing.assert_close(watch.displacements[0], 0.3 * part / part.norm(), rtol=1e-9, atol=1e-12)
    assert torch.equal(watch.points[1][chosen == 0], before[chosen == 0])
    assert (weights(model) != before).all()


@pytest.mark.parametrize(("adaptive", "whole"), [("none", SAM), ("asam", ASAM)])
def test_where_every_layer_is_chosen_it_is_sam_or_asam(adaptive: str, whole: type[SAM] | type[ASAM]) -> None:
    models = [mlp(), mlp()]
    options = {"eta": 0.0, "asam_on": "all"} if whole is ASAM else {}
    optimizers = [
        SAMON(sgd(models[0]), model=models[0], rho=0.1, layers="others", adaptive=adaptive),
        whole(sgd(models[1]), rho=0.1, **options),
    ]
    for number in range(5):
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.step(closure(optimizer, model, seed=number))
    torch.testing.assert_close(weights(models[0]), weights(models[1]), rtol=1e-12, atol=1e-13)


def test_scaled_displacement_of_the_normalisations_has_length_rho() -> None:
    model = mlp(nn.LayerNorm(5))
    torch.nn.init.uniform_(model[1].bias, 0.5, 1.0)
    optimizer = SAMON(sgd(model), model=model, rho=0.3, adaptive="asam")
    before = weights(model)
    watch = Watch(closure(optimizer, model), model)
    optimizer.step(watch)
    scaled = watch.displacements[0][NORMALISATION] / before[NORMALISATION].abs()
    assert scaled.norm().item() == pytest.approx(0.3, rel=1e-9)


def test_renamed_normalisations_are_found() -> None:
    class Renamed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 3)
            self.second = nn.LayerNorm(3)
            self.norm_like_name = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm_like_name(self.second(self.first(x)))

    model = Renamed().double()
    optimizer = SAMON(sgd(model), model=model)
    before = weights(model)
    watch = Watch(closure(optimizer, model), model)
    optimizer.step(watch)
    moved = watch.points[1] != before
    assert moved.nonzero().flatten().tolist() == list(range(15, 21))


def test_a_copy_displaces_its_own_layers() -> None:
    model = mlp(nn.LayerNorm(5))
    optimizer = SAMON(sgd(model), model=model, rho=0.3)
    twin, twin_optimizer = copy.deepcopy((model, optimizer))
    watch = Watch(closure(twin_optimizer, twin), twin)
    twin_optimizer.step(watch)
    assert watch.displacements[0].norm().item() == pytest.approx(0.3, rel=1e-9)


def test_a_model_without_such_layers_is_refused() -> None:
    model = mlp()
    with pytest.raises(UsageError, match="no such free parameters"):
        SAMON(sgd(model), model=model)
    frozen = mlp(nn.LayerNorm(5))
    frozen[1].requires_grad_(False)
    with pytest.raises(UsageError, match="no such free parameters"):
        SAMON(sgd(frozen), model=frozen)
    normalisations = nn.Sequential(nn.LayerNorm(4))
    with pytest.raises(UsageError, match="layers=others"):
        SAMON(sgd(normalisations), model=normalisations, layers="others")


def test_the_model_is_asked_for() -> None:
    with pytest.raises(UsageError, match="pass model=model"):
        SAMON(sgd(mlp()))


@pytest.mark.parametrize("options", [{"layers": "norm"}, {"adaptive": "abs"}])
def test_unknown_words_are_refused(options: dict[str, str]) -> None:
    model = mlp(nn.LayerNorm(5))
    with pytest.raises(UsageError, match="must be one of"):
        SAMON(sgd(model), model=model, **options)
