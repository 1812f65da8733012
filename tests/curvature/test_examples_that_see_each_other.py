"""Examples that see each other are never taken apart; what cannot be taken apart is measured in another way."""

from collections.abc import Callable

import mixing_networks
import problems
import pytest
import torch
from torch import Tensor, nn

from landscape.errors import InputError, UsageError
from landscape.measures import hessian_trace, layer_traces
from landscape.objective import Objective

CE = nn.CrossEntropyLoss()
TABLE = mixing_networks.MIXING | mixing_networks.WHOLE
ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}


def built(name: str, activation: Callable[[Tensor], Tensor], batches: int = 1) -> tuple[Objective, Tensor]:
    """The objective of a row, and the diagonal of its Hessian by autograd on the network itself."""
    torch.manual_seed(1)
    model = mixing_networks.Mixer(TABLE[name], activation).double().eval()
    x, y = problems.classification(mixing_networks.ROWS * batches, 8, 3)
    data = problems.batches(x, y, mixing_networks.ROWS)
    names = [name for name, _ in model.named_parameters()]

    def loss(*values: Tensor) -> Tensor:
        theta = dict(zip(names, values, strict=True))
        parts = [CE(torch.func.functional_call(model, theta, (a,)), b) for a, b in data]
        return torch.stack(parts).mean()

    parameters = tuple(p.detach().clone().requires_grad_() for p in model.parameters())
    slopes = torch.autograd.grad(loss(*parameters), parameters, create_graph=True, materialize_grads=True)
    slope = torch.cat([one.flatten() for one in slopes])
    rows = []
    for k in range(len(slope)):
        row = (
            torch.autograd.grad(slope[k], parameters, retain_graph=True, materialize_grads=True)
            if slope.requires_grad
            else ()
        )
        rows.append(torch.cat([one.flatten() for one in row])[k])
    return Objective(model, CE, data), torch.stack(rows)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", TABLE)
def test_the_trace_is_right_whatever_the_examples_see(name: str, activation: str) -> None:
    objective, diagonal = built(name, ACTIVATIONS[activation])
    if name in mixing_networks.NO_HESSIAN:
        with pytest.raises(InputError, match="the second derivative of Mixer is wrong"):
            hessian_trace(objective)
        return
    for found in (
        hessian_trace(objective, tolerance=0.2, max_probes=40),
        layer_traces(objective, tolerance=0.2, max_probes=40),
    ):
        allowed = 5 * (found.standard_error or 0.0) + 1e-9 * float(diagonal.abs().sum())
        assert abs(found.value - float(diagonal.sum())) <= allowed, found.details
    if name in mixing_networks.MIXING:
        assert found.details["method"] in ("probes", "deflated-probes")
        assert not objective.independence().holds


@pytest.mark.parametrize("name", mixing_networks.MIXING)
def test_what_needs_single_examples_is_switched_off_and_said(name: str) -> None:
    objective, _ = built(name, torch.tanh, batches=2)
    with pytest.raises(UsageError, match="needs gradients of single examples, but"):
        objective.empirical_fisher_product(objective.gradient)
    assert any(note.startswith("batches are not taken apart: ") for note in objective.notes)
