"""The closure that shows its batch: torch's closure when called, and the parts, terms and outputs beyond that."""

import pytest
import torch
from optim.battery import VARIANTS, batch, build, closure, mlp, sgd, weights
from torch import Tensor, nn

from landscape.errors import UsageError
from landscape.optim import ESAM, SAM, BatchClosure

CROSS_ENTROPY = nn.CrossEntropyLoss(reduction="none")


def make(model: nn.Module, seed: int = 1, **options: object) -> BatchClosure:
    x, y = batch(seed)
    return BatchClosure(model, CROSS_ENTROPY, inputs=x, targets=y, indices=torch.arange(16), **options)


def gradient(model: nn.Module) -> Tensor:
    return torch.cat([p.grad.reshape(-1).clone() for p in model.parameters()])


def test_called_it_is_torchs_closure() -> None:
    models = [mlp(), mlp()]
    ours, theirs = make(models[0]), closure(sgd(models[1]), models[1])
    for _ in range(2):  # twice: the gradients of the first call are cleared
        torch.testing.assert_close(ours(), theirs(), rtol=1e-13, atol=0)
        torch.testing.assert_close(gradient(models[0]), gradient(models[1]), rtol=1e-12, atol=1e-15)
    base = sgd(models[0])
    base.step(ours)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_optimizer_takes_it(name: str) -> None:
    models = [mlp(nn.BatchNorm1d(5)) for _ in range(2)]  # SAM-ON perturbs nothing else
    start = weights(models[0])
    optimizers = [build(name, model) for model in models]
    if optimizers[0].needs_batch:
        with pytest.raises(
            UsageError, match=r"closure = BatchClosure\(model, nn.CrossEntropyLoss\(reduction"
        ):
            optimizers[0].step(lambda: torch.zeros(()))
        assert torch.equal(weights(models[0]), start)
        return
    for number in range(3):
        optimizers[0].step(make(models[0], seed=number))
        optimizers[1].step(closure(optimizers[1], models[1], seed=number))
    torch.testing.assert_close(weights(models[0]), weights(models[1]), rtol=1e-8, atol=1e-10)


def test_parts_add_up_to_the_whole() -> None:
    model = mlp()
    whole = make(model)
    total, expected = whole(), gradient(model)
    parts = [whole.part(slice(0, 10)), whole.part(torch.tensor([15, 10, 12, 11, 13, 14]))]
    assert [part.share for part in parts] == [10 / 16, 6 / 16]
    assert parts[1].indices.tolist() == [15, 10, 12, 11, 13, 14]
    losses, gradients = [], []
    for part in parts:
        losses.append(part.share * part())
        gradients.append(part.share * gradient(model))
    torch.testing.assert_close(sum(losses), total, rtol=1e-13, atol=0)
    torch.testing.assert_close(sum(gradients), expected, rtol=1e-12, atol=1e-14)
    inner = parts[1].part(slice(1, 3))
    assert inner.indices.tolist() == [10, 12]
    assert inner.share == pytest.approx(2 / 16)


def test_first_outputs_are_those_of_the_first_pass_in_the_order_of_the_batch() -> None:
    model = mlp()
    x, _ = batch()
    expected = model(x).detach()
    whole = make(model)
    pieces = [whole.part(torch.tensor([3, 1, 2, 0])), whole.part(slice(4, 16))]
    pieces[0]()
    with torch.no_grad():
        model[2].bias.add_(1.0)
    pieces[0]()  # a second pass over the same examples
    with torch.no_grad():
        model[2].bias.sub_(1.0)
    pieces[1]()
    torch.testing.assert_close(whole.first_outputs, expected, rtol=1e-12, atol=1e-14)


def test_one_closure_serves_many_steps() -> None:
    model = mlp()
    optimizer = SAM(sgd(model), rho=0.1)
    full = make(model)
    for _ in range(3):
        expected = model(batch()[0]).detach()
        optimizer.step(full)
        assert torch.equal(full.first_outputs, expected)


def test_a_term_is_differentiated_and_not_reported() -> None:
    model = mlp()
    whole = make(model)
    loss, plain = whole(), gradient(model)
    tripled = whole.plus(lambda evaluation: 2 * evaluation.loss)
    assert torch.equal(tripled(), loss)
    torch.testing.assert_close(gradient(model), 3 * plain, rtol=1e-12, atol=1e-14)


def test_a_library_may_run_backward_itself() -> None:
    model, seen = mlp(), []

    def backward(loss: Tensor) -> None:
        seen.append(loss.item())
        loss.backward()

    whole = make(model, backward=backward)
    loss = whole()
    whole.part(slice(0, 4))()
    assert seen[0] == loss.item()
    assert len(seen) == 2


def test_a_loss_that_is_a_mean_is_refused_with_the_way_out() -> None:
    x, y = batch()
    mean = BatchClosure(mlp(), nn.functional.cross_entropy, inputs=x, targets=y)
    with pytest.raises(UsageError, match=r'returned \(\) for 16 examples.*reduction="none"'):
        mean()


@pytest.mark.parametrize("wrong", [{"targets": torch.zeros(3)}, {"indices": torch.arange(3)}])
def test_lengths_that_differ_are_refused(wrong: dict[str, Tensor]) -> None:
    x, y = batch()
    with pytest.raises(UsageError, match="one target an input, got 16 and"):
        BatchClosure(mlp(), CROSS_ENTROPY, **({"inputs": x, "targets": y} | wrong))


def test_evaluation_mode_is_left_also_when_something_raises() -> None:
    model = mlp(nn.Dropout(0.5))
    model[0].eval()
    inside: list[bool] = []

    def fail() -> None:
        with make(model).evaluation_mode():
            inside.append(any(module.training for module in model.modules()))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert inside == [False]
    assert [module.training for module in model] == [False, True, True, True]


def test_a_part_counts_as_its_share_and_a_forward_pass_as_a_third() -> None:
    model = mlp()
    optimizer = ESAM(sgd(model), gamma=0.25)
    optimizer.step(make(model))
    assert optimizer.gradient_evaluations == pytest.approx(1 + 1 / 3 + 0.25)
