"""What planes and measures ask of an objective: other statistics, another forward pass, cached results."""

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from landscape.errors import UsageError
from landscape.objective import BatchLoss, Objective


def objective(**options: object) -> Objective:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(40, 3, 8, 8, generator=generator) * 2 + 1
    labels = torch.randint(0, 3, (24,), generator=generator)
    torch.manual_seed(0)
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), pooled)
    model(images[24:])
    batches = list(zip(images[:24].split(8), labels.split(8), strict=True))
    return Objective(model.eval(), nn.CrossEntropyLoss(), batches, **options)  # type: ignore[arg-type]


def test_statistics_hold_where_they_are_passed_and_nowhere_else() -> None:
    plain = objective()
    there = plain.point * 1.1
    before = plain.evaluate(there)
    others = {name: 2 * values for name, values in plain.statistics.items()}
    with_others = plain.evaluate(there, statistics=others)
    assert with_others != before
    assert plain.evaluate(there) == before
    at = plain.at(there, statistics=others)
    product = at.hessian_product(there)
    assert not torch.equal(product, plain.at(there).hessian_product(there))
    assert torch.equal(at.hessian_product(there), product)
    assert (at.loss, at.accuracy) == with_others
    assert all(torch.equal(values, at.statistics[name]) for name, values in others.items())


def test_another_forward_pass_is_prepared_once_at_the_point() -> None:
    plain, weights = objective(), list[Tensor]()
    there = plain.point * 1.1

    def forward() -> nn.Module:
        weights.append(next(plain.network.parameters()).detach().clone())
        return plain.network

    assert plain.evaluate(there, forward=forward) == plain.evaluate(there)
    assert len(weights) == 1
    assert torch.equal(weights[0], plain.layout.split(there)[0])
    hidden = BatchLoss(lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]))
    images, labels = torch.ones(2, 8), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(UsageError, match="a BatchLoss calls the network itself"):
        Objective(nn.Linear(8, 3), hidden, [(images, labels)]).evaluate(torch.ones(27), forward=forward)


@pytest.mark.parametrize("channels_last", [False, True])
def test_resident_data_give_the_same_loss(channels_last: bool) -> None:
    plain = objective()
    resident = plain.resident(channels_last=channels_last)
    assert resident is not None
    assert resident.evaluate(plain.point)[0] == pytest.approx(plain.loss, rel=1e-6)
    assert resident.evaluate(plain.point)[1] == plain.accuracy
    assert resident.provenance == plain.provenance


def test_data_that_are_not_images_are_not_stored_channels_last() -> None:
    pair = (torch.ones(2, 8), torch.zeros(2, dtype=torch.int64))
    flat = Objective(nn.Linear(8, 3), nn.CrossEntropyLoss(), [pair])
    assert flat.resident(channels_last=True) is None
    assert flat.resident() is not None


@dataclass(frozen=True)
class Settings:
    seed: int
    listener: object = field(default=None, compare=False)


def test_a_result_is_computed_once_for_equal_arguments() -> None:
    plain, calls = objective(), list[int]()

    def quantity(at: Objective, settings: Settings, *, scale: int = 1) -> int:
        calls.append(settings.seed)
        return scale * at.dimension

    assert plain.cached(quantity, Settings(1)) == plain.dimension
    assert plain.cached(quantity, Settings(1, listener=print)) == plain.dimension
    assert plain.cached(quantity, Settings(1), scale=2) == 2 * plain.dimension
    assert calls == [1, 1]
    plain.at(plain.point).cached(quantity, Settings(1))
    assert calls == [1, 1, 1]
    assert not plain.has_gradient
    _ = plain.gradient
    assert plain.has_gradient


def test_statistics_of_an_objective_stay_its_own_after_an_evaluation_with_others() -> None:
    plain = objective()
    before = plain.statistics
    plain.evaluate(plain.point, statistics={name: 2 * values for name, values in before.items()})
    assert all(torch.equal(values, before[name]) for name, values in plain.statistics.items())


def test_the_rounding_of_the_gradient_is_that_of_its_own_statistics() -> None:
    fresh, used = objective(), objective()
    others = {name: 2 * values for name, values in used.statistics.items()}
    used.evaluate(used.point, statistics=others)
    assert used.gradient_rounding == fresh.gradient_rounding
    assert torch.equal(used.gradient, fresh.gradient)
