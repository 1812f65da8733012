"""The two data sets that need no files: their sizes, their split, and that neither ever changes."""

import hashlib

import pytest
import torch
from sklearn.datasets import load_digits

from landscape.data import load_data


def tensors(split):
    inputs, targets = zip(*split, strict=True)
    return torch.stack(inputs), torch.stack(targets)


def digest(tensor):
    return hashlib.sha256(tensor.numpy().tobytes()).hexdigest()[:12]


def test_digits_are_split_into_1437_and_360():
    data = load_data("digits")
    assert (len(data.train), len(data.test)) == (1437, 360)
    assert (data.classes, data.input_shape) == (10, (1, 8, 8))


def test_moons_hold_out_three_tenths():
    data = load_data("moons:samples=1000")
    assert (len(data.train), len(data.test)) == (700, 300)
    assert (data.classes, data.input_shape) == (2, (2,))


@pytest.mark.parametrize("specification", ["digits", "moons"])
def test_no_example_is_in_both_splits(specification):
    data = load_data(specification)
    train, test = ({row.numpy().tobytes() for row in tensors(split)[0]} for split in (data.train, data.test))
    assert not train & test


def test_the_digits_are_scikit_learns_digits_each_once():
    data = load_data("digits")
    inputs, targets = (torch.cat(pair) for pair in zip(tensors(data.train), tensors(data.test), strict=True))
    images, labels = load_digits(return_X_y=True)
    step = inputs.unique().diff().min()
    pixels = ((inputs - inputs.min()) / step).round().flatten(1)
    ours = sorted((*row.tolist(), int(label)) for row, label in zip(pixels, targets, strict=True))
    theirs = sorted((*row.tolist(), int(label)) for row, label in zip(images, labels, strict=True))
    assert ours == theirs


@pytest.mark.parametrize("specification", ["digits", "moons"])
def test_the_split_is_stratified(specification):
    data = load_data(specification)
    train, test = (
        torch.bincount(tensors(split)[1]).double() / len(split) for split in (data.train, data.test)
    )
    assert torch.allclose(train, test, atol=0.005)


def test_training_inputs_are_standardised():
    digits = tensors(load_data("digits").train)[0].double()
    assert abs(float(digits.mean())) < 1e-6
    assert abs(float(digits.std(correction=0)) - 1) < 1e-6
    moons = tensors(load_data("moons").train)[0].double()
    assert torch.allclose(moons.mean(0), torch.zeros(2).double(), atol=1e-6)
    assert torch.allclose(moons.std(0, correction=0), torch.ones(2).double(), atol=1e-6)


@pytest.mark.parametrize("specification", ["digits", "moons"])
def test_a_caller_that_writes_to_its_data_leaves_those_of_others_alone(specification):
    first = load_data(specification).train
    before = first.inputs.clone(), first.targets.clone()
    for tensor in (first.inputs, first.targets):
        tensor.zero_()
    second = load_data(specification).train
    assert torch.equal(second.inputs, before[0])
    assert torch.equal(second.targets, before[1])


def test_the_digits_split_is_the_one_that_published_numbers_used():
    data = load_data("digits")
    assert digest(tensors(data.train)[1]) == "c1281028e525"
    assert digest(tensors(data.test)[1]) == "4493b2052e7b"


def test_the_seed_of_the_moons_changes_the_points():
    first, second = load_data("moons:samples=50"), load_data("moons:samples=50,seed=1")
    assert not torch.equal(tensors(first.train)[0], tensors(second.train)[0])
