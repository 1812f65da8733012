"""A number does not depend on how many processes computed it, nor do its error and its cost."""

import math
import re

import measured_cases
import pytest
from measured_cases import differences
from started import results

from landscape.measures import MEASURES

WORLDS = [2, pytest.param(3, marks=pytest.mark.thorough)]
CASES = [
    *(f"split {case}" for case in measured_cases.CASES),
    *(f"own {case}" for case in measured_cases.OWN),
    *(f"{processes} {what}" for processes in ("split", "own") for what in ("solvers", "sample")),
]
SINGLE = "split float32"  # precision


@pytest.fixture(scope="module")
def alone():
    return measured_cases.numbers(0, 1)


@pytest.fixture(scope="module", params=WORLDS)
def ranks(request, tmp_path_factory):
    return results(measured_cases.run, tmp_path_factory.mktemp("ranks"), ranks=request.param, seconds=240)


@pytest.mark.parametrize("case", CASES)
def test_the_number_its_error_and_its_cost_are_those_of_one_process(ranks, alone, case):
    tolerance = 1e-6 if case == SINGLE else 1e-12
    assert not differences(ranks[0]["numbers"][case], alone[case], tolerance)


@pytest.mark.parametrize("case", CASES)
def test_all_processes_have_the_same_bits(ranks, case):
    first, *others = (repr(each["numbers"][case]) for each in ranks)
    assert set(others) == {first}


def test_every_measure_is_compared(alone):
    names = {name.partition(":")[0] for case in ("weighted", "exact") for name in alone[f"split {case}"]}
    assert names >= set(MEASURES)
    compared = [
        alone[f"{processes} weighted"][name]
        for processes in ("split", "own")
        for name in measured_cases.EVERY
    ]
    compared.append(alone["split exact"]["path-norm"])
    assert all(math.isfinite(each["value"]) for each in compared)
    ways = {
        alone[f"split {case}"][measured_cases.TRACE]["details"]["method"]
        for case in ("exact", "hidden", "tied")
    }
    assert ways == {"exact", "probes", "gauss-newton-residual"}
    assert alone["split many classes"][measured_cases.TRACE]["details"]["method"] == "sampled-classes"
    assert alone["split weighted"][measured_cases.TRACE]["details"]["method"] == "example-probes"


REFUSED = {
    "not finite": ("InputError", "batch 0 of the data holds 1 values that are NaN or infinite"),
    "empty": ("InputError", "the data are empty"),
    "a part": ("ProcessFailed", "lost"),
    "a visit": ("InputError", "no pairs"),
}
OWN = {"a part": "KeyError"}  # what the process itself raises, where it is something else
DIFFERENT = {
    "weights": "process 1 of {} has other weights than process 0",
    "another network": "process 1 of {} has other weights than process 0",
    "data": "process 1 of {} has other data than process 0",
    "batch sizes": "process 1 of {} has other batch sizes than process 0",
    "loss": "process 1 of {} has other losses than process 0",
    "class weights": "process 1 of {} has other losses than process 0",
    "batch norm": "process 1 of {} has other values of batch_norm= than process 0 (batch and stored)",
    "precision": "process 1 of {} has other precision than process 0 (torch.float32 and torch.float64)",
    "processes": "process 1 of {} has other values of processes= than process 0 ('own' and 'split')",
    "version": "process 1 of {} has other versions of landscape than process 0 (0.0.1 and ",
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_what_differs_in_one_process_is_named_in_all(ranks, what):
    for each in ranks:
        assert each["refusals"][what].startswith("UsageError: " + DIFFERENT[what].format(len(ranks)))


@pytest.mark.parametrize("what", REFUSED)
def test_what_one_process_raises_all_raise(ranks, what):
    for rank, each in enumerate(ranks):
        kind, words = REFUSED[what]
        own = f"{OWN.get(what, kind)}: " if rank == 1 else f"{kind}: process 1 of {len(ranks)}"
        assert each["refusals"][what].startswith(own), each["refusals"][what]
        assert words in each["refusals"][what]


def test_calls_that_differ_are_refused_instead_of_mixed(ranks):
    for each in ranks:
        found = each["refusals"]
        assert found["other calls"].startswith("UsageError: the processes compute different things")
        assert "process 0: gradient gradients=1; process 1: evaluated evaluations=1" in found["other calls"]
        assert re.match("UsageError: .*the norm of the point is not the same in all", found["another point"])
        assert re.match(
            "UsageError: .*the norm of the vectors is not the same in all", found["another vector"]
        )


def test_a_loop_over_parts_is_divided_or_refused(ranks, alone):
    whole = alone["split solvers"]["batches"]
    for each in ranks:
        for what in ("a loop over own parts", "a loop over own examples"):
            assert re.match("UsageError: processes='own': .*objective.by_batch", each["refusals"][what])
        assert each["refusals"]["parts of the split"] == pytest.approx(whole, rel=1e-12)


def test_after_a_refusal_the_processes_go_on(ranks, alone):
    for each in ranks:
        assert each["refusals"]["afterwards"] == pytest.approx(
            alone["split weighted"]["loss"]["value"], rel=1e-12
        )


def test_one_process_that_is_short_of_memory_goes_on_in_pieces_with_the_others(ranks):
    for each in ranks:
        assert each["refusals"]["short of memory"] == "nothing"
        first, *others = each["refusals"]["losses in pieces"]
        assert others == pytest.approx([first] * 2, rel=1e-12)


def test_data_too_many_to_keep_are_read_by_the_process_that_visits_them(ranks):
    whole = measured_cases.streamed(0, 1)
    count = len(measured_cases.examples()[1])
    assert whole["read"] == count
    assert sum(each["streamed"]["read"] for each in ranks) == count
    for each in ranks:
        assert each["streamed"]["loss"] == pytest.approx(whole["loss"], rel=1e-12)
        assert each["streamed"]["gradient"] == pytest.approx(whole["gradient"], rel=1e-12)
        assert each["streamed"]["own"] == pytest.approx(whole["own"], rel=1e-12)
