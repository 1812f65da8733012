"""Which weights a loss reaches: the copy's own, and by a derivative; otherwise it is refused or said."""

import copy

import problems
import pytest
import torch
from torch import Tensor, nn

from landscape.errors import InputError
from landscape.measures import (
    dominant_eigenvalue,
    gradient_norm,
    hessian_trace,
    normalized_trace,
    surrogate_gap,
)
from landscape.objective import BatchLoss, Objective

CE = nn.CrossEntropyLoss()
X, Y = problems.classification(30, features=6, classes=3)
PAST = r"reaches the weights of the model that was passed, not of the copy.*use the model that is passed"


def body() -> nn.Sequential:
    return problems.network(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


def penalised(net: nn.Module) -> BatchLoss:
    """Weight decay on the user's own network, by a closure."""
    return BatchLoss(
        lambda model, batch: (
            CE(model(batch[0]), batch[1]) + 0.1 * sum(p.square().sum() for p in net.parameters())
        )
    )


def past(net: nn.Module) -> BatchLoss:
    """All of it on the user's own network."""
    return BatchLoss(lambda model, batch: CE(net(batch[0]), batch[1]))


class Penalty(nn.Module):
    """A loss that holds the network."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return CE(outputs, targets) + self.net[0].weight.square().sum()


class Lambda(nn.Module):
    """A network whose forward pass is a function that deepcopy does not copy."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 3).double()
        weight = self.inner.weight
        self.function = lambda x: x @ weight.T

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


REACHING_PAST = {
    "a penalty": lambda net: (net, penalised(net)),
    "everything": lambda net: (net, past(net)),
    "a loss that holds the network": lambda net: (net, Penalty(net)),
    "a wrapped network": lambda net: (nn.DataParallel(net), past(net)),
    "a forward pass with a closure": lambda net: (Lambda(), CE),
}


@pytest.mark.parametrize("case", REACHING_PAST)
def test_a_loss_that_reaches_the_users_own_weights_is_refused(case: str) -> None:
    model, loss = REACHING_PAST[case](body())
    objective = Objective(model, loss, [(X, Y)])
    for look in (lambda: objective.loss, lambda: objective.gradient, lambda: hessian_trace(objective)):
        with pytest.raises(InputError, match=PAST):
            look()


def test_the_refusal_names_a_weight() -> None:
    net = body()
    with pytest.raises(InputError, match=r"'0\.weight' and 3 more"):
        _ = Objective(net, penalised(net), [(X, Y)]).loss


def test_a_loss_on_another_copy_of_the_network_alone_is_refused() -> None:
    net = body()
    with pytest.raises(InputError, match="depends on no free parameter of the model, but on 4 other tensors"):
        _ = Objective(copy.deepcopy(net), past(net), [(X, Y)]).gradient


def test_weights_of_another_network_are_constants_and_said() -> None:
    """A distance to where training began, a teacher, a loss with weights of its own: all are held."""
    net, start = body(), body()
    pairs = lambda model: zip(model.parameters(), start.parameters(), strict=True)
    loss = BatchLoss(
        lambda model, batch: sum((p - q).square().sum() for p, q in pairs(model)) + 0 * batch[0].sum()
    )
    with torch.no_grad():
        net[0].bias += 1
    objective = Objective(net, loss, [(X, Y)])
    assert float(objective.gradient.norm()) == pytest.approx(2 * 5**0.5, rel=1e-12)
    assert objective.notes == [
        "the loss has 4 tensors of its own that require a gradient: they are held fixed"
    ]


def test_inputs_that_a_loss_differentiates_are_no_weights() -> None:
    def slope(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        x = batch[0].detach().requires_grad_()
        (derivative,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        return derivative.square().mean()

    objective = Objective(body(), BatchLoss(slope), [(X, Y)])
    assert float(objective.gradient.norm()) > 0
    assert objective.notes == []


class Detached(nn.Module):
    """The scores as numbers, without how they depend on the weights."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.inner, self.how = body(), how

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "detach":
            return self.inner(x).detach()
        if self.how == "numpy":
            return torch.from_numpy(self.inner(x).detach().numpy().copy())
        with torch.no_grad():
            return self.inner(x)


MEASURES = (gradient_norm, surrogate_gap, dominant_eigenvalue, hessian_trace, normalized_trace)


@pytest.mark.parametrize("how", ["detach", "numpy", "no_grad"])
@pytest.mark.parametrize("hidden", [False, True])
def test_detached_outputs_are_refused_wherever_a_derivative_is_taken(how: str, hidden: bool) -> None:
    loss = BatchLoss(lambda model, batch: CE(model(batch[0]), batch[1])) if hidden else CE
    objective = Objective(Detached(how), loss, [(X, Y)])
    assert objective.loss == pytest.approx(float(CE(body()(X), Y)), rel=1e-12)
    for measure in MEASURES:
        with pytest.raises(
            InputError, match=r"changes with all 4 free parameter tensors, but autograd records no derivative"
        ):
            measure(objective)
    with pytest.raises(InputError, match="autograd records no derivative"):
        objective.hessian_product(objective.point)
    with pytest.raises(InputError, match="autograd records no derivative"):
        objective.gauss_newton_product(objective.point)


class HeadOnly(nn.Module):
    """Features without a derivative, and a head with one."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.head = nn.Linear(6, 5).double(), nn.Linear(5, 3).double()

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            seen = torch.tanh(self.features(x))
        return self.head(seen)


def test_a_part_without_a_derivative_is_named_with_the_way_out() -> None:
    model = HeadOnly()
    with pytest.raises(
        InputError, match=r"'features\.weight', 'features\.bias'.*leave them out with parameters="
    ):
        _ = Objective(model, CE, [(X, Y)]).gradient
    objective = Objective(model, CE, [(X, Y)], parameters=["head.*"])
    assert objective.gradient.norm() > 0
    assert objective.notes == ["2 of 4 parameter tensors (18 of 53 weights) are free: head.*"]


class Unused(nn.Module):
    """Ignores its weights, or a part of them."""

    def __init__(self, *, wholly: bool) -> None:
        super().__init__()
        self.inner, self.spare, self.wholly = nn.Linear(6, 3).double(), nn.Linear(2, 2).double(), wholly

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :3] if self.wholly else self.inner(x)


def test_a_network_without_any_use_of_its_weights_has_derivatives_of_zero() -> None:
    for loss in (CE, BatchLoss(lambda model, batch: CE(model(batch[0]), batch[1]))):
        objective = Objective(Unused(wholly=True), loss, [(X, Y)])
        assert gradient_norm(objective).value == 0
        assert surrogate_gap(objective).value == 0
        assert dominant_eigenvalue(objective).value == 0
        assert hessian_trace(objective).value == 0
        assert normalized_trace(objective).value != normalized_trace(objective).value
        assert objective.notes == ["the loss depends on no free parameter: all derivatives are zero"]


def test_a_parameter_without_use_has_derivatives_of_zero_and_needs_no_note() -> None:
    model = Unused(wholly=False)
    objective = Objective(model, CE, [(X, Y)])
    used = Objective(model, CE, [(X, Y)], parameters=["inner.*"])
    assert torch.equal(objective.gradient[:21], used.gradient)
    assert not objective.gradient[21:].any()
    assert objective.notes == []


def test_micro_batches_are_chosen_where_nothing_depends_on_the_weights() -> None:
    assert Objective(Unused(wholly=True), CE, [(X, Y)], micro_batch="auto").loss > 0


def test_frozen_parameters_are_said() -> None:
    model = body()
    model[0].requires_grad_(False)
    assert Objective(model, CE, [(X, Y)]).notes == [
        "2 of 4 parameter tensors (35 of 53 weights) do not require a gradient and are held fixed: 0.weight, 0.bias"
    ]
    assert Objective(model, CE, [(X, Y)], parameters=["2.*"]).notes == [
        "2 of 4 parameter tensors (18 of 53 weights) are free: 2.*"
    ]


def test_losses_that_take_derivatives_themselves_are_looked_at_too() -> None:
    """In their own ways: neither can do with the graph alone that the look keeps no tensors of."""

    def by_func(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        slopes = torch.func.vmap(torch.func.grad(lambda x: model(x.unsqueeze(0)).sum()))(batch[0])
        return slopes.square().mean()

    def by_itself(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            x = batch[0].clone().requires_grad_()
            (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        return slope.square().mean()

    found = [Objective(body(), BatchLoss(loss), [(X, Y)]) for loss in (by_func, by_itself)]
    assert torch.allclose(found[0].gradient, found[1].gradient, rtol=1e-9)
    assert found[0].gradient.any()
    assert [objective.notes for objective in found] == [[], []]
