"""Hessian-trace regularisation: the published probe, the term's gradient on dense Hessians, and both modes."""

import pytest
import torch
from optim import fixture_function
from optim.battery import batch, build, closure, mlp, sgd, weights
from torch import Tensor, nn

from landscape.errors import UsageError
from landscape.optim import ERM, BatchClosure, HessianTraceRegularised


class Function(nn.Module):
    """A function of its weights, as a network whose outputs are the losses."""

    def __init__(self, function: object, start: tuple[float, ...]) -> None:
        super().__init__()
        self.function = function
        self.w = nn.Parameter(torch.tensor(start, dtype=torch.float64))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(self.w).expand(len(inputs))


def step(
    function: object, start: tuple[float, ...], probe: Tensor | None = None, **options: object
) -> Tensor:
    """The direction of one step."""
    model = Function(function, start)
    optimizer = HessianTraceRegularised(torch.optim.SGD([model.w], lr=0.0), **options)
    if probe is not None:
        optimizer.probes = lambda: iter([probe])  # type: ignore[method-assign]
    ones = torch.ones(2)
    optimizer.step(BatchClosure(model, lambda outputs, _: outputs, inputs=ones, targets=ones))
    assert optimizer.skipped_steps == 0
    return model.w.grad


@pytest.mark.parametrize(("mode", "precision"), [("exact", 1e-9), ("fd", 1e-3)])
def test_the_published_probe_has_the_published_gradient(mode: str, precision: float) -> None:
    v = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
    d = step(fixture_function.value, fixture_function.POINT, v, lam=0.5, n_probe=1, mode=mode)
    g = torch.tensor(fixture_function.GRADIENT, dtype=torch.float64)
    term = torch.tensor([4.0, -1.0, -0.5], dtype=torch.float64)
    torch.testing.assert_close((d - g) / 0.5, term, rtol=0, atol=precision)
    w = torch.tensor(fixture_function.POINT, dtype=torch.float64)
    hessian = torch.autograd.functional.hessian(fixture_function.value, w)
    assert (v @ hessian @ v).item() == pytest.approx(14.4375, abs=1e-9)


