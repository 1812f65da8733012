"""Two processes under DistributedDataParallel: alike bit for bit, and like one process with the whole batch."""

import pytest
import torch
from optim.battery import VARIANTS
from optim.replica import run, trained
from started import results

# Rules of single examples, of which a process has its own only.
LOOKS_AT_EXAMPLES = {"esam", "m-sam", "ssam-f"}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return results(run, tmp_path_factory.mktemp("replicas"), ranks=2, seconds=240)


@pytest.mark.parametrize("name", VARIANTS)
def test_replicas_stay_alike_bit_for_bit_and_take_the_same_branches(ranks, name):
    (first, passes), (second, others) = (found["trained"][name] for found in ranks)
    assert torch.equal(first, second)
    assert passes == others


@pytest.mark.parametrize("name", [n for n in VARIANTS if n not in LOOKS_AT_EXAMPLES])
def test_the_steps_are_those_of_one_process_with_the_whole_batch(ranks, name):
    expected, passes = trained(name)
    found, counted = ranks[0]["trained"][name]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
    assert counted == passes


def test_what_is_not_finite_in_one_process_skips_the_step_in_all(ranks):
    assert [found["overflowed"] for found in ranks] == [[0, 1], [0, 1]]
