"""ESAM: the published value, its reductions, which tensors are perturbed and which examples are selected."""

import pytest
import torch
from optim import fixture_function
from optim.battery import Watch, batch, build, closure, in_step, mlp, sgd, weights
from optim.twins import same
from torch import Tensor, nn

from landscape.errors import UsageError
from landscape.optim import ESAM, SAM, BatchClosure


class Keep(ESAM):
    """ESAM with a mask that is known."""

    def kept(self) -> list[bool]:
        return [True, False, True]


def test_direction_at_the_fixture_is_the_published_one() -> None:
    # The fixture has one tensor of three numbers; the mask is one of three tensors of one number.
    parts = [torch.tensor([w], dtype=torch.float64, requires_grad=True) for w in fixture_function.POINT]
    optimizer = Keep(torch.optim.SGD(parts, lr=1.0), rho=0.1, beta=0.6, gamma=1.0)

    def evaluate() -> Tensor:
        loss = fixture_function.value(torch.cat(parts))
        loss.backward()
        return loss

    optimizer.step(evaluate)
    d = torch.cat([p.grad for p in parts])
    assert fixture_function.close(d, (2.3491728016, -1.7165429298, 2.7659939485))


def test_with_everything_kept_and_selected_it_is_sam() -> None:
    models = [mlp(), mlp()]
    optimizers = [ESAM(sgd(models[0]), rho=0.1, beta=1.0, gamma=1.0), SAM(sgd(models[1]), rho=0.1)]
    for number in range(5):
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.step(closure(optimizer, model, seed=number))
    assert same(weights(models[0]), weights(models[1]))
    assert optimizers[0].gradient_evaluations == 10


def test_whole_tensors_are_perturbed_to_the_radius_over_beta() -> None:
    model = mlp()
    optimizer = ESAM(sgd(model), rho=0.05, beta=0.6)
    kept = torch.zeros(4)
    for number in range(200):
        gradients = torch.randn(43, generator=torch.Generator().manual_seed(number), dtype=torch.float64)
        displacement = in_step(number, optimizer).displacement(gradients)
        views = optimizer.flat.split(displacement)
        moved = [bool(view.any()) for view in views]
        assert moved == [bool(view.all()) for view in views]
        if any(moved):
            assert displacement.norm().item() == pytest.approx(0.05 / 0.6)
        kept += torch.tensor(moved)
    # 800 draws: the standard error of the share is √(0.6·0.4/800) = 0.017.
    assert kept.sum().item() / 800 == pytest.approx(0.6, abs=0.07)


@pytest.mark.parametrize(("gamma", "count"), [(0.5, 8), (0.3, 4), (0.01, 1), (0.99, 15)])
def test_the_examples_that_are_hurt_most_are_differentiated(gamma: float, count: int) -> None:
    model = mlp()
    optimizer = ESAM(sgd(model), rho=0.5, beta=1.0, gamma=gamma)
    x, y = batch()
    sizes: list[Tensor] = []
    model.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0]))
    watch = Watch(closure(optimizer, model), model)
    before = weights(model)
    optimizer.step(watch)
    assert [len(seen) for seen in sizes] == [16, 16, count]
    twin = mlp()
    loss = lambda: nn.functional.cross_entropy(twin(x), y, reduction="none").detach()
    here = loss()
    nn.utils.vector_to_parameters(before + watch.displacements[0], twin.parameters())
    rise = loss() - here
    chosen = {int((x == row).all(1).nonzero()) for row in sizes[2]}
    assert chosen == set(rise.argsort(descending=True)[:count].tolist())


def test_where_all_examples_are_equal_the_selected_ones_have_the_gradient_of_all() -> None:
    x, y = batch()
    directions = []
    for gamma in (0.25, 1.0):
        model = mlp()
        optimizer = ESAM(sgd(model), rho=0.1, gamma=gamma)
        loss = nn.CrossEntropyLoss(reduction="none")
        optimizer.step(BatchClosure(model, loss, inputs=x[:1].expand(16, 4), targets=y[:1].expand(16)))
        directions.append(torch.cat([p.grad.reshape(-1) for p in model.parameters()]))
    torch.testing.assert_close(directions[0], directions[1], rtol=1e-12, atol=1e-14)


def test_the_cost_is_the_tables() -> None:
    model = mlp()
    optimizer = ESAM(sgd(model), gamma=0.5)
    for number in range(3):
        optimizer.step(closure(optimizer, model, seed=number))
    assert optimizer.gradient_evaluations == pytest.approx(3 * (4 + 3 * 0.5) / 3)


@pytest.mark.parametrize("option", ["rho=-1", "beta=0", "beta=1.1", "gamma=0", "gamma=nan"])
def test_bad_options_are_refused(option: str) -> None:
    with pytest.raises(UsageError, match=option.split("=")[0]):
        build(f"esam:{option}", mlp())
