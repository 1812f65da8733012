"""No network built to fool the proof gets a wrong trace: each against the diagonal of its Hessian in float64."""

import functools

import pytest
import torch
from fooling_networks import FOOLING, NO_HESSIAN, ODD
from proof_cases import objective_of

from landscape.curvature.gauss_newton_trace import gauss_newton_traces, plan
from landscape.errors import InputError
from landscape.measures import hessian_trace
from landscape.objective import Objective


@functools.cache
def case(name: str) -> tuple[Objective, torch.Tensor]:
    """The objective, whose proof is then looked for once, and the diagonal of its Hessian."""
    return objective_of((FOOLING | ODD)[name])


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [*FOOLING, *ODD])
def test_no_network_is_proved_with_a_wrong_trace(name: str) -> None:
    objective, diagonal = case(name)
    chosen = plan(objective)
    if chosen.obstacle:
        return
    identity = torch.eye(objective.dimension, dtype=torch.float64)
    inner = objective.gauss_newton_product(identity).diag()
    found = gauss_newton_traces(objective, chosen)
    truth = torch.stack([part.sum() for part in objective.layout.split(inner)])
    assert torch.allclose(found, truth, rtol=1e-10, atol=1e-12), "Tr G is wrong"
    if name in FOOLING:
        gap = float((inner.sum() - diagonal.sum()).abs())
        assert gap > 1e-6 * float(diagonal.abs().sum()), "the case shows nothing: Tr H is Tr G"
        assert not chosen.affine.proved, "proved, and wrong"
    elif chosen.affine.proved:
        parts = torch.stack([part.sum() for part in objective.layout.split(diagonal)])
        assert torch.allclose(found, parts, rtol=1e-10, atol=1e-12)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [*FOOLING, *ODD])
def test_the_trace_is_right_whatever_way_it_takes(name: str) -> None:
    objective, diagonal = case(name)
    if name in NO_HESSIAN:
        with pytest.raises(InputError, match="the second derivative of Case is wrong"):
            hessian_trace(objective, tolerance=0.1, max_probes=300)
        return
    found = hessian_trace(objective, tolerance=0.1, max_probes=300)
    doubt = 5 * (found.standard_error or 0.0) + 1e-10 * float(diagonal.abs().sum())
    assert abs(found.value - float(diagonal.sum())) <= doubt, found.details
