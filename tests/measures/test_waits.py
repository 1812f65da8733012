"""Measures read from the device once a micro-batch at most, whatever the device is."""

from collections import Counter

import pretend_device
import pytest
import torch
from short_measures import short
from torch import nn
from waits import Waits

from landscape.measures import MEASURES
from landscape.objective import Objective
from landscape.objective.risk import Risk

CASES = [
    *(short(name) for name in MEASURES),
    "dominant-eigenvalue:method=lanczos",
    "hessian-trace:method=hutchinson,max_probes=8",
    "hessian-trace:method=hutch++,max_probes=12",
    "basin-width:case=worst,steps=2",
    "spectral-density:probes=1,steps=4,operator=empirical-fisher",
]
# Reads of a measure however many micro-batches it visits; those of traces check at every point which way applies.
AT_ONCE = dict.fromkeys(("hessian-trace", "layer-traces", "normalized-trace"), 16)

without = pretend_device.reason_without()


@pytest.fixture(
    scope="module",
    params=["cpu", pytest.param("pretend", marks=pytest.mark.skipif(bool(without), reason=without))],
)
def objective(request: pytest.FixtureRequest) -> Objective:
    device = torch.device("cpu") if request.param == "cpu" else pretend_device.pretend_device()
    torch.manual_seed(0)
    x, y = torch.randn(8, 4, device=device), torch.randint(0, 3, (8,), device=device)
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).to(device)
    objective = Objective(net, nn.CrossEntropyLoss(), [(x[:6], y[:6]), (x[6:], y[6:])], micro_batch=4)
    objective.hessian_product(
        objective.point
    )  # after the checks of the network, its loss and its data, once for all
    return objective


@pytest.mark.parametrize("case", CASES)
def test_a_measure_reads_once_a_micro_batch_at_most(
    case: str, objective: Objective, monkeypatch: pytest.MonkeyPatch
) -> None:
    specification, visits = MEASURES.parse(case), Counter[str]()
    placed = Risk.placed
    monkeypatch.setattr(Risk, "placed", lambda risk, batch: visits.update(["visit"]) or placed(risk, batch))
    there = objective.at(objective.point)
    with Waits(objective.point.device.type) as waits:
        MEASURES.build(specification, there)
    assert waits.total <= visits["visit"] + AT_ONCE.get(specification.name, 2), waits.operations
