"""What stands in the way of second derivatives is taken out of it, said in a line, and the user's model stays."""

import copy

import problems
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn
from torch.utils.checkpoint import checkpoint

from landscape.errors import InputError
from landscape.measures import MEASURES
from landscape.objective import BatchLoss, Objective

CE = nn.CrossEntropyLoss()
X, Y = problems.classification(20, features=6, classes=3)


def block(layer: nn.Module) -> nn.Module:
    """The layer between two linear ones, 6 → 5 → 3, in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 5), layer, nn.Linear(5, 3)).double().eval()


def product(model: nn.Module, inputs: Tensor = X, targets: Tensor = Y) -> Tensor:
    """The Hessian times ones, by autograd."""
    parameters = list(model.parameters())
    gradient = torch.autograd.grad(CE(model(inputs), targets), parameters, create_graph=True)
    total = sum(g.sum() for g in gradient)
    return torch.cat([p.flatten() for p in torch.autograd.grad(total, parameters)])


def agrees(model: nn.Module, plain: nn.Module, note: str) -> None:
    before = copy.deepcopy(plain.state_dict())
    objective = Objective(model, CE, [(X[:13], Y[:13]), (X[13:], Y[13:])])
    ones = torch.ones(objective.dimension, dtype=torch.float64)
    expected = product(plain)
    assert torch.allclose(objective.hessian_product(ones), expected, rtol=1e-9, atol=1e-12)
    assert [line for line in objective.notes if note in line], objective.notes
    assert all(torch.equal(tensor, before[name]) for name, tensor in plain.state_dict().items())


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.optim.swa_utils.AveragedModel])
def test_wrappers_are_taken_off_and_names_are_plain(wrap: type[nn.Module]) -> None:
    plain = block(nn.Tanh())
    agrees(wrap(plain).eval(), plain, f"taken out of its wrapper: {wrap.__name__}")
    assert Objective(wrap(plain).eval(), CE, [(X, Y)]).layout.names[0] == "0.weight"


def test_a_wrapper_inside_the_network_is_taken_off_too() -> None:
    plain = block(nn.Tanh())
    wrapped = nn.Sequential(nn.DataParallel(plain[0]), plain[1], plain[2])
    agrees(wrapped, plain, "DataParallel")
    assert isinstance(wrapped[0], nn.DataParallel)
    objective = Objective(wrapped, CE, [(X, Y)], parameters=["0.module.*"])
    assert objective.layout.names == ("0.weight", "0.bias")


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = checkpoint(torch.tanh, x, use_reentrant=self.reentrant)
        return found


def test_activation_checkpointing_in_its_reentrant_form_is_switched_off() -> None:
    agrees(block(Checkpointed(True)), block(nn.Tanh()), "activation checkpointing is off")
    assert torch.utils.checkpoint.CheckpointFunction.__name__ == "CheckpointFunction"


def test_activation_checkpointing_in_its_other_form_needs_nothing() -> None:
    objective = Objective(block(Checkpointed(False)), CE, [(X, Y)])
    ones = torch.ones(objective.dimension, dtype=torch.float64)
    assert torch.allclose(objective.hessian_product(ones), product(block(nn.Tanh())))
    assert objective.notes == []


class Attention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        rows = x.unsqueeze(-1)
        return nn.functional.scaled_dot_product_attention(rows, rows, rows).squeeze(-1)


class PlainAttention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (torch.softmax(x.unsqueeze(-1) * x.unsqueeze(-2), dim=-1) * x.unsqueeze(-2)).sum(-1)


def test_fused_attention_is_computed_by_matrix_products() -> None:
    agrees(block(Attention()), block(PlainAttention()), "attention by matrix products")


class Scaling(nn.Module):
    """Writes to its inputs."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(2)


def test_a_network_that_writes_to_its_inputs_is_given_copies() -> None:
    plain = problems.network(nn.Linear(6, 3))
    kept = X.clone()
    objective = Objective(nn.Sequential(Scaling(), plain), CE, [(X, Y)])
    ones = torch.ones(objective.dimension, dtype=torch.float64)
    for _ in range(2):
        assert torch.allclose(objective.hessian_product(ones), product(plain, 2 * X))
    assert objective.notes == ["the model writes to its inputs in place: it is given copies"]
    assert torch.equal(X, kept)


