"""Label noise: as much as was asked for, on the training labels only, the same every time."""

import pytest
import torch

from landscape.data import load_data, subset, with_label_noise
from landscape.errors import UsageError


def labels(split):
    return torch.stack([label for _, label in split.__getitems__(range(len(split)))])


@pytest.mark.parametrize("rate", [0.2, 0.4, 0.8])
def test_as_many_training_labels_are_wrong_as_was_asked_for_and_no_test_label(rate):
    data = load_data("digits")
    noisy = with_label_noise(data, rate=rate)
    wrong = labels(noisy.train) != labels(data.train)
    assert int(wrong.sum()) == round(rate * 1437)
    assert noisy.test is data.test
    assert subset(noisy.train, 100)[1] == subset(data.train, 100)[1]
    assert labels(noisy.train).min() == 0
    assert labels(noisy.train).max() == 9


def test_every_other_class_is_as_likely():
    data = load_data("digits")
    shift = (labels(with_label_noise(data, rate=0.8).train) - labels(data.train)) % 10
    counts = torch.bincount(shift, minlength=10)[1:].double()
    expected = counts.sum() / 9
    assert float(((counts - expected) ** 2 / expected).sum()) < 20.1  # χ², 8 degrees of freedom, 99 %


def test_what_is_wrong_at_a_lower_rate_is_as_wrong_at_a_higher_one():
    data = load_data("moons:samples=200")
    low, high = (labels(with_label_noise(data, rate=rate).train) for rate in (0.2, 0.6))
    wrong = low != labels(data.train)
    assert torch.equal(low[wrong], high[wrong])


def test_inputs_and_the_clean_data_are_as_they_were():
    data = load_data("digits")
    before = labels(data.train)
    noisy = with_label_noise(data, rate=0.5)
    assert torch.equal(noisy.train[7][0], data.train[7][0])
    assert torch.equal(labels(data.train), before)
    assert with_label_noise(data, rate=0.0) is data


@pytest.mark.parametrize("rate", [-0.1, 0.81, float("nan")])
def test_a_rate_that_is_not_allowed_is_named(rate):
    with pytest.raises(UsageError, match="label_noise="):
        with_label_noise(load_data("moons"), rate=rate)
