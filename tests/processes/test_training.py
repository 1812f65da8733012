"""One run in several processes is the run of one: every optimizer, interruptions, failures, and what is on disk."""

import pytest
import torch
from started import results
from training_cases import CASES, all_cases, cases_of, trained

# In bfloat16 the gradients of the parts are rounded before they are added.
TOLERANCES = {"float64": 1e-12, "float32": 1e-6, "bf16": 1e-2}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return {
        world: results(all_cases, tmp_path_factory.mktemp("ranks"), ranks=world, seconds=300)
        for world in (2, 3)
    }


@pytest.mark.parametrize(
    ("world", "case"), [(world, case) for world in (2, 3) for case in CASES if case in cases_of(world)]
)
def test_twenty_steps_are_those_of_one_process(ranks, world, case):
    ranks = ranks[world]
    expected = _alone(case)
    tolerance = TOLERANCES["bf16" if case == "bf16" else CASES[case].get("dtype", "float64")]
    for each in ranks:
        for name in ("weights", "kept", "losses"):
            torch.testing.assert_close(each[case][name], expected[name], rtol=tolerance, atol=tolerance)
        assert each[case]["metrics"] == pytest.approx(expected["metrics"], rel=10 * tolerance)
        assert torch.equal(each[case]["weights"], ranks[0][case]["weights"])


_KNOWN = {}


def _alone(case):
    if case not in _KNOWN:
        _KNOWN[case] = trained(CASES[case])
    return _KNOWN[case]
