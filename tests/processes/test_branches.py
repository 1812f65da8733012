"""CR-SAM's two gradients computed by two processes at the same time: the serial rule, and what goes wrong in one."""

import re

import pytest
import torch
from branch_cases import RULES, STEPS, made, network, refusal, run
from started import results

CASES = [f"{rule} {dtype}" for rule in RULES for dtype in ("float64", "float32")]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return results(run, tmp_path_factory.mktemp("branches"), ranks=3, seconds=120)


@pytest.mark.parametrize("case", CASES)
def test_the_steps_are_those_of_the_serial_rule(ranks, case):
    serial = ranks[2][case]
    precise = "64" in case
    tolerance = {"rtol": 1e-12, "atol": 1e-13} if precise else {"rtol": 1e-5, "atol": 1e-6}
    for each in ranks[:2]:
        torch.testing.assert_close(each[case]["state"], serial["state"], **tolerance)
        torch.testing.assert_close(each[case]["losses"], serial["losses"], **tolerance)


@pytest.mark.parametrize("case", CASES)
def test_both_processes_end_with_equal_bits_statistics_and_random_numbers(ranks, case):
    first, second, serial = (each[case] for each in ranks)
    assert first["state"].keys() == second["state"].keys()
    assert all(torch.equal(value, second["state"][name]) for name, value in first["state"].items())
    assert torch.equal(first["losses"], second["losses"])
    assert first["state"]["1.num_batches_tracked"] == STEPS
    assert torch.equal(first["random"], second["random"])
    assert torch.equal(first["random"], serial["random"])


@pytest.mark.parametrize("case", CASES)
def test_each_process_takes_two_passes_instead_of_three(ranks, case):
    assert [each[case]["passes"] for each in ranks] == [2, 2, 3]
    assert [each[case]["counted"] for each in ranks[:2]] == [[STEPS, STEPS, 2 * STEPS]] * 2


def test_what_is_not_finite_in_one_process_skips_the_step_in_both(ranks):
    for each in ranks[:2]:
        overflows = {name: value for name, value in each["outcomes"].items() if name.startswith("inf")}
        assert len(overflows) == 8
        for name, value in overflows.items():
            assert value == {"words": None, "moved": False, "skipped": 1}, name


def test_a_failure_in_one_process_is_raised_in_both_and_nothing_moves(ranks):
    for rank, each in enumerate(ranks[:2]):
        failures = {name: value for name, value in each["outcomes"].items() if name.startswith("broken")}
        assert len(failures) == 8
        for name, value in failures.items():
            who = int(name.split()[1])
            other = f"ProcessFailed: process {who} of 2 failed (KeyError: 'lost')"
            words = "KeyError: 'lost'" if rank == who else other
            assert value == {"words": words, "moved": False, "skipped": 0}, name


def test_different_batches_and_different_random_numbers_are_refused_in_both(ranks):
    for each in ranks[:2]:
        assert re.match(r"UsageError: .*same batch.* losses are \d\S* and \d", each["data"])
        assert re.match("UsageError: .*dropout masks.*torch.manual_seed", each["seed"])


def test_networks_that_would_mix_the_branches_are_refused(ranks):
    for each in ranks[:2]:
        assert re.match("UsageError: .*two processes.*the group has 3.*new_group", each["refusals"]["all"])
        for name in ("DistributedDataParallel", "SyncBatchNorm", "policy"):
            assert re.match(f"UsageError: branches='parallel' .*{name}", each["refusals"][name])
    assert re.match("UsageError: .*not in the group", ranks[2]["refusals"]["outside"])


def test_a_process_that_is_alone_is_refused():
    words = refusal(lambda: made(network(), branches="parallel"))
    assert re.match("UsageError: .*two processes.*the group has 1; start two, as by torchrun", words)
