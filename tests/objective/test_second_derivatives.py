"""Second derivatives that torch computes wrongly are mended or refused; the evidence is differences of gradients."""

from collections.abc import Sequence

import problems
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations
from torch.nn.utils.weight_norm import WeightNorm
from torch.utils.checkpoint import checkpoint

from landscape.errors import InputError
from landscape.measures import hessian_trace
from landscape.objective import BatchLoss, Objective
from landscape.objective.differences import fault
from landscape.objective.sketches import sketch

CE = nn.CrossEntropyLoss()
X, Y = problems.classification(24, 6, 3)


def differences(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The Hessian from central differences of the model's own gradients, which need no second derivative."""
    parameters = list(model.parameters())

    def slope() -> Tensor:
        parts = torch.autograd.grad(CE(model(x), y), parameters)
        return torch.cat([part.flatten() for part in parts])

    columns = []
    for parameter in parameters:
        flat = parameter.data.view(-1)
        for k in range(len(flat)):
            before = float(flat[k])
            sides = []
            for step in (1e-5, -1e-5):
                flat[k] = before + step
                sides.append(slope())
            flat[k] = before
            columns.append((sides[0] - sides[1]) / 2e-5)
    return torch.stack(columns, dim=1)


def with_hook(layer: nn.Module) -> nn.Module:
    """The older form, whose weight is computed by a hook; it can be copied after an evaluation without gradients."""
    with torch.no_grad():
        WeightNorm.apply(layer, "weight", 0)
    return layer


NORMALISED = {
    "rows": lambda: parametrizations.weight_norm(nn.Linear(6, 4)),
    "columns": lambda: parametrizations.weight_norm(nn.Linear(6, 4), dim=1),
    "all": lambda: parametrizations.weight_norm(nn.Linear(6, 4), dim=None),
    "hook": lambda: with_hook(nn.Linear(6, 4)),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("products", ["double-backward", "forward-over-reverse"])
@pytest.mark.parametrize("name", NORMALISED)
def test_weight_normalisation_has_the_second_derivative_of_its_formula(name: str, products: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(NORMALISED[name](), nn.Tanh(), nn.Linear(4, 3)).double()
    with torch.no_grad():
        model(X)
    objective = Objective(model, CE, [(X, Y)], products=products)  # type: ignore[arg-type]
    found = objective.hessian_product(torch.eye(objective.dimension, dtype=torch.float64))
    assert torch.allclose(found, differences(model, X, Y), atol=1e-8)
    assert "weight normalisation of 0.weight by its formula" in objective.notes[0]
    assert model(X).requires_grad


def test_the_trace_of_a_normalised_network_is_that_of_differences() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(NORMALISED["rows"](), nn.ReLU(), nn.Linear(4, 3)).double()
    truth = float(differences(model, X, Y).trace())
    found = hessian_trace(Objective(model, CE, [(X, Y)]))
    assert abs(found.value - truth) <= 4 * (found.standard_error or 0.0) + 1e-8


class Forgetful(torch.autograd.Function):
    """x/‖x‖ whose backward pass takes the norm for a constant, as a fused kernel may."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        ctx.norm = float(x.norm())
        return x / ctx.norm

    @staticmethod
    def backward(ctx, slope):
        (x,) = ctx.saved_tensors
        return slope / ctx.norm - x * (slope * x).sum() / ctx.norm**3


class Normalised(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([Forgetful.apply(row) for row in x])


class Sliced(nn.Module):
    """Batch norm with every other entry of a weight, of which torch computes wrong derivatives."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(1, 2, 8))
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("variance", torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return functional.batch_norm(x, self.mean, self.variance, self.weight[::2], None, training=False)


class Reversed(nn.Module):
    """The identity with a reversed gradient, as in training against an adversary."""

    def forward(self, x: Tensor) -> Tensor:
        y = x * 1
        if y.requires_grad:
            y.register_hook(lambda slope: -slope)
        return y


class Rounded(nn.Module):
    """Rounds with the gradient of the identity: the second derivative is wrong, but symmetric."""

    def forward(self, x: Tensor) -> Tensor:
        return x + ((16 * x).round() / 16 - x).detach()


@pytest.mark.parametrize("kind", [Rounded, Reversed, nn.ReLU, nn.GELU])
def test_a_large_network_is_compared_with_differences_too(
    kind: type[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("landscape.objective.differences.LARGEST", 0)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 80), nn.Tanh(), kind(), nn.Linear(80, 80), nn.Tanh(), nn.Linear(80, 3))
    objective = Objective(model, CE, [(X.float(), Y)])
    if kind in (Rounded, Reversed):
        with pytest.raises(InputError, match=rf"'2' \({kind.__name__}\) is wrong: Hv differs"):
            objective.hessian_product(objective.point)
    else:
        objective.hessian_product(objective.point)


def test_a_sketch_has_about_the_norm_of_its_tensor_and_is_linear() -> None:
    tensors = [
        torch.randn(70, 1021),
        torch.zeros(300, 300).index_fill(1, torch.tensor([7]), 1.0),
        torch.ones(9),
    ]
    for number, tensor in enumerate(tensors):
        assert float(sketch(tensor, number).norm()) == pytest.approx(float(tensor.norm()), rel=0.1)
        twice = sketch(3 * tensor, number)
        assert torch.allclose(twice, 3 * sketch(tensor, number), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("activation", [nn.Tanh, nn.GELU])
def test_the_rounding_by_the_last_bits_is_that_beside_float64_to_a_factor(
    activation: type[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 80), activation(), nn.Linear(80, 3))
    roundings = []
    for certain in (0.0, float("inf")):
        monkeypatch.setattr("landscape.objective.rounding.CERTAIN", certain)
        roundings.append(Objective(model, CE, [(X.float(), Y)]).gradient_rounding)
    quick, exact = roundings
    assert quick is not None
    assert exact is not None
    assert exact / 2 < quick < 10 * exact


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", [Normalised, Sliced])
def test_a_wrong_second_derivative_is_refused_with_its_module(
    kind: type[nn.Module], dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4), nn.Sequential(nn.Tanh(), kind()), nn.Tanh(), nn.Linear(4, 3))
    objective = Objective(model, CE, [(X, Y)], dtype=dtype)
    assert objective.gradient.shape == (objective.dimension,)
    with pytest.raises(InputError, match=rf"the second derivative of '1\.1' \({kind.__name__}\) is wrong"):
        objective.hessian_product(torch.ones(objective.dimension))


def test_a_reversed_gradient_and_a_loss_that_is_wrong_by_itself_are_refused() -> None:
    model = problems.network(nn.Linear(6, 4), Reversed(), nn.Tanh(), nn.Linear(4, 3))
    with pytest.raises(InputError, match=r"'1' \(Reversed\) is wrong: Hv differs from the"):
        hessian_trace(Objective(model, CE, [(X, Y)]))

    def odd(outputs: Tensor, targets: Tensor) -> Tensor:
        return CE(Forgetful.apply(outputs), targets)

    plain = problems.network(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3))
    with pytest.raises(InputError, match=r"second derivative of the loss \(odd\) is wrong"):
        hessian_trace(Objective(plain, odd, [(X, Y)]))


def test_the_gauss_newton_matrix_needs_no_second_derivative_of_the_network() -> None:
    model = problems.network(nn.Linear(6, 4), Normalised(), nn.Linear(4, 3))
    objective = Objective(model, CE, [(X, Y)])
    image = objective.gauss_newton_product(torch.ones(objective.dimension))
    slopes = torch.stack(
        [
            torch.cat(
                [p.flatten() for p in torch.autograd.grad(f, list(model.parameters()), retain_graph=True)]
            )
            for f in model(X).flatten()
        ]
    ).reshape(24, 3, -1)
    p = model(X).softmax(1).detach()
    bent = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    truth = torch.einsum("nci,ncd,ndj->ij", slopes, bent, slopes).sum(1) / 24
    assert torch.allclose(image, truth, atol=1e-12)


KINKED = {
    "wide ReLU": lambda: nn.Sequential(nn.Linear(6, 4000), nn.ReLU(), nn.Linear(4000, 3)),
    "zero biases": lambda: nn.Sequential(nn.Linear(6, 8, bias=False), nn.ReLU(), nn.Linear(8, 3)),
    "hard functions": lambda: nn.Sequential(nn.Linear(6, 8), nn.Hardswish(), nn.Linear(8, 8), nn.Hardtanh()),
    "pooling": lambda: nn.Sequential(
        nn.Linear(6, 16), nn.ReLU(), nn.Unflatten(1, (1, 16)), nn.MaxPool1d(5), nn.Flatten()
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KINKED)
def test_a_kink_is_no_fault(name: str) -> None:
    torch.manual_seed(0)
    x = torch.where(X > 1, X, 0)
    objective = Objective(KINKED[name](), CE, [(x, Y)])
    objective.hessian_product(torch.ones(objective.dimension))
    assert objective.engine.confirmed


def test_what_cannot_be_evaluated_in_float64_is_looked_at_as_it_is() -> None:
    class Single(nn.Module):
        def __init__(self, kind: type[nn.Module]) -> None:
            super().__init__()
            self.first, self.odd, self.last = nn.Linear(6, 4), kind(), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            assert x.dtype == torch.float32
            return self.last(torch.tanh(self.odd(self.first(x))))

    torch.manual_seed(0)
    right, wrong = (Objective(Single(kind), CE, [(X.float(), Y)]) for kind in (nn.Tanh, Normalised))
    right.hessian_product(torch.ones(right.dimension))
    with pytest.raises(InputError, match="v·Hw and w·Hv differ"):
        wrong.hessian_product(torch.ones(wrong.dimension))


@pytest.mark.parametrize("reentrant", [True, False])
def test_activations_that_are_computed_again_are_no_fault(reentrant: bool) -> None:
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.head = nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            hidden = torch.tanh(self.first(x))
            scores: Tensor = self.head(checkpoint(self.between, hidden, use_reentrant=reentrant))
            return scores

        def between(self, hidden: Tensor) -> Tensor:
            return torch.tanh(self.second(hidden)) * hidden

    torch.manual_seed(0)
    model = Checkpointed().double()
    objective = Objective(model, CE, [(X, Y)])
    found = objective.hessian_product(torch.eye(objective.dimension, dtype=torch.float64))
    plain = problems.dense(objective, _without_checkpoints(model), X, Y, CE)[1]
    assert torch.allclose(found, plain, atol=1e-12)


def _without_checkpoints(model: nn.Module) -> nn.Module:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.head = model.first, model.second, model.head

        def forward(self, x: Tensor) -> Tensor:
            hidden = torch.tanh(self.first(x))
            scores: Tensor = self.head(torch.tanh(self.second(hidden)) * hidden)
            return scores

    return Plain()


def test_a_loss_that_is_large_beside_its_changes_is_no_fault() -> None:
    x, y = X.float(), torch.randn(24, 3, generator=torch.Generator().manual_seed(0)) * 1e15
    objective = Objective(problems.network(nn.Linear(6, 3), dtype=torch.float32), nn.MSELoss(), [(x, y)])
    objective.hessian_product(objective.point)
    assert objective.engine.confirmed


@pytest.mark.parametrize("factor", [1.0, 5.0, 20.0, 100.0])
def test_a_perfect_fit_is_no_fault(factor: float) -> None:
    model = problems.network(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    with torch.no_grad():
        targets = model(X).argmax(1)
        model[2].weight *= 10 * factor
        model[2].bias *= 10 * factor
    objective = Objective(model, CE, [(X, targets)])
    objective.hessian_product(objective.point)
    assert objective.engine.confirmed
    wrong = nn.Sequential(model[0], Normalised(), *model[1:])
    with pytest.raises(InputError, match=r"'1' \(Normalised\) is wrong"):
        hessian_trace(Objective(wrong, CE, [(X, wrong(X).argmax(1))]))


def test_the_check_is_made_once_and_books_nothing() -> None:
    objective = Objective(problems.small_net(), CE, [problems.classification()])
    objective.hessian_product(objective.point)
    assert objective.ledger.passes() == {"gradients": 1, "products": 1, "evaluations": 0}


def test_faults_of_functions_with_known_derivatives() -> None:
    matrix = problems.orthogonal(5) @ torch.diag(torch.arange(1.0, 6.0).double()) @ problems.orthogonal(5).T
    point = torch.linspace(-1, 1, 5, dtype=torch.float64)
    assert fault(lambda leaves: 0.5 * leaves[0] @ matrix @ leaves[0], [point]) is None
    assert fault(lambda leaves: leaves[0].relu().pow(3).sum(), [torch.zeros(5).double()]) is None
    wrong = fault(lambda leaves: (leaves[0] * leaves[0].detach() ** 2).sum(), [point])
    assert wrong is not None
    assert not wrong.symmetry
    swapped = fault(lambda leaves: (leaves[0] * leaves[0].flip(0).detach() * torch.arange(5)).sum(), [point])
    assert swapped is not None


class Padded(nn.Module):
    """Reads words, one of which is padding; the embedding is read twice, so that it bends the loss."""

    def __init__(self, padding: int) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(7, 4, padding_idx=padding), nn.Linear(4, 3)
        with torch.no_grad():
            self.words.weight[padding] = 1.0

    def forward(self, x: Tensor) -> Tensor:
        seen = self.words(x).mean(1)
        return self.head(torch.tanh(seen) * seen)


@pytest.mark.parametrize("padding", [0, 5, -2])
def test_both_kinds_of_product_hold_the_padding_row_fixed(padding: int) -> None:
    torch.manual_seed(0)
    x, y = torch.randint(0, 7, (20, 5)), torch.randint(0, 3, (20,))
    model = Padded(padding).double()
    row = padding % 7
    truth = differences(model, x, y)
    free = torch.ones(len(truth), dtype=torch.bool)
    free[4 * row : 4 * row + 4] = False
    truth = truth * free * free[:, None]
    for products in ("double-backward", "forward-over-reverse"):
        objective = Objective(model, CE, [(x, y)], products=products)  # type: ignore[arg-type]
        found = objective.hessian_product(torch.eye(objective.dimension, dtype=torch.float64))
        assert torch.allclose(found, truth, atol=1e-8), products


def test_a_loss_of_a_batch_that_cannot_be_cut_is_checked_whole() -> None:
    adjacency = torch.eye(12).double() + torch.diag(torch.ones(11), 1)
    x = X[:12]

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        matrix, features, targets = batch
        assert len(features) == 12
        return CE(matrix @ model(features), targets)

    model = problems.network(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3))
    objective = Objective(model, BatchLoss(loss), [(adjacency, x, Y[:12])])
    objective.hessian_product(objective.point)
    assert objective.engine.confirmed


def test_a_fault_in_single_precision_is_believed_in_double_precision_alone() -> None:
    def value(leaves: Sequence[Tensor]) -> Tensor:
        (weight,) = leaves
        return (weight.bfloat16() if weight.dtype == torch.float32 else weight).pow(12).to(weight).sum()

    point = torch.linspace(-1, 1, 50)
    assert fault(value, [point], own=(value, lambda leaves, act: act())) is not None
    assert fault(value, [point]) is None
    ours = Objective(nn.Linear(50, 1), BatchLoss(lambda model, batch: value([model.weight])), [X])
    ours.hessian_product(ours.point)
    assert ours.engine.confirmed


def test_a_wrong_derivative_is_seen_in_single_precision_beside_differences_in_double_precision() -> None:
    def value(leaves: Sequence[Tensor]) -> Tensor:
        return (leaves[0] * leaves[0].detach() ** 2).sum()

    point = torch.linspace(-1, 1, 50)
    found = fault(value, [point], own=(value, lambda leaves, act: act()))
    assert found is not None
    assert not found.symmetry
    assert point.dtype == torch.float32
