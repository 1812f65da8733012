"""The proof against dense Hessians: small networks, half of them built to fool it. Never "proved" when wrong."""

import pytest
import torch
from proof_cases import Net, case, norms, objective_of, parametrized
from torch import Tensor, nn
from torch.nn import functional

from landscape.curvature.gauss_newton_trace import gauss_newton_traces, plan


class Square(torch.autograd.Function):
    """Squares, but its second derivative is that of what its backward pass says."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)  # type: ignore[attr-defined]
        return torch.relu(x)

    @staticmethod
    def backward(ctx: object, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return g * x


class Symmetric(nn.Module):
    def forward(self, w: Tensor) -> Tensor:
        return w @ w.T


def tied() -> nn.Module:
    model = Net()
    model.b.weight = model.a.weight
    return model


def hooked() -> nn.Module:
    model = Net()
    model.a.register_full_backward_hook(lambda m, i, o: (i[0] * 2,) if i[0] is not None else None)
    return model


def weight_normed() -> nn.Module:
    model = Net()
    nn.utils.parametrizations.weight_norm(model.a)
    return model


def reused_by_function(self: Net, x: Tensor) -> Tensor:
    return functional.linear(torch.relu(self.a(x)), self.a.weight)


def multiplied_branches(self: Net, x: Tensor) -> Tensor:
    return torch.relu(self.a(x)) * torch.relu(self.a(-x))


def hidden_square(self: Net, x: Tensor) -> Tensor:
    y = self.a(x)
    return self.b(y.mul(y))


def branch_on_values(self: Net, x: Tensor) -> Tensor:
    y = self.a(x)
    return y if float(y.sum()) > -1e9 and not torch._C._functorch.is_functorch_wrapped_tensor(y) else y * y


def branch_on_grad_mode(self: Net, x: Tensor) -> Tensor:
    y = self.a(x)
    return y * y if torch.is_grad_enabled() else y


def branch_on_batch_size(self: Net, x: Tensor) -> Tensor:
    y = self.a(x)
    return y if x.shape[0] == 12 else y * y


def gate(self: Net, x: Tensor) -> Tensor:
    return self.a(x) * torch.sigmoid(self.b(x))


def linear_gate(self: Net, x: Tensor) -> Tensor:
    return self.a(x) * self.b(x)


def added_twice(self: Net, x: Tensor) -> Tensor:
    return torch.relu(self.a(x)) + torch.relu(self.a(-x))


def item(self: Net, x: Tensor) -> Tensor:
    return self.a(x) * self.a.weight.square().sum()


def divided(self: Net, x: Tensor) -> Tensor:
    return self.a(x) / (1 + self.b.weight.abs().sum())


def normalised(self: Net, x: Tensor) -> Tensor:
    return functional.normalize(self.a(x), dim=1)


def custom(self: Net, x: Tensor) -> Tensor:
    return Square.apply(self.a(x))


def masked(self: Net, x: Tensor) -> Tensor:
    y = self.a(x)
    return torch.where(y > 0, y, 0.1 * self.b(x))


def in_place(self: Net, x: Tensor) -> Tensor:
    y = self.a(x)
    y.relu_()
    z = self.b(y)
    z += y
    return z


def detached(self: Net, x: Tensor) -> Tensor:
    y = self.a(x)
    return y * y.detach()


def maxed(self: Net, x: Tensor) -> Tensor:
    return torch.maximum(self.a(x), self.b(x)).clamp(-1, 2)


def matmul_of_itself(self: Net, x: Tensor) -> Tensor:
    return x @ (self.a.weight @ self.a.weight)


def powered(self: Net, x: Tensor) -> Tensor:
    return self.a(x) ** 2


def mixing(self: Net, x: Tensor) -> Tensor:
    y = torch.relu(self.a(x))
    return y + y.mean(0, keepdim=True)


PROVABLE = {
    "relu mlp": Net,
    "leaky": lambda: norms(nn.LeakyReLU(0.2)),
    "hardtanh": lambda: norms(nn.Hardtanh()),
    "batch norm stored": lambda: norms(nn.BatchNorm1d(8)),
    "added twice": lambda: case(added_twice),
    "linear gate": lambda: case(linear_gate),
    "where": lambda: case(masked),
    "in place": lambda: case(in_place),
    "maximum and clamp": lambda: case(maxed),
    "convolutions": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 6)),
        nn.Conv1d(1, 4, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(24, 3),
    ),
}
ADVERSARIAL = {
    "tied": tied,
    "tied by a parametrization": lambda: parametrized(Symmetric()),
    "weight norm": weight_normed,
    "reused by a function": lambda: case(reused_by_function),
    "branches multiplied": lambda: case(multiplied_branches),
    "hidden square": lambda: case(hidden_square),
    "branch on values": lambda: case(branch_on_values),
    "branch on grad mode": lambda: case(branch_on_grad_mode),
    "branch on batch size": lambda: case(branch_on_batch_size),
    "sigmoid gate": lambda: case(gate),
    "norm of a weight": lambda: case(item),
    "divided by a weight": lambda: case(divided),
    "normalised": lambda: case(normalised),
    "custom function": lambda: case(custom),
    "backward hook": hooked,
    "detached factor": lambda: case(detached),
    "weight times itself": lambda: case(matmul_of_itself),
    "power": lambda: case(powered),
    "mixing examples": lambda: case(mixing),
    "layer norm": lambda: norms(nn.LayerNorm(8)),
    "tanh": lambda: norms(nn.Tanh()),
    "gelu": lambda: norms(nn.GELU()),
}


@pytest.mark.parametrize("name", PROVABLE)
def test_a_piecewise_affine_network_is_proved_and_its_trace_exact_layer_by_use(name: str) -> None:
    objective, diagonal = objective_of(PROVABLE[name])
    chosen = plan(objective)
    assert chosen.affine.proved, chosen.affine.reason
    truth = torch.stack([part.sum() for part in objective.layout.split(diagonal)])
    assert torch.allclose(gauss_newton_traces(objective, chosen), truth, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_a_network_built_to_fool_the_proof_is_not_proved_where_it_would_be_wrong(name: str) -> None:
    objective, diagonal = objective_of(ADVERSARIAL[name])
    chosen = plan(objective)
    if chosen.affine.proved and not chosen.obstacle:
        wrong = float((gauss_newton_traces(objective, chosen).sum() - diagonal.sum()).abs())
        assert wrong <= 1e-12 * float(diagonal.abs().sum()), "proved, and wrong"
    else:
        assert chosen.obstacle or chosen.affine.reason


@pytest.mark.parametrize(
    "name",
    ["tied", "weight norm", "reused by a function", "branches multiplied", "hidden square", "sigmoid gate", "tanh",
     "power", "layer norm", "weight times itself", "normalised", "branch on grad mode", "branch on batch size"],
)  # fmt: skip
def test_tr_h_is_not_tr_g_there_so_that_a_proof_would_have_been_wrong(name: str) -> None:
    objective, diagonal = objective_of(ADVERSARIAL[name])
    inner = objective.gauss_newton_product(torch.eye(objective.dimension, dtype=torch.float64)).trace()
    assert float((inner - diagonal.sum()).abs()) > 1e-6 * float(diagonal.abs().sum())
    assert not plan(objective).affine.proved


def test_the_reason_names_the_operation() -> None:
    assert plan(objective_of(ADVERSARIAL["tanh"])[0]).affine.reason == "tanh is not piecewise linear"
    assert "a.weight" in plan(objective_of(ADVERSARIAL["reused by a function"])[0]).affine.reason
    assert "depend on the other examples" in plan(objective_of(ADVERSARIAL["mixing examples"])[0]).obstacle