@pytest.mark.parametrize("mode", ["exact", "fd"])
def test_on_a_quadratic_the_term_has_no_gradient(mode: str) -> None:
    h = torch.tensor([[3.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    d = step(lambda w: 0.5 * w @ h @ w, (1.0, -2.0), lam=10.0, mode=mode)
    torch.testing.assert_close(d, h @ torch.tensor([1.0, -2.0], dtype=torch.float64), rtol=0, atol=1e-7)


def test_probes_estimate_the_trace_and_keep_their_share() -> None:
    optimizer = HessianTraceRegularised(sgd(mlp()), keep_prob=0.3, n_probe=400)
    probes = torch.stack(list(optimizer.probes()))
    assert set(probes.unique().tolist()) == {-1.0, 0.0, 1.0}
    # 400·43 draws: standard errors 0.0035 of the share and 0.0042 of the mean.
    assert probes.abs().mean().item() == pytest.approx(0.3, abs=0.014)
    assert probes.mean().item() == pytest.approx(0.0, abs=0.017)
    a = torch.randn(43, 43, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    estimates = torch.einsum("pi,ij,pj->p", probes, a, probes)
    error = estimates.std() / 400**0.5
    assert abs(estimates.mean() - 0.3 * a.trace()) < 4 * error


def dense(probes: list[Tensor], layers: list[nn.Module], lam: float) -> Tensor:
    """The gradient of the objective by autograd, three times through a functional network."""
    model = mlp(*layers)
    x, y = batch()
    names = [name for name, _ in model.named_parameters()]
    shapes = [p.shape for p in model.parameters()]
    w = weights(model).requires_grad_(True)

    def loss(vector: Tensor) -> Tensor:
        parts = vector.split([shape.numel() for shape in shapes])
        values = {n: p.view(s) for n, p, s in zip(names, parts, shapes, strict=True)}
        return nn.functional.cross_entropy(torch.func.functional_call(model, values, (x,)), y)

    g = torch.autograd.grad(loss(w), w, create_graph=True)[0]
    traces = [v @ torch.autograd.grad(g @ v, w, create_graph=True)[0] for v in probes]
    return torch.autograd.grad(loss(w) + lam * torch.stack(traces).mean(), w)[0]


def test_on_a_network_the_direction_is_the_gradient_of_the_objective_and_not_that_of_the_loss() -> None:
    model = mlp()
    optimizer = HessianTraceRegularised(sgd(model), lam=0.1, n_probe=3)
    twin = HessianTraceRegularised(sgd(mlp()), lam=0.1, n_probe=3)
    optimizer.step(closure(optimizer, model))
    d = torch.cat([p.grad.reshape(-1) for p in model.parameters()])
    expected = dense(list(twin.probes()), [], 0.1)
    torch.testing.assert_close(d, expected, rtol=1e-10, atol=1e-13)
    assert (d - dense([next(twin.probes())], [], 0.0)).norm() > 1e-2


def test_through_batch_norm_both_modes_agree() -> None:
    directions = []
    for mode in ("exact", "fd"):
        model = mlp(nn.BatchNorm1d(5))
        optimizer = HessianTraceRegularised(
            sgd(model), model=model, lam=0.1, n_probe=2, mode=mode, fd_step=1e-3
        )
        optimizer.step(closure(optimizer, model))
        directions.append(torch.cat([p.grad.reshape(-1) for p in model.parameters()]))
    torch.testing.assert_close(directions[0], directions[1], rtol=1e-3, atol=1e-4)
    model = mlp(nn.BatchNorm1d(5))
    erm = ERM(sgd(model))
    erm.step(closure(erm, model))
    plain = torch.cat([p.grad.reshape(-1) for p in model.parameters()])
    assert (directions[0] - plain).norm() > 1e-2


def test_through_batch_norm_in_evaluation_mode_and_pictures() -> None:
    ends = []
    for mode in ("exact", "fd"):
        torch.manual_seed(0)
        layers = nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.Tanh(), nn.Flatten(), nn.Linear(18, 3)
        model = nn.Sequential(*layers).double().eval()
        model[1].running_var.fill_(2.0)
        optimizer = HessianTraceRegularised(
            torch.optim.SGD(model.parameters(), lr=0.1), model=model, lam=0.1, mode=mode, fd_step=1e-3
        )
        x = torch.randn(8, 1, 4, 4, generator=torch.Generator().manual_seed(0)).double()
        loss = nn.CrossEntropyLoss(reduction="none")
        optimizer.step(BatchClosure(model, loss, inputs=x, targets=torch.arange(8) % 3))
        ends.append(weights(model))
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=1e-5)


def test_with_weight_zero_and_between_its_steps_it_is_its_base() -> None:
    models = [mlp(), mlp(), mlp()]
    none = HessianTraceRegularised(sgd(models[0]), lam=0.0)
    fourth = HessianTraceRegularised(sgd(models[1]), lam=0.1, interval=4, n_probe=2)
    erm = ERM(sgd(models[2]))
    for number in range(5):
        for model, optimizer in zip(models, (none, fourth, erm), strict=True):
            optimizer.step(closure(optimizer, model, seed=number))
    assert torch.equal(weights(models[0]), weights(models[2]))
    assert not torch.equal(weights(models[1]), weights(models[2]))
    assert none.gradient_evaluations == 5
    assert fourth.gradient_evaluations == 5 + 2 * 4 * 2  # steps 0 and 4, four gradients a probe


def test_differences_take_two_gradients_a_probe_and_any_closure() -> None:
    model = mlp()
    optimizer = HessianTraceRegularised(sgd(model), mode="fd", interval=2, n_probe=3)
    assert not optimizer.needs_batch
    for number in range(4):
        optimizer.step(closure(optimizer, model, seed=number))
    assert optimizer.gradient_evaluations == 4 + 2 * 6


@pytest.mark.parametrize(
    "option", ["lam=-1", "n_probe=0", "interval=0", "keep_prob=0", "keep_prob=2", "mode=cubic", "fd_step=0"]
)
def test_bad_options_are_refused(option: str) -> None:
    with pytest.raises(UsageError, match=option.split("=")[0]):
        build(f"hessian-trace-reg:{option}", mlp())
