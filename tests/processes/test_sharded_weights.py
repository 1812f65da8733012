"""With the weights divided over processes, every number is that of one process that has all of them."""

import pytest
import sharded_weights_cases as cases
from measured_cases import differences
from started import results


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return cases.numbers(1, tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.thorough)])
def ranks(request, tmp_path_factory):
    return results(cases.run, tmp_path_factory.mktemp("ranks"), ranks=request.param, seconds=240)


@pytest.mark.parametrize("case", cases.CASES)
def test_every_number_is_that_of_one_process(ranks, alone, case):
    computed = ranks[0]["numbers"][case]
    assert computed.keys() >= {"value", "gradient", "hessian", "gauss-newton", "empirical-fisher", *cases.FEW}
    assert len(ranks) > 2 or computed.keys() == alone[case].keys()
    assert not differences(computed, {name: alone[case][name] for name in computed}, 1e-12)


@pytest.mark.parametrize("case", cases.CASES)
def test_all_processes_have_the_same_bits(ranks, case):
    first, *others = (repr(each["numbers"][case]) for each in ranks)
    assert set(others) == {first}


def test_every_process_holds_its_part_of_the_weights(ranks):
    held = [each["held"] for each in ranks]
    total = ranks[0]["numbers"]["decoder"]["n"]
    assert sum(held) == total
    assert max(held) <= total / len(ranks) + ranks[0]["tensors"]


def test_what_depends_on_free_memory_is_the_same_in_all_processes(ranks):
    # One that had a longer basis would go on multiplying while the others restart, and wait for ever.
    first, *others = (each["decisions"] for each in ranks)
    assert first == [50, 12]
    assert others == [first] * len(others)


def test_what_cannot_go_on_says_why_in_all_processes(ranks):
    for each in ranks:
        assert each["refusals"]["weights"].startswith("UsageError: process 1 of")
        assert "other weights than process 0" in each["refusals"]["weights"]
    first, second, *_ = (each["refusals"]["memory"] for each in ranks)
    assert first.startswith("ProcessFailed: process 0 of")
    assert "of one module are gathered; try fewer examples at once (micro_batch=1)" in second


@pytest.mark.parametrize("case", ["perceptron", "decoder"])
def test_a_network_of_fully_shard_is_taken_apart_and_trains_as_before(ranks, case):
    if len(ranks) > 2:
        pytest.skip("as with two")
    for each in ranks:
        result = each["fully_shard"][case]
        computed, whole = result["values"]
        assert computed == pytest.approx(whole, rel=1e-12)
        assert result["kinds"] == []
        assert result["same"] == [True, True]
        assert "processes='split' and shard_weights=True, which takes it apart" in result["refused"]
        assert result["models"][0] == result["models"][1]
    assert sum(each["fully_shard"][case]["held"][0] for each in ranks) == result["held"][1]


def test_what_else_has_divided_weights_is_refused(ranks):
    for each in ranks if len(ranks) == 2 else ():
        parallel, old = each["others"]
        assert "(DTensor, of fully_shard or tensor parallelism)" in parallel
        assert "(FullyShardedDataParallel)" in old
