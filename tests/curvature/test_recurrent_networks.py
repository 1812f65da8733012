"""The trace of recurrent networks: Tr G exactly by single examples, the rest from probes."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from landscape.curvature.gauss_newton_trace import gauss_newton_traces, plan
from landscape.measures import hessian_trace
from landscape.objective import Objective


class Reader(nn.Module):
    """Reads sequences of token numbers, and scores their mean state, or every state's sum."""

    def __init__(self, kind: Any, outputs: int) -> None:
        super().__init__()
        self.embedding, self.layer = nn.Embedding(5, 3), kind(3, 3, batch_first=True)
        self.head = nn.Linear(3, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        scores: Tensor = self.head(self.layer(self.embedding(tokens))[0].mean(1))
        return scores


@pytest.mark.parametrize(
    ("kind", "classes"),
    [
        (nn.LSTM, 3),
        *(pytest.param(*case, marks=pytest.mark.thorough) for case in ((nn.GRU, 1), (nn.RNN, 3))),
    ],
)
def test_the_trace_of_a_recurrent_network(kind: Any, classes: int) -> None:
    torch.manual_seed(0)
    model, tokens = Reader(kind, classes).double(), torch.randint(5, (12, 6))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    loss = functional.cross_entropy if classes > 1 else functional.mse_loss
    targets = torch.randint(3, (12,)) if classes > 1 else torch.randn(12, 1, dtype=torch.float64)
    objective = Objective(
        model,
        nn.CrossEntropyLoss() if classes > 1 else nn.MSELoss(),
        [(tokens[:7], targets[:7]), (tokens[7:], targets[7:])],
    )
    names, tensors = zip(*model.named_parameters(), strict=True)

    def value(*parameters: Tensor) -> Tensor:
        theta = dict(zip(names, parameters, strict=True))
        return loss(torch.func.functional_call(model, theta, (tokens,)), targets)

    # torch's own kernels, which have a second derivative in double precision on a CPU
    blocks: Any = torch.autograd.functional.hessian(value, tuple(p.detach() for p in tensors))
    truth = sum(float(blocks[k][k].reshape(p.numel(), -1).trace()) for k, p in enumerate(tensors))
    result = hessian_trace(objective, tolerance=0.05)
    assert result.details["method"] in ("gauss-newton-residual", "deflated-probes")
    assert result.standard_error is not None
    assert abs(result.value - truth) <= 4 * result.standard_error
    identity = torch.eye(objective.dimension, dtype=torch.float64)
    inner = float(objective.gauss_newton_product(identity).trace())
    assert float(gauss_newton_traces(objective, plan(objective)).sum()) == pytest.approx(inner, rel=1e-10)
