"""m-SAM: SAM of every slice from the same weights, averaged over the examples."""

import pytest
import torch
from optim.battery import batch, build, closure, mlp, sgd, weights
from torch import Tensor, nn

from landscape.errors import UsageError
from landscape.optim import SAM, BatchClosure, SlicedSAM
from landscape.optim.ss_sam import Bernoulli

LOSS = nn.CrossEntropyLoss(reduction="none")


def gradient(model: nn.Module) -> Tensor:
    return torch.cat([p.grad.reshape(-1) for p in model.parameters()])


@pytest.mark.parametrize("m", [5, 8, 1])
def test_direction_is_the_mean_of_the_slices_sam_gradients(m: int) -> None:
    x, y = batch()
    model = mlp()
    optimizer = SlicedSAM(sgd(model), rho=0.3, m=m)
    loss = optimizer.step(BatchClosure(model, LOSS, inputs=x, targets=y))
    expected = torch.zeros(43, dtype=torch.float64)
    for start in range(0, 16, m):
        twin = mlp()
        sam = SAM(sgd(twin), rho=0.3)
        part = x[start : start + m], y[start : start + m]
        sam.step(BatchClosure(twin, LOSS, inputs=part[0], targets=part[1]))
        expected += gradient(twin) * len(part[0]) / 16
    torch.testing.assert_close(gradient(model), expected, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(loss, LOSS(mlp()(x), y).mean().detach(), rtol=1e-12, atol=0)
    assert optimizer.gradient_evaluations == pytest.approx(2)


@pytest.mark.parametrize("m", [16, 100, None])
def test_with_one_slice_it_is_sam(m: int | None) -> None:
    models = [mlp(), mlp()]
    optimizers = [SlicedSAM(sgd(models[0]), rho=0.1, m=m), SAM(sgd(models[1]), rho=0.1)]
    for number in range(4):
        x, y = batch(number)
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.step(BatchClosure(model, LOSS, inputs=x, targets=y))
    assert torch.equal(weights(models[0]), weights(models[1]))


def test_equal_slices_give_sam() -> None:
    x, y = (t[:4].repeat(4, *[1] * (t.dim() - 1)) for t in batch())
    directions = []
    for make in (lambda base: SlicedSAM(base, rho=0.1, m=4), lambda base: SAM(base, rho=0.1)):
        model = mlp()
        make(sgd(model)).step(BatchClosure(model, LOSS, inputs=x, targets=y))
        directions.append(gradient(model))
    torch.testing.assert_close(directions[0], directions[1], rtol=1e-12, atol=1e-14)


def test_each_slice_has_its_own_dropout_mask_and_enters_batch_norm_once() -> None:
    model = mlp(nn.BatchNorm1d(5), nn.Dropout(0.5))
    optimizer = SlicedSAM(sgd(model), model=model, m=8)
    masks: list[Tensor] = []
    model[2].register_forward_hook(lambda _, __, output: masks.append(output == 0))
    x, y = batch()
    closure = BatchClosure(model, LOSS, inputs=x, targets=y)
    optimizer.step(closure)
    assert model[1].num_batches_tracked == 2
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(masks[2], masks[3])
    assert not torch.equal(masks[0], masks[2])
    assert closure.first_outputs.shape == (16, 3)


def test_a_slice_that_is_not_finite_skips_the_step() -> None:
    x, y = batch()
    x[12] = torch.nan
    model = mlp()
    optimizer = SlicedSAM(sgd(model), m=4)
    optimizer.step(BatchClosure(model, LOSS, inputs=x, targets=y))
    assert (optimizer.steps, optimizer.skipped_steps) == (0, 1)
    assert torch.equal(weights(model), weights(mlp()))


@pytest.mark.parametrize("option", ["rho=-1", "m=0", "m=-3", "m=2.5"])
def test_bad_options_are_refused(option: str) -> None:
    with pytest.raises(UsageError, match=option.split("=")[0]):
        build(f"m-sam:{option}", mlp())


def test_a_policy_over_slices_is_refused() -> None:
    model = mlp()
    optimizer = SlicedSAM(sgd(model), m=4)
    optimizer.policy = Bernoulli(0.5)
    with pytest.raises(UsageError, match="whole batch"):
        optimizer.step(closure(optimizer, model))
