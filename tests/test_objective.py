"""The objective against closed forms, dense derivatives, and its own promises."""

import copy
import random

import numpy as np
import problems
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from landscape.errors import InputError, UsageError
from landscape.objective import BatchLoss, Objective

CE = nn.CrossEntropyLoss()


def close(a: Tensor, b: Tensor, tolerance: float = 1e-12) -> bool:
    return bool((a - b).norm() <= tolerance * (1 + b.norm()))


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU, nn.GELU, nn.Sigmoid])
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
    objective = problems.small_objective()
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


class TestBadInput:
    """One clear line each."""

    x, y = problems.classification()

    def make(
        self, model: nn.Module | None = None, loss: object = CE, data: object = None, **options: object
    ) -> Objective:
        return Objective(
            model or problems.small_net(), loss, [(self.x, self.y)] if data is None else data, **options
        )  # type: ignore[arg-type]

    def test_dropout_in_training_mode(self) -> None:
        model = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.3), nn.Linear(8, 4)).double()
        with pytest.raises(UsageError, match=r"'1' \(Dropout, p=0.3\).*model.eval\(\)"):
            self.make(model)

    def test_functional_randomness(self) -> None:
        class Noisy(nn.Linear):
            def forward(self, x: Tensor) -> Tensor:
                return super().forward(nn.functional.dropout(x))

        with pytest.raises(InputError, match="the model is random"):
            _ = self.make(Noisy(8, 4).double()).loss

    def test_random_data(self) -> None:
        class Augmented(TensorDataset):
            def __getitem__(self, index: int) -> tuple[Tensor, ...]:
                x, y = super().__getitem__(index)
                return x + torch.randn(8), y

        with pytest.raises(InputError, match="the data set is random"):
            _ = self.make(data=Augmented(self.x, self.y)).loss

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_non_finite_weights(self, bad: float) -> None:
        model = problems.small_net()
        with torch.no_grad():
            model[2].weight[0, 0] = bad
        with pytest.raises(InputError, match=r"1 of 568 weights are NaN or infinite: 2\.weight \(1\)"):
            self.make(model)

    def test_non_finite_data(self) -> None:
        x = self.x.clone()
        x[3, 2] = float("nan")
        with pytest.raises(InputError, match="batch 0 of the data holds 1 values"):
            _ = self.make(data=[(x, self.y)]).loss

    @pytest.mark.parametrize("data", [TensorDataset(torch.zeros(0, 8), torch.zeros(0)), iter([])])
    def test_empty_data(self, data: object) -> None:
        with pytest.raises(InputError, match="empty"):
            _ = self.make(data=data).loss

    def test_a_loss_without_reduction(self) -> None:
        with pytest.raises(UsageError, match="reduction='none'"):
            self.make(loss=nn.CrossEntropyLoss(reduction="none"))
        with pytest.raises(UsageError, match=r"not a scalar \(shape \(100,\)\)"):
            _ = self.make(loss=lambda f, t: nn.functional.cross_entropy(f, t, reduction="none")).loss
        with pytest.raises(UsageError, match=r"not a scalar \(float\)"):
            _ = self.make(loss=lambda f, t: 1.0).loss

    def test_data_that_does_not_fit_the_model(self) -> None:
        with pytest.raises(InputError, match=r"cannot be evaluated on this data \(inputs \(100, 5\)"):
            _ = self.make(data=[(self.x[:, :5], self.y)]).loss

    def test_labels_out_of_range(self) -> None:
        with pytest.raises(InputError, match=r"targets \(100,\) int64, values 10 to 13"):
            _ = self.make(data=[(self.x, self.y + 10)]).loss

    def test_batches_that_are_not_pairs(self) -> None:
        with pytest.raises(InputError, match="BatchLoss"):
            _ = self.make(data=[{"x": self.x}]).loss

    def test_no_free_parameters(self) -> None:
        model = problems.small_net()
        model.requires_grad_(False)
        with pytest.raises(UsageError, match="no free parameter"):
            self.make(model)

    def test_vectors_and_points_of_the_wrong_shape(self) -> None:
        objective = self.make()
        with pytest.raises(ValueError, match=r"expected \(568,\) or \(568, K\)"):
            objective.hessian_product(torch.ones(5))
        with pytest.raises(ValueError, match="n = 568"):
            objective.at(torch.ones(5))
