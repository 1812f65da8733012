"""The closure of a step: what it has to do, and what is said when it does not."""

import pytest
import torch
from optim.battery import batch, closure, mlp, sgd, weights
from torch import Tensor, nn

from landscape.errors import UsageError
from landscape.optim import SAM


def test_step_without_a_closure_says_what_to_write() -> None:
    with pytest.raises(UsageError, match=r"SAM.step needs a closure(.|\n)*loss.backward\(\)"):
        SAM(sgd(mlp())).step()


def test_a_closure_without_backward_is_named() -> None:
    model = mlp()
    optimizer = SAM(sgd(model))
    with pytest.raises(UsageError, match=r"has to call loss.backward\(\)"):
        optimizer.step(lambda: nn.functional.cross_entropy(model(batch()[0]), batch()[1]))


def test_a_closure_that_returns_nothing_is_named() -> None:
    model = mlp()
    optimizer = SAM(sgd(model))
    evaluate = closure(optimizer, model)

    def forgetful() -> None:
        evaluate()

    with pytest.raises(UsageError, match="return loss"):
        optimizer.step(forgetful)  # type: ignore[arg-type]


def test_a_closure_may_return_a_number() -> None:
    model = mlp()
    optimizer = SAM(sgd(model))
    evaluate = closure(optimizer, model)
    loss = optimizer.step(lambda: evaluate().item())  # type: ignore[arg-type,return-value]
    assert loss.item() == pytest.approx(closure(optimizer, mlp())().item())


def test_step_returns_the_loss_of_the_unmoved_weights_without_its_graph() -> None:
    model = mlp()
    optimizer = SAM(sgd(model), rho=0.5)
    expected = closure(optimizer, model)().item()
    loss = optimizer.step(closure(optimizer, model))
    assert loss.item() == expected
    assert not loss.requires_grad
    assert optimizer.losses[0].item() == expected < optimizer.losses[1].item()


def test_the_closure_may_be_called_where_gradients_are_off() -> None:
    model = mlp()
    optimizer = SAM(sgd(model))
    before = weights(model)
    with torch.no_grad():
        optimizer.step(closure(optimizer, model))
    assert not torch.equal(before, weights(model))


def test_several_backward_calls_in_a_closure_are_one_gradient() -> None:
    models = [mlp(), mlp()]
    whole, parts = SAM(sgd(models[0])), SAM(sgd(models[1]))
    x, y = batch()

    def accumulate() -> Tensor:
        parts.zero_grad()
        total = torch.zeros((), dtype=torch.float64)
        for half in (slice(0, 8), slice(8, 16)):
            loss = nn.functional.cross_entropy(models[1](x[half]), y[half]) / 2
            loss.backward()
            total += loss.detach()
        return total

    whole.step(closure(whole, models[0]))
    parts.step(accumulate)
    torch.testing.assert_close(weights(models[0]), weights(models[1]), rtol=1e-12, atol=1e-14)


def test_without_the_model_batch_norm_sees_every_pass() -> None:
    model = mlp(nn.BatchNorm1d(5))
    optimizer = SAM(sgd(model))
    optimizer.step(closure(optimizer, model))
    assert model[1].num_batches_tracked == 2
