"""Running statistics stay, computed values do not change, and contexts nest."""

import pytest
import torch
from torch import nn

from landscape.optim.pass_state import frozen_statistics, tracking_modules


def buffers(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.named_buffers()}


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm2d(3),
        nn.BatchNorm2d(3, momentum=None),
        nn.InstanceNorm2d(3, track_running_stats=True),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_output_is_the_same_and_nothing_is_recorded(layer: nn.Module, training: bool) -> None:
    layer.train(training)
    x = torch.randn(4, 3, 5, 5) * 3 + 1
    before = buffers(layer)
    with frozen_statistics(tracking_modules(layer)):
        inside = layer(x)
    assert all(torch.equal(value, before[name]) for name, value in layer.named_buffers())
    torch.testing.assert_close(inside, layer(x))
    recorded = any(not torch.equal(value, before[name]) for name, value in layer.named_buffers())
    assert recorded is training


def test_synchronised_batch_norm_is_one_of_them() -> None:
    layer = nn.SyncBatchNorm(3)
    assert tracking_modules(layer) == [layer]


def test_contexts_nest_and_end_as_they_began() -> None:
    layer = nn.BatchNorm1d(3)
    modules = tracking_modules(layer)
    with frozen_statistics(modules), frozen_statistics(modules):
        layer(torch.randn(4, 3))
    assert layer.track_running_stats
    assert layer.num_batches_tracked == 0
    layer(torch.randn(4, 3))
    assert layer.num_batches_tracked == 1


def test_an_exception_inside_ends_it() -> None:
    layer = nn.BatchNorm1d(3)
    with pytest.raises(RuntimeError), frozen_statistics(tracking_modules(layer)):
        raise RuntimeError
    assert layer.track_running_stats


def test_what_does_not_track_is_left_alone() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False), nn.LayerNorm(3), nn.InstanceNorm1d(3))
    assert tracking_modules(model) == []
    assert tracking_modules(None) == []
