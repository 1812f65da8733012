"""A tracker under DistributedDataParallel: it changes no bit, all processes have its numbers, and one writes them."""

import json

import pytest
import torch
import tracked_cases
from started import results


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tracked")
    return folder, results(tracked_cases.run, folder, ranks=2, seconds=120)


def test_no_bit_of_weights_optimizer_and_random_numbers_is_changed(ranks):
    for each in ranks[1]:
        for kept, expected in zip(each["with"][0].values(), each["without"][0].values(), strict=True):
            assert torch.equal(kept, expected)
        assert str(each["with"][1]) == str(each["without"][1])
        assert torch.equal(each["with"][2], each["without"][2])


def test_all_processes_have_the_same_numbers_and_the_first_writes_them(ranks):
    folder, (first, second) = ranks
    assert first["history"] == second["history"]
    assert [step for step, _ in first["history"]] == [20, 40]
    assert all(set(found) == set(tracked_cases.MEASURES) for _, found in first["history"])
    lines = (folder / "run" / "measures-history.jsonl").read_text().splitlines()
    assert [json.loads(line)["value"] for line in lines] == [
        value for _, found in first["history"] for value in found.values()
    ]
