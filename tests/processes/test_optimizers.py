"""Optimizers in a loop of several processes: like one process with the whole batch, bit for bit alike in all.

Under DistributedDataParallel each has a part of the batch, under fully_shard a part of the weights too.
"""

import functools
import re

import pytest
import torch
from replica_cases import (
    BY_SHARDS,
    BY_UNEVEN_SHARDS,
    LOOKS_AT_EXAMPLES,
    NOT_BY_SHARDS,
    RULES,
    count,
    count_by_shards,
    count_in_float32,
    own_all_reduce,
    run,
    run_sharded,
    sharded,
    trained,
)
from started import results

WORLDS = [2, pytest.param(3, marks=pytest.mark.thorough)]
# Rounding is of 1e-16 of numbers of about 1, whatever the size of a weight.
FLOAT64 = {"rtol": 1e-12, "atol": 1e-12}
FLOAT32 = {"rtol": 1e-6, "atol": 1e-6}


def looks_at_examples(rule):
    return rule.partition(":")[0] in LOOKS_AT_EXAMPLES and rule != "esam:gamma=1"


@pytest.fixture(scope="module", params=WORLDS)
def ranks(request, tmp_path_factory):
    return results(run, tmp_path_factory.mktemp("replicas"), ranks=request.param, seconds=240)


@pytest.fixture(scope="module")
def shards_of(tmp_path_factory):
    return functools.cache(
        lambda world: results(run_sharded, tmp_path_factory.mktemp("shards"), ranks=world, seconds=240)
    )


@pytest.fixture(params=WORLDS)
def shards(request, shards_of):
    return shards_of(request.param)


@pytest.fixture(scope="module")
def alone():
    """What one process computes, once for both numbers of processes."""
    kept = {}

    def of(function, *arguments, **options):
        key = (function.__name__, arguments, tuple(options.items()))
        if key not in kept:
            kept[key] = function(*arguments, **options)
        return kept[key]

    return of


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("rule", RULES)
def test_replicas_stay_alike_bit_for_bit_and_take_the_same_branches(ranks, rule, dtype):
    first, passes = ranks[0][dtype][rule]
    for each in ranks[1:]:
        assert torch.equal(each[dtype][rule][0], first)
        assert each[dtype][rule][1] == passes


@pytest.mark.parametrize("rule", [rule for rule in RULES if not looks_at_examples(rule)])
def test_the_steps_of_replicas_are_those_of_one_process_with_the_whole_batch(ranks, alone, rule):
    expected, passes = alone(trained, rule, count=count(rule, len(ranks)))
    found, counted = ranks[0]["float64"][rule]
    torch.testing.assert_close(found, expected, **FLOAT64)
    assert counted == passes
    if rule != "hessian-trace-reg:mode=fd":  # a second difference, which divides rounding by h²
        single, _ = alone(trained, rule, dtype=torch.float32, count=count_in_float32(rule))
        torch.testing.assert_close(ranks[0]["float32"][rule][0], single, **FLOAT32)


def test_what_is_not_finite_in_one_process_skips_the_step_in_all(ranks):
    assert [each["overflowed"] for each in ranks] == [[0, 1, True]] * len(ranks)


@pytest.mark.parametrize("what", ["slices", "examples"])
def test_batches_of_unequal_size_are_refused_where_they_would_take_unequal_numbers_of_passes(ranks, what):
    for each in ranks:
        assert re.match(f"UsageError: .* {what}.*have [0-9, ]+; .*drop_last=True", each["common"][what])
        assert each["common"]["enough"] is None


def test_rules_that_need_to_know_the_replicas_ask(ranks):
    for each in ranks:
        assert re.search(
            "(?s)SlicedSAM with these options.*DistributedDataParallel", each["common"]["unknown"]
        )
        assert each["common"]["known"] is None


def test_a_loop_that_averages_gradients_itself_has_common_losses_too(ranks):
    expected = own_all_reduce(0, 1)[1]
    for each in ranks:
        unsaid, found = each["own"]
        assert re.search(r"(?s)CRSAM .*optimizer.replicas = .*current_group\(\)", unsaid)
        assert torch.equal(found, ranks[0]["own"][1])
        torch.testing.assert_close(found, expected, **FLOAT64)


@pytest.mark.parametrize(
    ("world", "rule"),
    [
        *(pytest.param(2, rule, marks=[pytest.mark.thorough] * (rule != BY_SHARDS[0])) for rule in BY_SHARDS),
        *(pytest.param(3, rule, marks=pytest.mark.thorough) for rule in BY_UNEVEN_SHARDS),
    ],
)
def test_the_steps_of_shards_are_those_of_whole_weights(shards_of, alone, world, rule):
    shards = shards_of(world)
    found, passes = shards[0]["steps"][rule]
    assert all(torch.equal(each["steps"][rule][0], found) for each in shards)
    assert all(each["steps"][rule][1] == passes for each in shards)
    if not looks_at_examples(rule):
        expected, counted = alone(sharded, rule, count=count_by_shards(rule, len(shards)))
        torch.testing.assert_close(found, expected, **FLOAT64)
        assert counted == passes


def test_what_is_not_finite_in_one_process_skips_the_step_of_all_shards(shards):
    assert [each["overflowed"] for each in shards] == [[0, 1, True]] * len(shards)


def test_a_state_of_shards_resumes_in_its_part_and_nowhere_else(shards):
    for rank, each in enumerate(shards):
        (straight, resumed), refused = each["state"]
        assert torch.equal(straight, resumed)
        assert re.match(rf"InputError: .* part \[{rank}, {len(shards) + 1}\].* is \[{rank}, ", refused)


@pytest.mark.parametrize("rule", [*sorted(NOT_BY_SHARDS), "own", "no network", "partly", "branches"])
def test_what_cannot_be_computed_by_shards_is_refused_with_what_can(shards, rule):
    words = {
        "hessian-trace-reg": "InputError: mode='exact'.*mode='fd'",
        "own": "InputError: Own needs whole vectors.*GSAM.*LookSAM.*DistributedDataParallel",
        "no network": "InputError: .*pass the network of fully_shard, as in SAM",
        "partly": "InputError: .*not sharded.*fully_shard.*whole network",
        "branches": "UsageError: .*branches='serial'|UsageError: .*two processes",
    }
    for each in shards:
        expected = words.get(
            rule, "InputError: (SSAM[DF]|ZSharp) needs whole vectors.*use one of .*CRSAM.*SAM"
        )
        assert re.match(expected, each["refusals"][rule]), each["refusals"][rule]