class Clamped(nn.Linear):
    """Writes to its weights."""

    def forward(self, x: Tensor) -> Tensor:
        self.weight.data.clamp_(-0.1, 0.1)
        return super().forward(x)


def test_a_network_that_writes_to_its_weights_is_refused() -> None:
    model = Clamped(6, 3).double()
    with pytest.raises(InputError, match=r"Clamped writes to its own weights \(weight\)"):
        _ = Objective(model, CE, [(X, Y)]).loss


def test_half_precision_is_raised_and_said() -> None:
    model = block(nn.Tanh()).to(torch.bfloat16)
    objective = Objective(model, CE, [(X, Y)])
    ones = torch.ones(objective.dimension)
    expected = product(copy.deepcopy(model).float(), X.float())
    assert torch.allclose(objective.hessian_product(ones), expected, rtol=1e-4, atol=1e-6)
    assert "weights in bfloat16 are raised to float32" in objective.notes[0]
    assert model[0].weight.dtype == torch.bfloat16


def test_weights_on_the_meta_device_are_refused() -> None:
    with pytest.raises(InputError, match=r"on the meta device \(weight and others\): .* no values"):
        Objective(nn.Linear(6, 3, device="meta"), CE, [(X, Y)])


def test_complex_weights_are_refused() -> None:
    model = nn.Sequential(nn.Linear(6, 3, dtype=torch.complex64))
    with pytest.raises(InputError, match=r"0\.weight is torch\.complex64: only weights in floating point"):
        Objective(model, CE, [(X, Y)])


class Returning(nn.Module):
    def __init__(self, form: object) -> None:
        super().__init__()
        self.inner, self.form = block(nn.Tanh()), form

    def forward(self, x: Tensor) -> object:
        return self.form(self.inner(x))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("form", "where"),
    [
        (lambda scores: {"features": scores * 0, "logits": scores}, "'logits' of the dict"),
        (lambda scores: (scores, scores * 0), "the first of the 2 parts"),
    ],
)
def test_the_scores_are_taken_out_of_what_a_network_returns(form: object, where: str) -> None:
    plain = block(nn.Tanh())
    objective = Objective(Returning(form), CE, [(X, Y)])
    ones = torch.ones(objective.dimension, dtype=torch.float64)
    assert torch.allclose(objective.hessian_product(ones), product(plain))
    assert torch.allclose(
        objective.gauss_newton_product(ones), Objective(plain, CE, [(X, Y)]).gauss_newton_product(ones)
    )
    assert objective.accuracy is not None
    assert where in objective.notes[0]


def test_a_dictionary_without_scores_is_refused_and_a_loss_of_the_users_own_gets_it_whole() -> None:
    model = Returning(lambda scores: {"first": scores, "second": scores})
    with pytest.raises(InputError, match="returns a dict of first, second, none of which"):
        _ = Objective(model, CE, [(X, Y)]).loss
    objective = Objective(model, lambda outputs, targets: CE(outputs["second"], targets), [(X, Y)])
    assert objective.loss == Objective(block(nn.Tanh()), CE, [(X, Y)]).loss


