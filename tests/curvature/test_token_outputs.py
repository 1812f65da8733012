"""The trace of networks with scores for every token, against the dense Hessian and Gauss–Newton matrix."""

import math

import pytest
import torch
from torch import Tensor, nn

from landscape.curvature.gauss_newton_trace import gauss_newton_traces, plan
from landscape.curvature.trace import hessian_trace
from landscape.draws import Draws
from landscape.objective import Objective


class Positions(nn.Module):
    """Adds the rows of an embedding of positions, which all sequences share."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.rows = nn.Embedding(tokens, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.rows(torch.arange(x.shape[1]))


def sequences(activation: nn.Module, tokens: int) -> Objective:
    torch.manual_seed(0)
    layers = [nn.Embedding(7, 3), Positions(tokens), nn.Linear(3, 5), activation, nn.Linear(5, 7)]
    texts = torch.randint(0, 7, (5, tokens + 1))
    labels = texts[:, 1:].clone()
    labels[0, 1] = -100
    return Objective(nn.Sequential(*layers).double().eval(), "next-token", [(texts[:, :-1], labels)])


def dense_traces(objective: Objective) -> tuple[float, float]:
    unit = torch.eye(objective.dimension, dtype=torch.float64)
    return (
        float(objective.hessian_product(unit).trace()),
        float(objective.gauss_newton_product(unit).trace()),
    )


def test_a_piecewise_affine_network_has_the_exact_trace() -> None:
    objective = sequences(nn.ReLU(), 4)
    trace = hessian_trace(objective, tolerance=0.02, max_passes=100, draws=Draws(0))
    assert trace.way == "exact"
    assert trace.value == pytest.approx(dense_traces(objective)[0], rel=1e-10)


def test_long_sequences_have_probes_of_their_own_and_sampled_tokens() -> None:
    objective = sequences(nn.Tanh(), 12)
    whole, inner = dense_traces(objective)
    chosen = plan(objective)
    assert chosen.by_use
    assert not chosen.obstacle
    trace = hessian_trace(objective, tolerance=0.03, max_passes=200, draws=Draws(0))
    assert trace.way == "example-probes"
    assert trace.standard_error is not None
    assert abs(trace.value - whole) <= 4 * trace.standard_error
    sampled = torch.stack([gauss_newton_traces(objective, chosen, draws=Draws(k)).sum() for k in range(30)])
    assert abs(float(sampled.mean()) - inner) <= 4 * float(sampled.std()) / math.sqrt(len(sampled))


@pytest.mark.parametrize("count", [3, 4, 5])
def test_as_many_tokens_as_sequences_are_not_confused_with_them(count: int) -> None:
    objective = sequences(nn.Tanh(), count)
    inner = dense_traces(objective)[1]
    chosen = plan(objective)
    assert chosen.by_use
    assert float(gauss_newton_traces(objective, chosen).sum()) == pytest.approx(inner, rel=1e-10)
