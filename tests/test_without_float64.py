"""A device without float64, as Apple's GPUs: what is computed there is computed in float32."""

import pretend_device
import problems
import pytest
import torch
from test_devices import CPU, case, numbers
from torch import nn

from landscape import reductions
from landscape.errors import UsageError
from landscape.objective import Objective
from landscape.surfaces.sampling import sample_surface
from landscape.training import Recipe, train, trainer


@pytest.fixture
def apple(monkeypatch):
    """The pretended device, which refuses float64."""
    if reason := pretend_device.reason_without():
        pytest.skip(reason)
    place, new = pretend_device.pretend_device(), pretend_device._new

    def refusing(kind):
        if kind == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as MPS does not support it")
        return new(kind)

    monkeypatch.setattr(pretend_device, "_new", refusing)
    monkeypatch.setattr(reductions, "WITHOUT_FLOAT64", {"mps", place.type})
    return place


def test_every_measure_is_that_of_the_cpu(apple):
    for (name, here), there in zip(numbers(CPU).items(), numbers.__wrapped__(apple).values(), strict=True):
        assert there[1:] == pytest.approx(here[1:], rel=1e-3, abs=1e-5), name


def test_a_surface_is_that_of_the_cpu(apple):
    here, there = (sample_surface(case(device=place), points=3, gradient_norm=True) for place in (CPU, apple))
    assert there.loss == pytest.approx(here.loss, rel=1e-4)
    assert there.gradient_norm == pytest.approx(here.gradient_norm, rel=1e-4)


@pytest.mark.parametrize("optimizer", ["sgd", "sam", "gsam", "cr-sam", "swa"])
def test_a_run_is_that_of_the_cpu(tmp_path, optimizer, apple, monkeypatch):
    recipe = Recipe(model="mlp:width=8,depth=1", epochs=1, batch_size=512, optimizer=optimizer, device="cpu")
    losses = []
    for place in (CPU, apple):
        monkeypatch.setattr(trainer, "device_of", lambda recipe, place=place: place)
        losses.append(train(recipe, output=tmp_path / place.type).metrics["test_loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.parametrize("weights", [torch.float32, torch.float64])
def test_float64_on_it_is_refused_with_what_to_do(weights, apple):
    network, data = nn.Linear(8, 4, dtype=weights), problems.classification(dtype=weights)
    requested = None if weights == torch.float64 else torch.float64
    with pytest.raises(
        UsageError, match=r"device='pretend:0' has no float64, .*: choose float32 \(dtype=torch"
    ):
        Objective(network, nn.CrossEntropyLoss(), data, device=apple, dtype=requested)
    assert Objective(network, nn.CrossEntropyLoss(), data, device=apple, dtype=torch.float32).loss > 0
