"""The passes of a step, over every row of the table: how many, with which batch statistics and dropout masks."""

import pytest
import torch
from optim.battery import build, closure, every_variant, mlp, of_fixed_cost, sgd, weights
from torch import Tensor, nn

from landscape.optim import ERM


@of_fixed_cost
def test_gradients_a_step_are_those_of_the_table(name: str, passes: int) -> None:
    model = mlp()
    optimizer = build(name, model)
    forward: list[int] = []
    model.register_forward_hook(lambda *_: forward.append(1))
    for _ in range(4):
        optimizer.step(closure(optimizer, model))
    assert len(forward) == optimizer.gradient_evaluations == 4 * passes
    assert optimizer.steps == 4
    assert optimizer.sam_steps == (4 if passes > 1 else 0)


@every_variant
@pytest.mark.parametrize("momentum", [0.1, None])
def test_batch_norm_statistics_are_those_of_one_pass_at_the_weights(
    name: str, momentum: float | None
) -> None:
    models = [mlp(nn.BatchNorm1d(5, momentum=momentum)) for _ in range(2)]
    for model, optimizer in ((models[0], build(name, models[0])), (models[1], ERM(sgd(models[1])))):
        optimizer.step(closure(optimizer, model))
    ahead = build(name, mlp()).first_displacement()
    if ahead is None or not ahead.any():  # pass 1 is at the weights
        for key, value in models[1][1].named_buffers():
            assert torch.equal(getattr(models[0][1], key), value), key
    assert models[0][1].num_batches_tracked == 1
    assert models[0][1].track_running_stats


@every_variant
def test_every_pass_uses_the_statistics_of_the_batch(name: str) -> None:
    model = mlp(nn.BatchNorm1d(5, affine=False))
    optimizer = build(name, model)
    passes, means = [], []

    def record(module: nn.Module, inputs: object, output: Tensor) -> None:
        passes.append(module)
        if module.training:  # a gradient of examples that only choose a mask may be taken in evaluation mode
            means.append(output.mean(0).abs().max().item())

    model[1].register_forward_hook(record)
    optimizer.step(closure(optimizer, model))
    assert len(passes) >= len(optimizer.losses)
    assert max(means) < 1e-12


@every_variant
def test_every_pass_has_the_same_dropout_mask(name: str) -> None:
    model = mlp(nn.Dropout(0.5))
    optimizer = build(name, model)
    masks: list[Tensor] = []

    def record(module: nn.Module, inputs: object, output: Tensor) -> None:
        if len(output) == 16:  # a part of the batch has masks of its own
            masks.append(output == 0)

    model[1].register_forward_hook(record)
    optimizer.step(closure(optimizer, model))
    count = len(masks)
    optimizer.step(closure(optimizer, model))
    assert all(torch.equal(mask, masks[0]) for mask in masks[:count])
    assert all(torch.equal(mask, masks[count]) for mask in masks[count:])
    assert not torch.equal(masks[0], masks[count])


@every_variant
def test_a_closure_that_clears_nothing_gives_the_same_step(name: str) -> None:
    models = [mlp(), mlp()]
    tidy, untidy = build(name, models[0]), build(name, models[1])
    if tidy.needs_batch:
        pytest.skip("a BatchClosure clears by itself")
    for number in range(3):
        tidy.step(closure(tidy, models[0], seed=number))
        untidy.step(closure(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1), models[1], seed=number))
    assert torch.equal(weights(models[0]), weights(models[1]))


@every_variant
def test_on_every_device_the_run_is_that_of_the_cpu(name: str, device: torch.device) -> None:
    ends = []
    for place in (torch.device("cpu"), device):
        model = mlp().to(place)
        optimizer = build(name, model)
        for number in range(5):
            optimizer.step(closure(optimizer, model, seed=number))
        ends.append(weights(model).cpu())
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-9, atol=1e-11)
