"""The Fisher–Rao norm against gradients of single examples, and its closed form in networks without biases."""

import problems
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from landscape.errors import UsageError
from landscape.measures import fisher_rao_norm
from landscape.objective import Objective


def along_itself(model: nn.Module, loss: torch.Tensor) -> torch.Tensor:
    """θᵀ∇ℓ."""
    parameters = list(model.parameters())
    return sum((p * g).sum() for p, g in zip(parameters, torch.autograd.grad(loss, parameters), strict=True))


def test_it_is_the_mean_square_of_the_gradients_of_single_examples() -> None:
    objective = problems.small_objective()
    x, y = problems.classification()
    model = problems.small_net()
    squares = [
        along_itself(model, cross_entropy(model(a[None]), b[None])) ** 2 for a, b in zip(x, y, strict=True)
    ]
    found = fisher_rao_norm(objective)
    assert found.value == pytest.approx(torch.stack(squares).mean().sqrt().item(), rel=1e-10)
    assert found.details["squared"] == pytest.approx(found.value**2)
    assert found.standard_error is None


def test_of_the_models_labels_it_is_the_mean_over_all_of_them() -> None:
    x, y = problems.classification(12)
    model = problems.small_net()
    total = torch.zeros((), dtype=torch.float64)
    for a in x:
        for label in range(4):
            p = model(a[None]).softmax(1)[0, label].detach()
            total += p * along_itself(model, cross_entropy(model(a[None]), torch.tensor([label]))) ** 2 / 12
    objective = Objective(model, nn.CrossEntropyLoss(), [(x[:5], y[:5]), (x[5:], y[5:])])
    assert fisher_rao_norm(objective, labels="model").value == pytest.approx(float(total.sqrt()), rel=1e-10)


@pytest.mark.parametrize("scale", [1, 5])
def test_without_biases_it_is_its_closed_form_however_layers_are_scaled(scale: float) -> None:
    """(L + 1)² E⟨∂ℓ/∂f, f⟩² with L + 1 = 3 layers."""
    x, y = problems.classification()
    sizes = (8, 7), (7, 6), (6, 4)
    first, second, third = (nn.Linear(*size, bias=False) for size in sizes)
    model = problems.network(first, nn.ReLU(), second, nn.ReLU(), third)
    with torch.no_grad():
        outputs = model(x)
        first.weight *= scale
        third.weight /= scale
    slopes = outputs.softmax(1) - nn.functional.one_hot(y, 4)
    expected = 3 * (slopes * outputs).sum(1).square().mean().sqrt()
    objective = Objective(model, nn.CrossEntropyLoss(), [(x, y)])
    assert fisher_rao_norm(objective).value == pytest.approx(float(expected), rel=1e-10)


def test_a_loss_that_hides_its_examples_is_refused() -> None:
    with pytest.raises(UsageError, match="empirical Fisher matrix needs the network's outputs"):
        fisher_rao_norm(problems.tiny_case(hidden=True)[0])
