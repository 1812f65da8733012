"""The expected peak memory of a plan, against the bytes of live tensors while the measure is taken."""

import gc

import pytest
import torch
from torch import nn

from landscape.isolation.live_bytes import LiveBytes
from landscape.measures import MEASURES
from landscape.measures.forecast import forecast
from landscape.models.cifar_resnet import CifarResNet
from landscape.objective import Objective

WITHIN = 0.2


def _mlp() -> tuple[nn.Module, torch.Tensor, int]:
    # Wide batches, as those of most networks: what is kept of a batch is more than the weights.
    return nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4)), torch.randn(768, 16), 256


def _resnet() -> tuple[nn.Module, torch.Tensor, int]:
    return CifarResNet(1, 4, widths=(4, 8), blocks=1).eval(), torch.randn(24, 1, 12, 12), 8


def _untrained() -> tuple[nn.Module, torch.Tensor, int]:
    """Takes 20 products and more, of vectors that are more than all else."""
    layers = nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 4)
    return nn.Sequential(*layers), torch.randn(64, 64), 64


def _convolutional() -> tuple[nn.Module, torch.Tensor, int]:
    """The last layer is the largest, and the first has the products with the most activations behind them."""
    layers = nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(1024, 4)), torch.randn(64, 1, 8, 8), 64


@pytest.mark.parametrize(
    ("network", "name"),
    [
        (_mlp, "gradient-norm"),
        (_mlp, "dominant-eigenvalue"),
        (_convolutional, "layer-eigenvalues:max_products=4"),
        *(
            pytest.param(*case, marks=pytest.mark.thorough)
            for case in (
                (_mlp, "layer-eigenvalues:max_products=4"),
                (_mlp, "hessian-trace:max_probes=2"),
                (_resnet, "gradient-norm"),
                (_resnet, "dominant-eigenvalue:max_iterations=4"),
                (_untrained, "dominant-eigenvalue"),
                (_untrained, "preconditioned-sharpness"),
                (_untrained, "layer-eigenvalues"),
                (_untrained, "top-eigenvalues"),
            )
        ),
    ],
)
def test_the_expected_peak_is_within_a_fifth_of_what_is_then_seen(network, name: str) -> None:
    torch.manual_seed(0)
    model, inputs, size = network()
    targets = torch.arange(len(inputs)) % 4
    batches = list(zip(inputs.split(size), targets.split(size), strict=True))
    objective = Objective(model, "cross-entropy", batches)
    _ = objective.loss  # as the commands print it first, after the first checks
    specification = MEASURES.parse(name)
    (line,) = forecast(objective, [specification]).lines
    assert line.peaks is not None
    fresh = Objective(model, "cross-entropy", batches)
    _ = fresh.loss
    gc.collect()
    with LiveBytes() as live:
        MEASURES.build(specification, fresh)
    few, many = line.peaks
    assert (1 - WITHIN) * few <= live.peak <= (1 + WITHIN) * many
    # Only the basis of several pairs grows with their products.
    assert many <= (1 + WITHIN) * few or name == "top-eigenvalues"


def test_where_no_measure_takes_products_none_is_taken_to_tell_the_time() -> None:
    model, inputs, _ = _mlp()
    objective = Objective(model, "cross-entropy", (inputs, torch.zeros(len(inputs), dtype=torch.long)))
    assert not forecast(objective, [MEASURES.parse("gradient-norm")]).by_product
    assert objective.ledger.counts["products"] == 0


def test_stand_ins_take_no_memory() -> None:
    with LiveBytes() as live:
        shape = torch.zeros(1000, device="meta")
        assert (live.now, live.peak) == (0, 0)
        del shape


def test_live_bytes_are_those_of_tensors_that_exist() -> None:
    with LiveBytes() as live:
        first = torch.zeros(1000)
        view, again = first[10:], first.add_(1)
        assert live.now == 4000  # a view and a result in place take nothing
        second = first * 2
        del first, second
        assert (live.now, live.peak) == (4000, 8000)
        del view, again
        assert live.now == 0


def test_what_existed_before_is_not_counted() -> None:
    before = torch.zeros(1000)
    with LiveBytes() as live:
        before.mul_(2)
        _ = before[:5], before.view(10, 100)
    assert (live.now, live.peak) == (0, 0)
