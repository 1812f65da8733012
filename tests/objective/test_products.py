"""Forward over reverse and double backward agree; which is taken; precision; what has no second derivative."""

import problems
import pytest
import torch
from torch import Tensor, nn

from landscape.errors import InputError, UsageError
from landscape.objective import BatchLoss, Objective, timing

CE = nn.CrossEntropyLoss()


def objective(products: str = "auto", **options: object) -> Objective:
    x, y = problems.classification()
    return Objective(problems.small_net(), CE, problems.batches(x, y, 30), products=products, **options)  # type: ignore[arg-type]


def test_forward_over_reverse_agrees_and_costs_a_gradient_a_vector() -> None:
    forward, backward = objective("forward-over-reverse"), objective("double-backward")
    identity = torch.eye(forward.dimension, dtype=torch.float64)[:, :5]
    assert torch.allclose(forward.hessian_product(identity), backward.hessian_product(identity), atol=1e-15)
    assert forward.ledger.passes() == {"gradients": 5, "products": 5, "evaluations": 0}


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.second(torch.tanh(self.first(x)))))


def test_they_agree_on_tied_weights_and_on_a_loss_of_its_own() -> None:
    torch.manual_seed(0)
    x, y = problems.classification()
    loss = BatchLoss(lambda model, batch: CE(model(batch[0]), batch[1]))
    model = Tied().double()
    both = [Objective(model, loss, [(x, y)], products=p) for p in ("forward-over-reverse", "double-backward")]
    v = torch.ones(both[0].dimension, dtype=torch.float64)
    assert torch.allclose(both[0].hessian_product(v), both[1].hessian_product(v), rtol=1e-10)


@pytest.mark.parametrize("products", ["double-backward", "forward-over-reverse"])
@pytest.mark.parametrize("block", [0, 3])
def test_a_block_is_the_diagonal_block_of_the_hessian(products: str, block: int) -> None:
    x, y = problems.classification(20)
    model = problems.network(nn.Linear(8, 3), nn.Tanh(), nn.Linear(3, 4))
    one = Objective(model, CE, [(x, y)], products=products)  # type: ignore[arg-type]
    whole = one.hessian_product(torch.eye(one.dimension, dtype=torch.float64))
    entry = one.layout.entries[block]
    rows = slice(entry.offset, entry.offset + entry.size)
    columns = torch.eye(one.dimension, dtype=torch.float64)[:, rows]
    found = one.hessian_product(columns, block=(block,))
    assert torch.allclose(found[rows], whole[rows, rows], atol=1e-15)
    assert float(found.norm()) == pytest.approx(float(whole[rows, rows].norm()))


def test_timing_decides_and_a_missing_forward_derivative_does_not_end_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    risk = objective()._mean.risk
    batch = next(iter(risk.batches))[1]
    assert timing.quicker_product(risk, batch) == "double-backward"
    for seconds, expected in (([1.0, 0.8], "forward-over-reverse"), ([1.0, 0.95], "double-backward")):
        times = iter(seconds)
        monkeypatch.setattr(timing, "_seconds", lambda risk, run, times=times: next(times))
        assert timing.timed_product(risk, batch) == expected

    def failing(self: object, *_: object, **__: object) -> None:
        raise NotImplementedError("no forward derivative")

    monkeypatch.undo()
    monkeypatch.setattr(timing.ForwardOverReverse, "products", failing)
    assert timing.timed_product(risk, batch) == "double-backward"


class Distances(nn.Module):
    """Ends with distances, for which torch has no forward derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.centres = nn.Linear(8, 4), nn.Parameter(torch.linspace(-1, 1, 12).reshape(3, 4))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cdist(self.first(x), self.centres).sum(1, keepdim=True)


@pytest.mark.parametrize(
    ("model", "loss", "words"),
    [
        (problems.network(nn.Linear(8, 3), nn.Tanh(), nn.Linear(3, 1)), nn.MSELoss(), "ZeroTensors"),
        (Distances().double(), nn.SmoothL1Loss(), "_cdist_forward"),
    ],
)
def test_a_missing_forward_derivative_is_said_if_it_was_requested(
    model: nn.Module, loss: nn.Module, words: str
) -> None:
    x, _ = problems.classification(20)
    batch = x, x.sum(1, keepdim=True)
    forward = Objective(model, loss, [batch], products="forward-over-reverse")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f'{words}.*use products="double-backward"'):
        forward.hessian_product(forward.point)
    backward = Objective(model, loss, [batch])  # type: ignore[arg-type]
    backward.hessian_product(backward.point)
    assert timing.timed_product(backward._mean.risk, batch) == "double-backward"


def test_both_are_timed_for_real() -> None:
    risk = objective()._mean.risk
    assert timing.timed_product(risk, next(iter(risk.batches))[1]) in (
        "double-backward",
        "forward-over-reverse",
    )


def test_an_unknown_kind_of_product_is_refused() -> None:
    with pytest.raises(UsageError, match="products='reverse' is not one of auto, double-backward"):
        objective("reverse")


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope):
        return 2 * ctx.saved_tensors[0] * slope


class Square(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Once.apply(x)


def test_a_function_without_a_second_derivative_is_named_with_its_module() -> None:
    x, y = problems.classification()
    model = nn.Sequential(nn.Linear(8, 6), nn.Sequential(nn.ReLU(), Square()), nn.Linear(6, 4)).double()
    one = Objective(model, CE, [(x, y)])
    assert float(one.gradient.norm()) > 0
    for product in (one.hessian_product, one.gauss_newton_product):
        with pytest.raises(
            InputError, match=r"'1\.1' \(Square\) has no second derivative: Once is marked once_"
        ):
            product(one.gradient)


def test_a_loss_of_which_autograd_would_give_a_wrong_second_derivative_is_named() -> None:
    x, y = problems.classification()

    def unusual(outputs: Tensor, targets: Tensor) -> Tensor:
        return Once.apply(CE(outputs, targets))

    one = Objective(problems.small_net(), unusual, [(x, y)])
    with pytest.raises(InputError, match=r"the loss \(unusual\) has no second derivative: Once"):
        one.hessian_product(one.gradient)


class Alignment(nn.Module):
    """CTC, whose backward pass has no derivative in torch, as a part of a network."""

    def forward(self, x: Tensor) -> Tensor:
        scores = x.reshape(-1, 3, 4).log_softmax(2).transpose(0, 1)
        lengths = torch.full((len(x),), 3), torch.ones(len(x), dtype=torch.long)
        targets = torch.ones(len(x), 1, dtype=torch.long)
        return nn.functional.ctc_loss(scores, targets, *lengths, reduction="none")[:, None]


def test_an_operation_of_torch_without_a_second_derivative_is_named_with_its_module() -> None:
    x, y = problems.classification()
    model = nn.Sequential(nn.Linear(8, 12), Alignment(), nn.Linear(1, 4)).double()
    one = Objective(model, CE, problems.batches(x, y, 30))
    with pytest.raises(InputError, match=r"'1' \(Alignment\) has no second derivative: .*_ctc_loss_backward"):
        one.hessian_product(one.gradient)
