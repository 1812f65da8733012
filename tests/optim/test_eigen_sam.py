"""Eigen-SAM: the published value, the eigenvector against a dense Hessian, its cost, and SAM without it."""

import math

import pytest
import torch
from optim import fixture_function
from optim.battery import Watch, batch, closure, mlp, sgd, weights
from torch import Tensor, nn

from landscape.errors import UsageError
from landscape.optim import SAM, EigenSAM


def test_direction_at_the_fixture_is_the_published_one() -> None:
    def make(base: torch.optim.Optimizer) -> EigenSAM:
        optimizer = EigenSAM(base, rho=0.1, alpha=0.2)
        optimizer.memory["eigenvector"] = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
        return optimizer

    handed, _ = fixture_function.step(make)
    assert fixture_function.close(handed, (2.0413414339, -2.0418429099, 2.3248290427))


def test_the_sign_of_the_eigenvector_does_not_matter() -> None:
    directions = []
    for sign in (1.0, -1.0):

        def make(base: torch.optim.Optimizer, sign: float = sign) -> EigenSAM:
            optimizer = EigenSAM(base, rho=0.1, alpha=0.5)
            optimizer.memory["eigenvector"] = sign * torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
            return optimizer

        directions.append(fixture_function.step(make)[0])
    assert torch.equal(*directions)


def test_without_the_eigenvector_it_is_sam() -> None:
    models = [mlp(), mlp()]
    optimizers = [EigenSAM(sgd(models[0]), rho=0.1, alpha=0.0, every=1), SAM(sgd(models[1]), rho=0.1)]
    for number in range(5):
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.step(closure(optimizer, model, seed=number))
    torch.testing.assert_close(weights(models[0]), weights(models[1]), rtol=1e-12, atol=1e-13)


def _hessian(model: nn.Module) -> Tensor:
    x, y = batch()
    names, shapes = zip(*((n, p.shape) for n, p in model.named_parameters()), strict=True)

    def loss(theta: Tensor) -> Tensor:
        parts = theta.split([s.numel() for s in shapes])
        values = {n: p.view(s) for n, p, s in zip(names, parts, shapes, strict=True)}
        return nn.functional.cross_entropy(torch.func.functional_call(model, values, x), y)

    return torch.autograd.functional.hessian(loss, weights(model))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_eigenvector_is_that_of_the_dense_hessian(dtype: torch.dtype) -> None:
    model = mlp().to(dtype)
    optimizer = EigenSAM(sgd(model, lr=0.0), every=1, power_iterations=200)
    x, y = batch()

    def evaluate() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x.to(dtype)), y)
        loss.backward()
        return loss

    for _ in range(2):
        optimizer.step(evaluate)
    values, vectors = torch.linalg.eigh(_hessian(model.double()))
    top = vectors[:, values.abs().argmax()]
    found = optimizer.memory["eigenvector"]
    assert isinstance(found, Tensor)
    cosine = abs((found.double() @ top).item())
    assert 1 - cosine < (1e-9 if dtype is torch.float64 else 1e-3)


def test_the_displacement_is_longer_by_the_part_of_the_eigenvector_across_the_gradient() -> None:
    model = mlp()
    optimizer = EigenSAM(sgd(model), rho=0.3, alpha=0.7, every=1)
    optimizer.step(closure(optimizer, model))
    watch = Watch(closure(optimizer, model), model)
    optimizer.step(watch)
    v = optimizer.memory["eigenvector"]
    displacement = watch.displacements[-1]
    assert isinstance(v, Tensor)
    assert v.norm().item() == pytest.approx(1.0, rel=1e-9)
    # ‖ε‖² = ρ² (1 + α² s²), where s is the sine between v and g; ⟨ε, v⟩ = ρ (c + α s²) with c the cosine.
    square = (displacement.norm().item() / 0.3) ** 2
    sine2 = (square - 1) / 0.7**2
    assert 0 < sine2 < 1
    along = abs((displacement @ v).item()) / 0.3
    assert along == pytest.approx(math.sqrt(1 - sine2) + 0.7 * sine2, rel=1e-9)


def test_the_first_steps_are_those_of_sam_and_estimates_come_at_their_time() -> None:
    model = mlp()
    optimizer = EigenSAM(sgd(model), every=3, power_iterations=2)
    passes = []
    for number in range(8):
        before = optimizer.gradient_evaluations
        optimizer.step(closure(optimizer, model, seed=number))
        passes.append(optimizer.gradient_evaluations - before)
        assert ("eigenvector" in optimizer.memory) is (number >= 3)
    assert passes == [2, 2, 2, 6, 2, 2, 6, 2]


@pytest.mark.parametrize("options", [{"alpha": -0.1}, {"every": 0}, {"power_iterations": 0}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="is not allowed"):
        EigenSAM(sgd(mlp()), **options)
