"""A fixed part of a data set and the hash of its indices."""

import hashlib
import struct

import pytest
import torch
from torch.utils.data import TensorDataset

from landscape.data import load_data, subset
from landscape.errors import UsageError

NUMBERS = TensorDataset(torch.arange(1000), torch.zeros(1000))


def chosen(dataset):
    return [int(x) for x, _ in dataset]


def test_the_hash_is_the_sha256_of_the_indices():
    part, name = subset(NUMBERS, 7, seed=3)
    assert name == hashlib.sha256(struct.pack("<7q", *chosen(part))).hexdigest()[:12]


def test_indices_and_hash_never_change():
    part, name = subset(NUMBERS, 5)
    assert (chosen(part), name) == ([37, 44, 675, 775, 947], "6901863b0e8e")


def test_indices_are_distinct_and_in_order():
    indices = chosen(subset(NUMBERS, 300)[0])
    assert indices == sorted(set(indices))
    assert len(indices) == 300


def test_a_smaller_limit_chooses_a_part_of_a_larger_one():
    assert set(chosen(subset(NUMBERS, 20)[0])) < set(chosen(subset(NUMBERS, 50)[0]))


def test_another_seed_chooses_others():
    assert subset(NUMBERS, 20)[1] != subset(NUMBERS, 20, seed=1)[1]


@pytest.mark.parametrize("limit", [None, 1000, 5000])
def test_no_limit_or_a_large_one_gives_the_whole_set(limit):
    whole, name = subset(NUMBERS, limit)
    assert whole is NUMBERS
    assert name == subset(NUMBERS, None)[1]


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_below_one_is_a_usage_error(limit):
    with pytest.raises(UsageError, match=f"limit={limit}"):
        subset(NUMBERS, limit)


def test_a_part_of_the_digits_fetches_whole_batches():
    part, _ = subset(load_data("digits").train, 50)
    assert len(part.__getitems__([0, 49])) == 2
