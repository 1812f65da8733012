"""What several processes exchange, and that a failure of one is raised in all."""

import os
import signal
import time

import pytest
import torch
from group_cases import exchanges, killed
from started import results, started

from landscape.errors import InputError, OutOfMemory, ProcessFailed
from landscape.processes.group import ALONE, Group

WORLDS = [2, 3]


@pytest.fixture(scope="module", params=WORLDS)
def ranks(request, tmp_path_factory):
    return results(exchanges, tmp_path_factory.mktemp("ranks"), ranks=request.param, seconds=120)


def test_sums_are_those_of_all_processes_and_equal_bits_everywhere(ranks):
    world = len(ranks)
    expected = [torch.stack([each["own"][k] for each in ranks]).sum(0) for k in range(3)]
    for each in ranks:
        for total, right, first in zip(each["sums"], expected, ranks[0]["sums"], strict=True):
            torch.testing.assert_close(total, right)
            assert torch.equal(total, first)
    assert world == ranks[0]["world"]


def test_rows_are_in_the_order_of_the_processes(ranks):
    rows = torch.cat([torch.full((rank, 2), float(rank)) for rank in range(len(ranks))])
    assert all(torch.equal(each["rows"], rows) for each in ranks)


def test_the_first_process_decides(ranks):
    assert [each["decided"] for each in ranks] == [0] * len(ranks)
    assert all(each["gathered"] == list(range(len(ranks))) for each in ranks)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("InputError", "InputError: process 1 of {}: batch 3 holds NaN"),
        ("MemoryError", "OutOfMemory: process 1 of {}: out of memory"),
        ("KeyError", "ProcessFailed: process 1 of {} failed (KeyError: 'key')"),
    ],
)
def test_a_failure_of_one_is_raised_in_all(ranks, kind, words):
    for rank, each in enumerate(ranks):
        assert each[kind] == (each["original"][kind] if rank == 1 else words.format(len(ranks)))


def test_a_process_that_is_killed_ends_the_others_with_a_sentence(tmp_path):
    running = [started(killed, tmp_path, rank, 3) for rank in range(3)]
    while not (tmp_path / "1.ready").exists():
        time.sleep(0.05)
    begun = time.monotonic()
    os.kill(running[1].pid, signal.SIGKILL)
    for process in running:
        process.join(60)
    assert time.monotonic() - begun < 30
    for rank in (0, 2):
        assert "lost another one" in (tmp_path / f"{rank}.txt").read_text()


def test_alone_nothing_is_exchanged():
    tensor = torch.ones(2)
    ALONE.add([tensor])
    assert tensor.tolist() == [1, 1]
    assert ALONE.gathered(5) == [5]
    assert ALONE.decided(6) == 6
    assert ALONE.joined(tensor) is tensor
    with pytest.raises(KeyError), ALONE.together():
        raise KeyError("own")
    assert (Group().rank, Group().alone) == (0, True)
    assert not issubclass(ProcessFailed, (InputError, OutOfMemory))
