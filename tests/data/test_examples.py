"""Examples in memory: the formula of the normalisation, and what is refused."""

import pytest
import torch
from torch.utils.data import DataLoader

from landscape.data.examples import InMemory
from landscape.errors import InputError


def test_pixels_are_normalised_as_published():
    images = torch.arange(2 * 3 * 2 * 2, dtype=torch.uint8).view(2, 3, 2, 2) * 10
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    dataset = InMemory(images, torch.tensor([0, 1]), mean=mean, std=std)
    centre, spread = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (mean, std))
    expected = (images.double() / 255 - centre) / spread
    inputs = torch.stack([x for x, _ in dataset]).double()
    assert torch.allclose(inputs, expected, atol=1e-6)


def test_fetching_does_not_change_what_is_stored():
    images = torch.randint(
        0, 256, (5, 1, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    kept = images.clone()
    floats = torch.linspace(0, 1, 10).view(5, 2)
    for inputs in (images, floats):
        dataset = InMemory(inputs, torch.zeros(5))
        for x, _ in DataLoader(dataset, batch_size=2):
            x.zero_()
    assert torch.equal(images, kept)
    assert torch.equal(floats, torch.linspace(0, 1, 10).view(5, 2))


def test_inputs_that_are_not_finite_are_counted_and_refused():
    inputs = torch.zeros(4, 2)
    inputs[1, 0], inputs[3, 1] = torch.nan, torch.inf
    with pytest.raises(InputError, match="mine: 2 of 4 inputs hold NaN or infinity"):
        InMemory(inputs, torch.zeros(4), name="mine")


def test_an_empty_set_is_refused():
    with pytest.raises(InputError, match="mine: the data set is empty"):
        InMemory(torch.zeros(0, 2), torch.zeros(0), name="mine")
