"""What an objective is given is as it was: parameters, buffers, modes, gradients, random streams."""

import copy
import random

import numpy as np
import problems
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from landscape.objective import Objective

CE = nn.CrossEntropyLoss()


def conv_net() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(36, 3),
    )
    model(torch.randn(32, 1, 8, 8))
    return model


def test_stored_batch_norm_is_the_default_and_batch_statistics_the_option() -> None:
    x, y = torch.randn(20, 1, 8, 8), torch.randint(0, 3, (20,))
    model = conv_net().train()
    stored, batch = (Objective(model, CE, [(x, y)], batch_norm=mode).loss for mode in ("stored", "batch"))
    reference = copy.deepcopy(model)
    assert batch == pytest.approx(CE(reference(x), y).item(), rel=1e-5)
    reference = copy.deepcopy(model).eval()
    assert stored == pytest.approx(CE(reference(x), y).item(), rel=1e-5)


def everything(model: nn.Module) -> list[object]:
    tensors = [t.detach().clone() for t in [*model.parameters(), *model.buffers()]]
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    return [
        tensors,
        grads,
        [m.training for m in model.modules()],
        [p.requires_grad for p in model.parameters()],
    ]


def same(a: object, b: object) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.equal(a, b)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(same(i, j) for i, j in zip(a, b, strict=True))
    return bool(a == b)


@pytest.mark.parametrize("batch_norm", ["stored", "batch"])
def test_nothing_the_user_has_is_changed(batch_norm: str) -> None:
    x, y = torch.randn(20, 1, 8, 8), torch.randint(0, 3, (20,))
    model = conv_net().train()
    CE(model(x), y).backward()
    before = everything(model)
    torch_rng, numpy_rng, python_rng = torch.get_rng_state(), np.random.get_state(), random.getstate()
    loader = DataLoader(TensorDataset(x, y), batch_size=7, shuffle=True)
    objective = Objective(model, CE, loader, batch_norm=batch_norm)
    objective.hessian_product(objective.gradient)
    objective.at(objective.point + 1).evaluate(objective.point - 1)
    assert same(before, everything(model))
    assert torch.equal(torch_rng, torch.get_rng_state())
    assert same(numpy_rng[1].tolist(), np.random.get_state()[1].tolist())
    assert python_rng == random.getstate()


def test_nothing_is_changed_when_the_loss_raises_half_way() -> None:
    x, y = problems.classification()
    model = problems.small_net()
    before, rng = everything(model), torch.get_rng_state()
    calls = iter(range(100))

    def loss(f: Tensor, t: Tensor) -> Tensor:
        torch.rand(1)
        if next(calls) > 3:
            raise ZeroDivisionError("half-way")
        return CE(f, t)

    objective = Objective(model, loss, problems.batches(x, y, 10))
    with pytest.raises(ZeroDivisionError):
        _ = objective.gradient
    assert same(before, everything(model))
    assert torch.equal(rng, torch.get_rng_state())


def test_it_works_inside_no_grad_and_inference_mode() -> None:
    expected = problems.small_objective().gradient
    with torch.no_grad():
        assert torch.equal(problems.small_objective().gradient, expected)
    with torch.inference_mode():
        assert torch.equal(problems.small_objective().gradient, expected)


def test_the_gradient_is_computed_once() -> None:
    objective = problems.small_objective()
    for _ in range(3):
        _ = objective.gradient, objective.loss, objective.accuracy, objective.batch_gradients
    assert objective.ledger.passes() == {"gradients": 1.0, "products": 0.0, "evaluations": 0.0}
