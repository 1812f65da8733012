"""The objective against closed forms, dense derivatives, and its own promises."""

import problems
import pytest
import torch
from torch import Tensor, nn

from landscape.errors import UsageError
from landscape.objective import BatchLoss, Objective

CE = nn.CrossEntropyLoss()


def close(a: Tensor, b: Tensor, tolerance: float = 1e-12) -> bool:
    return bool((a - b).norm() <= tolerance * (1 + b.norm()))


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU, nn.GELU])
def test_derivatives_equal_the_dense_ones(activation: type[nn.Module]) -> None:
    x, y = problems.classification()
    objective = problems.small_objective(activation)
    gradient, hessian = problems.dense(objective, problems.small_net(activation), x, y, CE)
    identity = torch.eye(objective.dimension, dtype=torch.float64)
    assert close(objective.gradient, gradient)
    assert close(objective.hessian_product(identity), hessian)


def test_linear_regression_has_its_closed_form() -> None:
    x, _ = problems.classification(features=5)
    y = x @ torch.arange(5.0, dtype=torch.float64) + 1
    model = problems.network(nn.Linear(5, 1))
    objective = Objective(model, lambda f, t: nn.functional.mse_loss(f[:, 0], t), problems.batches(x, y, 33))
    design = torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], dim=1)
    residual = design @ objective.point - y
    identity = torch.eye(6, dtype=torch.float64)
    assert objective.loss == pytest.approx(float(residual.square().mean()), rel=1e-12)
    assert close(objective.gradient, 2 * design.T @ residual / len(x))
    assert close(objective.hessian_product(identity), 2 * design.T @ design / len(x))
    assert close(objective.gauss_newton_product(identity), 2 * design.T @ design / len(x))


def test_logistic_regression_has_its_closed_form() -> None:
    x, y = problems.classification(classes=2, features=5)
    model = problems.network(nn.Linear(5, 1, bias=False))
    loss = lambda f, t: nn.functional.binary_cross_entropy_with_logits(f[:, 0], t.double())
    objective = Objective(model, loss, problems.batches(x, y, 40))
    p = torch.sigmoid(x @ objective.point)
    hessian = x.T @ torch.diag(p * (1 - p)) @ x / len(x)
    assert close(objective.gradient, x.T @ (p - y) / len(x))
    assert close(objective.hessian_product(torch.eye(5, dtype=torch.float64)), hessian)


def test_softmax_regression_has_its_closed_form() -> None:
    x, y = problems.classification(classes=3, features=4)
    objective = Objective(problems.network(nn.Linear(4, 3, bias=False)), CE, problems.batches(x, y, 64))
    p = torch.softmax(x @ objective.point.view(3, 4).T, dim=1)
    curvature = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    hessian = torch.einsum("bcd,bi,bj->cidj", curvature, x, x).reshape(12, 12) / len(x)
    identity = torch.eye(12, dtype=torch.float64)
    assert close(objective.hessian_product(identity), hessian)
    assert close(objective.gauss_newton_product(identity), hessian)
    assert objective.accuracy == pytest.approx(float((p.argmax(1) == y).double().mean()))


def test_gauss_newton_equals_the_dense_jacobian_form() -> None:
    x, _y = problems.classification()
    objective = problems.small_objective()
    model, layout = problems.small_net(), objective.layout

    def outputs(theta: Tensor) -> Tensor:
        return torch.func.functional_call(model, layout.named(theta), (x,))

    jacobian = torch.func.jacrev(outputs)(objective.point)
    p = outputs(objective.point).softmax(1)
    curvature = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    matrix = torch.einsum("bcn,bcd,bdm->nm", jacobian, curvature, jacobian) / len(x)
    assert close(objective.gauss_newton_product(torch.eye(objective.dimension, dtype=torch.float64)), matrix)


