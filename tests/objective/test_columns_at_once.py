"""How many columns of a product are taken at once: few where that costs memory and saves nothing."""

import torch
from torch import nn

from landscape.curvature.operators import hessian
from landscape.objective import Objective
from landscape.objective.engine import COLUMNS, FEW_BYTES, KeptGraphs


def objective(share: float) -> Objective:
    torch.manual_seed(0)
    data = torch.randn(4, 9, device="cpu"), torch.arange(4, device="cpu") % 3
    here = Objective(nn.Sequential(nn.Linear(9, 9), nn.Tanh(), nn.Linear(9, 3)), "cross-entropy", data)
    here.engine.graphs.share = share
    return here


def test_large_columns_are_taken_one_at_a_time_and_small_ones_together() -> None:
    graphs = KeptGraphs[object]()
    assert graphs.columns(FEW_BYTES) == 1
    assert graphs.columns(FEW_BYTES // 4) == 2
    assert graphs.columns(8) == COLUMNS


def test_where_a_graph_is_not_kept_columns_may_take_as_much_memory_as_it() -> None:
    for share, is_kept in ((1.0, True), (0.0, False)):
        here = objective(share)
        here.hessian_product(torch.ones_like(here.point))
        graphs = here.engine.graphs
        assert bool(len(graphs)) == is_kept
        assert (graphs._lost is None) == is_kept
        graphs._lost = None if is_kept else 1 << 30
        assert graphs.columns(1 << 26) == (1 if is_kept else COLUMNS)
        assert hessian(here).at_once() == graphs.columns(here.point.nbytes)  # type: ignore[misc]
        here.at(here.point + 1).hessian_product(torch.ones_like(here.point))  # which drops all graphs
        assert (graphs._lost is None) == is_kept
