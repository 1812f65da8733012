"""SSAM-F: its mask against the squared gradients of single examples, and what the examples cost."""

import copy

import pytest
import torch
from optim.battery import batch, closure, mlp, sgd
from optim.test_ssam import examples, mask_of
from torch import Tensor, nn

from landscape.errors import UsageError
from landscape.optim import SSAMF


def _fisher(model: nn.Module, examples: int) -> Tensor:
    x, y = batch()
    total = torch.zeros(sum(p.numel() for p in model.parameters()), dtype=torch.float64)
    for row in range(examples):
        loss = nn.functional.cross_entropy(model(x[row : row + 1]), y[row : row + 1])
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        total += torch.cat([g.flatten() for g in gradients]) ** 2
    return total


@pytest.mark.parametrize("n_fisher", [1, 5, 16, 100])
def test_the_mask_is_where_the_squared_gradients_of_single_examples_are_largest(n_fisher: int) -> None:
    model = mlp(nn.BatchNorm1d(5), nn.Dropout(0.5))
    twin = copy.deepcopy(model)
    twin(batch()[0])  # pass 1 is recorded in the statistics that evaluation uses
    fisher = _fisher(twin.eval(), min(n_fisher, 16))
    optimizer = SSAMF(sgd(model), steps_per_epoch=2, model=model, sparsity=0.75, n_fisher=n_fisher)
    optimizer.step(examples(model))
    expected = fisher.argsort(descending=True)[:13]
    assert mask_of(optimizer).nonzero().flatten().tolist() == sorted(expected.tolist())


def test_the_fisher_passes_leave_batch_norm_and_its_mode_alone() -> None:
    model = mlp(nn.BatchNorm1d(5))
    optimizer = SSAMF(sgd(model), steps_per_epoch=2, model=model)
    optimizer.step(examples(model))
    assert model[1].num_batches_tracked == 1
    assert all(module.training for module in model.modules())


def test_gradients_a_step_are_two_and_for_each_mask_those_of_its_examples() -> None:
    model = mlp()
    optimizer = SSAMF(sgd(model), n_fisher=4, steps_per_epoch=3)
    spent = []
    for number in range(5):
        before = optimizer.gradient_evaluations
        optimizer.step(examples(model, seed=number))
        spent.append(optimizer.gradient_evaluations - before)
    assert spent == pytest.approx([2.25, 2, 2, 2.25, 2])


def test_a_closure_without_examples_is_refused() -> None:
    model = mlp()
    optimizer = SSAMF(sgd(model), steps_per_epoch=2)
    plain = closure(torch.optim.SGD(model.parameters()), model)
    with pytest.raises(UsageError, match="BatchClosure"):
        optimizer.step(plain)


def test_no_examples_are_refused() -> None:
    with pytest.raises(UsageError, match="n_fisher=0 is not allowed"):
        SSAMF(sgd(mlp()), steps_per_epoch=2, n_fisher=0)
