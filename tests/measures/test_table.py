"""The contract that every row of the table keeps, and what all measures together cost."""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

import jsonschema
import problems
import pytest
import torch
from scipy import stats
from short_measures import short
from torch import nn

from landscape import records
from landscape.errors import UsageError
from landscape.measures import DEFAULT, MEASURES, measure
from landscape.measures.forecast import expected_cost
from landscape.objective import Objective
from landscape.records.estimate import Cost, Estimate


def objective_for(name: str, dtype: torch.dtype = torch.float64) -> Objective:
    """The small net, with ReLU for what is undefined with tanh."""
    return problems.small_objective(nn.ReLU if name == "path-norm" else nn.Tanh, dtype=dtype)


@functools.cache
def measured(name: str) -> Estimate:
    """What several tests look at."""
    return measure(objective_for(name), [short(name)])[0]


def passes(cost: Cost) -> tuple[float, float, float]:
    """Gradients, products and evaluations."""
    return cost.gradients, cost.products, cost.evaluations


def trace_passes(details: Mapping[str, Any]) -> tuple[int, int, int]:
    """Exact Tr G with 4 classes, and two probes an example from a graph for H − G."""
    return 4 + details["probes"] // 2, details["probes"], 0


SEARCHES: dict[str, Callable[[Mapping[str, Any]], tuple[float, float, float]]] = {
    **dict.fromkeys(
        ("dominant-eigenvalue", "top-eigenvalues", "preconditioned-sharpness"),
        lambda details: (1, details["iterations"], 0),
    ),
    "layer-eigenvalues": lambda details: (1 + 1, details["iterations"], 0),
    "critical-sharpness": lambda details: (1, 0, details["evaluations"]),
    **dict.fromkeys(("pacbayes-sigma", "basin-width"), lambda details: (0, 0, 1 + details["evaluations"])),
    **dict.fromkeys(("hessian-trace", "layer-traces"), trace_passes),
    "normalized-trace": lambda details: (1 + trace_passes(details)[0], *trace_passes(details)[1:]),
}
"""What measures spend that search, from their details."""


@pytest.mark.parametrize("name", MEASURES)
class TestContract:
    def test_a_measure_is_an_estimate_with_all_its_parts(self, name: str) -> None:
        found = measured(name)
        assert found.measure == name
        assert found.unit
        assert found.settings == MEASURES.settings(short(name))
        assert found.provenance.num_examples == 100
        assert found.provenance.dimension == 568

    def test_its_record_fits_the_published_schema_and_comes_back(self, name: str) -> None:
        found = measured(name)
        line = records.to_json(found)
        jsonschema.validate(json.loads(line), records.json_schema())
        assert records.from_json(line) == dataclasses.replace(found, details=json.loads(line)["details"])

    def test_two_identical_calls_give_identical_numbers(self, name: str) -> None:
        first, (second,) = measured(name), measure(objective_for(name), [short(name)])
        assert first.value == second.value
        assert first.standard_error == second.standard_error
        assert first.details == second.details

    def test_asking_again_costs_nothing(self, name: str) -> None:
        objective = objective_for(name)
        first, second = (measure(objective, [short(name)])[0] for _ in range(2))
        assert (second.cost.gradients, second.cost.products, second.cost.evaluations) == (0, 0, 0)
        assert first.value == second.value

    def test_float32_agrees_with_float64(self, name: str) -> None:
        (single,) = measure(objective_for(name, torch.float32), [short(name)])
        assert single.value == pytest.approx(measured(name).value, rel=2e-3)

    def test_its_cost_is_foreseen(self, name: str) -> None:
        costs = expected_cost(problems.small_objective(), MEASURES.parse(name))
        few, many, most = (cost.gradient_equivalents for cost in costs)
        assert 0 < few <= many <= most

    def test_alone_it_costs_what_its_formula_needs(self, name: str) -> None:
        found = measured(name)
        few, _, most = expected_cost(objective_for(name), MEASURES.parse(short(name)))
        if name in SEARCHES:
            assert passes(found.cost) == SEARCHES[name](found.details)
        elif few == most:  # its options tell it
            assert passes(found.cost) == passes(few)
        else:
            assert found.cost.gradient_equivalents <= most.gradient_equivalents

    def test_it_has_a_row_with_words(self, name: str) -> None:
        assert MEASURES[name].summary
        assert (MEASURES[name].build.__doc__ or "").strip()