class Keywords(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = block(nn.Tanh())

    def forward(self, points: Tensor, scale: Tensor) -> Tensor:
        scores: Tensor = self.inner(points * scale[:, None])
        return scores


def test_a_dictionary_batch_is_keyword_arguments_and_labels() -> None:
    batch = {"points": X / 2, "scale": torch.full((20,), 2.0), "labels": Y}
    objective = Objective(Keywords(), CE, [batch])
    ones = torch.ones(objective.dimension, dtype=torch.float64)
    assert torch.allclose(objective.hessian_product(ones), product(block(nn.Tanh())))
    assert sum(one.loss for one in objective.per_example()) / 20 == pytest.approx(objective.loss)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_have_the_derivatives_of_finite_differences(kind: type[nn.RNNBase]) -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = kind(2, 4, batch_first=True), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.head(self.layer(x.view(-1, 3, 2))[0][:, -1])
            return scores

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Reader().double()
    objective = Objective(model, CE, [(X, Y)])
    v = torch.ones(objective.dimension, dtype=torch.float64)
    step = 1e-5
    ahead, behind = (objective.at(objective.point + s * v).gradient for s in (step, -step))
    assert torch.allclose(objective.hessian_product(v), (ahead - behind) / (2 * step), atol=1e-7)
    assert f"{kind.__name__} as loops over time" in objective.notes[0]


def test_a_loss_that_takes_derivatives_itself_has_its_value_too() -> None:
    def residual(model: nn.Module, x: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        return (slope - 1).square().mean()

    model = problems.network(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))
    points = torch.linspace(0, 3, 10)[:, None]
    with torch.inference_mode():
        objective = Objective(model, BatchLoss(residual), [points[:7], points[7:]])
        value = objective.loss
    expected = residual(model, points.double())
    assert value == pytest.approx(float(expected), rel=1e-12)
    parts = torch.autograd.grad(expected, list(model.parameters()), materialize_grads=True, allow_unused=True)
    flat = torch.cat([g.flatten() for g in parts])
    assert torch.allclose(objective.gradient, flat)
    assert objective.evaluate(objective.point)[0] == pytest.approx(value)


class TestBatchNorm:
    def model(self) -> nn.Module:
        return block(nn.BatchNorm1d(5))

    def test_recalibration_stores_the_average_over_the_batches(self) -> None:
        model = self.model()
        before = copy.deepcopy(model.state_dict())
        batches = [(X[:13], Y[:13]), (X[13:], Y[13:])]
        objective = Objective(model, CE, batches, batch_norm="recalibrate")
        expected = copy.deepcopy(model)
        update_bn([x for x, _ in batches], expected)  # a batch counts as much as a larger one
        ones = torch.ones(objective.dimension, dtype=torch.float64)
        assert objective.loss == pytest.approx(float(CE(expected(X), Y)), rel=1e-12)
        assert torch.allclose(objective.hessian_product(ones), product(expected))
        assert objective.provenance.batch_norm == "recalibrate"
        assert objective.notes == ["batch-norm statistics are recomputed at every point, on 20 examples"]
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())

    def test_statistics_may_come_from_other_examples_than_the_loss(self) -> None:
        objective = Objective(
            self.model(), CE, [(X[:5], Y[:5])], batch_norm="recalibrate", calibration=[(X, Y)]
        )
        whole = Objective(self.model(), CE, [(X, Y)], batch_norm="recalibrate")
        one = next(iter(whole.per_example()))
        assert next(iter(objective.per_example())).loss == pytest.approx(one.loss)
        assert objective.num_examples == 5

    def test_a_network_without_batch_norm_has_nothing_to_recalibrate(self) -> None:
        objective = Objective(block(nn.Tanh()), CE, [(X, Y)], batch_norm="recalibrate")
        assert objective.loss == Objective(block(nn.Tanh()), CE, [(X, Y)]).loss
        assert "nothing to recalibrate" in objective.notes[0]

    def test_a_batch_of_one_has_no_variance(self) -> None:
        batches = [(X[:19], Y[:19]), (X[19:], Y[19:])]
        with pytest.raises(InputError, match="a batch of 1: it has no variance"):
            _ = Objective(self.model(), CE, batches, batch_norm="recalibrate").loss


@pytest.mark.parametrize("measure", ["gradient-norm", "hessian-trace", "dominant-eigenvalue"])
def test_an_operation_without_a_derivative_is_named_in_one_line(measure: str) -> None:
    class Gated(nn.Linear):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            outputs = super().forward(inputs)
            return outputs * torch.heaviside(outputs, torch.zeros(()))

    pairs = [(torch.randn(12, 6), torch.arange(12) % 3)]
    objective = Objective(Gated(6, 3), nn.CrossEntropyLoss(), pairs)
    with pytest.raises(InputError, match="heaviside") as caught:
        MEASURES.build(measure, objective)
    assert " no derivative" in str(caught.value)
    assert "first derivatives" not in str(caught.value)
    assert "\n" not in str(caught.value)
