"""A dictionary with its labels is as quick as a pair: exact where a pair is, with probes an example elsewhere."""

from collections.abc import Callable

import problems
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from landscape.measures import hessian_trace
from landscape.objective import Objective


class Named(nn.Module):
    """Takes two inputs by name, and returns its scores in a dictionary."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(5, 6), nn.Linear(3, 6), nn.Linear(6, 4)
        self.activation = activation

    def forward(self, wide: Tensor, narrow: Tensor, scale: float = 1.0) -> dict[str, Tensor]:
        return {"logits": self.head(self.activation(self.first(wide) + scale * self.second(narrow)))}


@pytest.mark.parametrize(
    "loss", [nn.CrossEntropyLoss(), nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2, 3, 0.5]))]
)
@pytest.mark.parametrize("size", [30, 11])
@pytest.mark.parametrize("activation", [torch.relu, torch.tanh])
def test_the_trace_of_a_dictionary(
    loss: nn.Module, size: int, activation: Callable[[Tensor], Tensor]
) -> None:
    torch.manual_seed(0)
    model = Named(activation).double()
    x, y = problems.classification(30)
    data = [
        {"wide": a[:, :5], "narrow": a[:, 5:], "scale": 2.0, "labels": b}
        for a, b in problems.batches(x, y, size)
    ]
    objective = Objective(model, loss, data, micro_batch=7)
    names = [name for name, _ in model.named_parameters()]

    def value(*parameters: Tensor) -> Tensor:
        inputs = {"wide": x[:, :5], "narrow": x[:, 5:], "scale": 2.0}
        theta = dict(zip(names, parameters, strict=True))
        outputs = torch.func.functional_call(model, theta, (), inputs)
        return functional.cross_entropy(
            outputs["logits"], y, weight=None if loss.weight is None else loss.weight.double()
        )

    blocks = torch.autograd.functional.hessian(value, tuple(p.detach() for p in model.parameters()))
    truth = sum(float(blocks[k][k].reshape(p.numel(), -1).trace()) for k, p in enumerate(model.parameters()))
    found = hessian_trace(objective, tolerance=0.1)
    if activation is torch.relu:
        assert (found.details["method"], found.standard_error) == ("exact", None)
        assert found.value == pytest.approx(truth, rel=1e-10)
    else:
        assert found.details["method"] == "example-probes"
        assert found.standard_error is not None
        assert abs(found.value - truth) <= 4.5 * found.standard_error