@pytest.mark.parametrize("activation", [nn.Tanh, nn.GELU])
def test_products_agree_with_finite_differences_on_smooth_nets(activation: type[nn.Module]) -> None:
    objective = problems.small_objective(activation)
    v = torch.randn(objective.dimension, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    step = 1e-5
    difference = (
        objective.at(objective.point + step * v).gradient - objective.at(objective.point - step * v).gradient
    ) / (2 * step)
    assert close(objective.hessian_product(v), difference, 1e-7)


@pytest.mark.parametrize("size", [1, 7, 30, 100])
def test_results_do_not_depend_on_the_partition_into_batches(size: int) -> None:
    x, y = problems.classification()
    whole = Objective(problems.small_net(), CE, [(x, y)])
    parted = Objective(problems.small_net(), CE, problems.batches(x, y, size))
    v = torch.ones(whole.dimension, dtype=torch.float64)
    assert parted.loss == pytest.approx(whole.loss, rel=1e-13)
    assert parted.accuracy == whole.accuracy
    assert close(parted.gradient, whole.gradient)
    assert close(parted.hessian_product(v), whole.hessian_product(v))
    assert close(parted.gauss_newton_product(v), whole.gauss_newton_product(v))


class Tied(nn.Module):
    """Encoder and decoder share one matrix; a third layer is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4)
        self.decoder.weight = self.encoder.weight
        self.unused = nn.Parameter(torch.ones(3))
        self.head.bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.decoder(torch.tanh(self.encoder(x)))))


def test_tied_frozen_and_unused_parameters_are_right() -> None:
    torch.manual_seed(0)
    x, y = problems.classification()
    model = Tied().double()
    objective = Objective(model, CE, problems.batches(x, y, 30))
    assert objective.layout.names.count("encoder.weight") == 1
    assert "decoder.weight" not in objective.layout.names
    assert "head.bias" not in objective.layout.names
    gradient, hessian = problems.dense(objective, model, x, y, CE)
    assert close(objective.gradient, gradient)
    assert close(objective.hessian_product(torch.eye(objective.dimension, dtype=torch.float64)), hessian)
    assert objective.layout.named(objective.gradient)["unused"].abs().max() == 0


def test_another_point_does_not_disturb_the_first() -> None:
    objective = problems.small_objective()
    loss, gradient = objective.loss, objective.gradient.clone()
    other = objective.at(objective.point * 2)
    assert other.loss != loss
    scratch = objective.point.clone()
    first = objective.evaluate(scratch)[0]
    scratch += 1
    assert objective.evaluate(scratch)[0] != first
    again = objective.at(objective.point)
    assert again.loss == pytest.approx(loss, rel=1e-14)
    assert torch.equal(again.gradient, gradient)


def test_batches_apart_average_to_the_whole() -> None:
    objective = problems.small_objective(batch=30)
    parts = list(objective.per_batch())
    assert [part.num_examples for part in parts] == [30, 30, 30, 10]
    mean = sum(part.gradient * part.num_examples for part in parts) / 100
    assert close(mean, objective.gradient)
    singles = list(objective.per_example())
    assert sum(one.loss for one in singles) / 100 == pytest.approx(objective.loss, rel=1e-12)


def test_dictionary_batches_go_through_a_batch_loss() -> None:
    x, y = problems.classification()
    plain = Objective(problems.small_net(), CE, problems.batches(x, y, 30))
    wrapped = Objective(
        problems.small_net(),
        BatchLoss(lambda model, batch: CE(model(batch["x"]), batch["y"])),
        [{"x": a, "y": b} for a, b in problems.batches(x, y, 30)],
    )
    v = torch.ones(plain.dimension, dtype=torch.float64)
    assert wrapped.num_examples == 100
    assert torch.equal(plain.hessian_product(v), wrapped.hessian_product(v))
    with pytest.raises(UsageError, match="BatchLoss hides"):
        wrapped.gauss_newton_product(v)


def test_attention_is_differentiated_twice() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True).double().eval()
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(40, 3).double()).eval()
    x, y = torch.randn(12, 5, 8).double(), torch.randint(0, 3, (12,))
    objective = Objective(model, CE, [(x, y)])
    v = torch.randn(objective.dimension, dtype=torch.float64)
    step = 1e-5
    up, down = objective.at(objective.point + step * v), objective.at(objective.point - step * v)
    assert close(objective.hessian_product(v), (up.gradient - down.gradient) / (2 * step), 1e-6)


def test_float32_and_float64_agree() -> None:
    x, y = problems.classification(dtype=torch.float32)
    model = problems.small_net(dtype=torch.float32)
    single, double = (Objective(model, CE, [(x, y)], dtype=d) for d in (torch.float32, torch.float64))
    v = torch.ones(single.dimension)
    assert single.hessian_product(v).dtype == torch.float32
    assert close(single.hessian_product(v).double(), double.hessian_product(v), 1e-5)


def test_half_precision_weights_are_raised() -> None:
    x, y = problems.classification(dtype=torch.float32)
    objective = Objective(problems.small_net(dtype=torch.float32).bfloat16(), CE, [(x, y)])
    assert objective.point.dtype == torch.float32


def test_the_parameters_can_be_chosen() -> None:
    x, y = problems.classification()
    objective = Objective(problems.small_net(), CE, [(x, y)], parameters=["4.*"])
    assert objective.layout.names == ("4.weight", "4.bias")
    with pytest.raises(UsageError, match=r"'head\.\*' matches none"):
        Objective(problems.small_net(), CE, [(x, y)], parameters=["head.*"])