def test_an_unknown_measure_stops_everything_before_anything_is_computed() -> None:
    objective = problems.small_objective()
    with pytest.raises(UsageError, match="did you mean 'hessian-trace'"):
        measure(objective, ["gradient-norm", "hesian-trace"])
    assert objective.ledger.passes()["gradients"] == 0


@pytest.mark.parametrize(
    "wrong", ["surrogate-gap:rho=0", "hessian-trace:tolerance=nan", "top-eigenvalues:k=-1"]
)
def test_an_option_that_is_not_allowed_stops_everything_before_anything_is_computed(wrong: str) -> None:
    objective = problems.small_objective()
    with pytest.raises(UsageError, match=r"must be a (finite|whole) number above 0"):
        measure(objective, ["gradient-norm", wrong])
    assert objective.ledger.passes()["gradients"] == 0


@pytest.mark.parametrize(("share", "graphs"), [(0.5, 1), (0.0, 3)])
def test_plain_hutchinson_builds_one_graph_in_all_or_one_a_block_of_probes(share: float, graphs: int) -> None:
    objective = problems.small_objective()
    objective.engine.graphs.share = share
    (found,) = measure(objective, ["hessian-trace:method=hutchinson,max_probes=20"])
    assert (found.cost.gradients, found.cost.products) == (graphs, 20)


def test_all_together_share_the_gradient_and_the_trace() -> None:
    objective = problems.small_objective()
    names = [
        name if name == "approximation-ratio" else short(name) for name in DEFAULT
    ]  # 20 steps by default
    found = {e.measure: e for e in measure(objective, names)}
    iterations = found["dominant-eigenvalue"].details["iterations"]
    gradients, products, _ = trace_passes(found["hessian-trace"].details)
    assert objective.ledger.passes() == {
        "gradients": 1 + 1 + gradients + 20,  # the gradient, a graph of it for the eigenvalue, trace, ascent
        "products": iterations + products,
        "evaluations": 1 + 1 + 2,
    }
    assert found["normalized-trace"].cost.products == 0
    assert found["gradient-noise"].cost.gradients == 0


def test_nothing_is_random_outside_the_seed() -> None:
    objective = problems.small_objective()
    state = torch.get_rng_state()
    measure(objective, [short(name) for name in MEASURES])
    assert torch.equal(state, torch.get_rng_state())


def test_the_interval_is_that_of_students_t_and_only_where_something_is_drawn() -> None:
    objective = problems.small_objective()
    for name in (
        "hessian-trace:method=hutchinson,max_probes=9",
        "normalized-trace:max_probes=9",
        "average-sharpness:max_pairs=9",
    ):
        found = MEASURES.build(name, objective)
        draws = int(found.details.get("probes", found.details.get("pairs")))
        low, high = found.details["interval_95"]
        assert (low, high) == pytest.approx(
            stats.t.interval(0.95, draws - 1, found.value, found.standard_error), rel=1e-12
        )
    assert "interval_95" not in MEASURES.build("gradient-norm", objective).details


def test_two_draws_have_an_interval_and_one_has_none() -> None:
    objective = problems.small_objective()
    assert "interval_95" in MEASURES.build("average-sharpness:max_pairs=2", objective).details
    assert "interval_95" not in MEASURES.build("average-sharpness:max_pairs=1", objective).details


def test_eigenvalues_of_another_matrix_build_no_graph_of_the_hessian() -> None:
    objective = problems.small_objective()
    found = MEASURES.build("top-eigenvalues:k=2,operator=gauss-newton", objective)
    assert found.cost.gradients == 1 + 1  # the gradient, where it starts, and the matrix's own graph
