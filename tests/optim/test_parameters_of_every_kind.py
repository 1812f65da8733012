"""Frozen, tied, sparse, complex, low-precision and strangely laid-out parameters in a step."""

import copy

import pytest
import torch
from optim.battery import VARIANTS, Watch, build, closure, mlp, sgd, weights
from torch import Tensor, nn

from landscape.optim import GSAM, SAM


def test_frozen_parameters_are_left_out_of_the_vector() -> None:
    model = mlp()
    model[0].requires_grad_(False)
    optimizer = SAM(sgd(model), rho=0.3)
    assert optimizer.flat.dimension == 18
    before = weights(model)
    watch = Watch(closure(optimizer, model), model)
    optimizer.step(watch)
    assert torch.equal(weights(model)[:25], before[:25])
    assert watch.displacements[0].norm().item() == pytest.approx(0.3, rel=1e-9)


def test_a_layer_can_be_frozen_and_freed_between_steps() -> None:
    model = mlp()
    optimizer = SAM(sgd(model))
    for free in (True, False, True):
        model[0].requires_grad_(free)
        before = weights(model)
        optimizer.zero_grad()
        optimizer.step(closure(optimizer, model))
        assert torch.equal(weights(model)[:25], before[:25]) is not free
        assert torch.isfinite(weights(model)).all()


@pytest.mark.parametrize("variant", [SAM, GSAM])
def test_a_parameter_that_no_pass_reaches_is_left_to_the_base_as_such(variant: type[SAM]) -> None:
    model = mlp()
    unused = nn.Parameter(torch.ones(3, dtype=torch.float64))
    base = torch.optim.SGD([*model.parameters(), unused], lr=0.1, weight_decay=0.5)
    optimizer = variant(base, rho=0.1)
    optimizer.step(closure(optimizer, model))
    assert unused.grad is None
    assert torch.equal(unused.detach(), torch.ones(3, dtype=torch.float64))


def test_tied_weights_are_one_part_of_the_vector() -> None:
    first, second = nn.Linear(4, 4, bias=False).double(), nn.Linear(4, 4, bias=False).double()
    second.weight = first.weight
    model = nn.Sequential(first, nn.Tanh(), second, nn.Linear(4, 3).double())
    optimizer = SAM(sgd(model), model=model, rho=0.2)
    assert optimizer.flat.dimension == 16 + 15
    watch = Watch(closure(optimizer, model), model)
    optimizer.step(watch)
    assert watch.displacements[0].norm().item() == pytest.approx(0.2, rel=1e-9)


def test_sparse_gradients_are_filled_in() -> None:
    ends = []
    for sparse in (True, False):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(6, 4, sparse=sparse), nn.Linear(4, 3)).double()
        optimizer = GSAM(sgd(model), rho=0.2, alpha=0.5)

        def evaluate(model: nn.Module = model) -> Tensor:
            model.zero_grad()
            loss = nn.functional.cross_entropy(model(torch.tensor([0, 1, 1, 3])), torch.tensor([0, 1, 2, 0]))
            loss.backward()
            return loss

        for _ in range(3):
            optimizer.step(evaluate)
        ends.append(weights(model))
    assert torch.equal(ends[0], ends[1])


def test_complex_parameters_are_pairs_of_reals() -> None:
    z = nn.Parameter(torch.tensor([1.0 + 2.0j, -0.5j], dtype=torch.complex128))
    optimizer = SAM(torch.optim.SGD([z], lr=0.1), rho=0.1)
    start = z.detach().clone()

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        loss = 0.5 * z.abs().square().sum()
        loss.backward()
        return loss

    optimizer.step(evaluate)
    expected = start * (1 + 0.1 / torch.view_as_real(start).norm())
    torch.testing.assert_close(z.grad, expected, rtol=1e-11, atol=0)


def test_parameters_of_several_precisions_are_restored_bit_for_bit() -> None:
    torch.manual_seed(0)
    low = nn.Parameter(torch.randn(50, dtype=torch.bfloat16))
    high = nn.Parameter(torch.randn(50, dtype=torch.float32))
    before = low.detach().clone(), high.detach().clone()
    optimizer = SAM(torch.optim.SGD([low, high], lr=0.0), rho=0.5)

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        loss = (low.float() ** 2 * high).sum()
        loss.backward()
        return loss

    optimizer.step(evaluate)
    assert torch.equal(low, before[0])
    assert torch.equal(high, before[1])
    assert low.grad.dtype is torch.bfloat16


def test_half_precision_weights_with_no_gradient_at_all_give_no_nan() -> None:
    w = nn.Parameter(torch.ones(4, dtype=torch.float16))
    optimizer = SAM(torch.optim.SGD([w], lr=0.1))

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        loss = (w.float() * 0.0).sum()
        loss.backward()
        return loss

    optimizer.step(evaluate)
    assert torch.equal(w.detach(), torch.ones(4, dtype=torch.float16))
    assert optimizer.skipped_steps == 0


class Autocast(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().forward(x.float()).float()


@pytest.mark.parametrize("name", VARIANTS)
def test_autocast_works_as_it_does_for_the_base(name: str) -> None:
    torch.manual_seed(0)
    model = Autocast(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    lr = 0.001 if name == "ada-sam" else 0.1  # its steps are as long as those of Adam
    optimizer = build(name, model, sgd(model, lr))
    evaluate = closure(optimizer, model)
    losses = [optimizer.step(evaluate).item() for _ in range(60)]
    assert sum(losses[-10:]) / 10 < 0.75 * losses[0]  # those of a sampled network vary
    assert optimizer.skipped_steps == 0


def test_channels_last_weights_are_restored_and_get_gradients_in_their_own_layout() -> None:
    model = nn.Conv2d(4, 6, 3).double().to(memory_format=torch.channels_last)
    twin = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
    for net in (model, twin):
        optimizer = GSAM(sgd(net), rho=0.2)
        x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

        def evaluate(net: nn.Module = net, x: Tensor = x) -> Tensor:
            net.zero_grad()
            loss = net(x).square().mean()
            loss.backward()
            return loss

        optimizer.step(evaluate)
    assert model.weight.grad is not None
    assert model.weight.grad.stride() == model.weight.stride()
    torch.testing.assert_close(model.weight.detach(), twin.weight.detach().clone(), rtol=1e-10, atol=1e-12)
