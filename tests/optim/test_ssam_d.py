"""SSAM-D: which coordinates are exchanged, and how many, along the cosine."""

import pytest
import torch
from optim.battery import direction, mlp, sgd
from optim.test_ssam import examples, mask_of

from landscape.errors import UsageError
from landscape.optim import SSAMD


def test_the_share_falls_along_a_cosine_from_the_drop_rate_to_nothing() -> None:
    optimizer = SSAMD(sgd(mlp()), drop_rate=0.4, steps_per_epoch=1, total_steps=8)
    shares = []
    for steps in (0, 2, 4, 8, 9):
        optimizer.steps = steps
        shares.append(optimizer.share())
    assert shares == pytest.approx([0.4, 0.2 * (1 + 0.5**0.5), 0.2, 0.0, 0.0])


@pytest.mark.parametrize(("sparsity", "exchanged"), [(0.5, 10), (0.2, 9), (0.0, 0)])
def test_the_flattest_coordinates_are_exchanged_and_no_more_than_can_be_replaced(
    sparsity: float, exchanged: int
) -> None:
    """At s = 0.2 and r = 0.5 the authors' code drops 17 of 34, and only 9 come back."""
    model = mlp()
    optimizer = SSAMD(
        sgd(model), sparsity=sparsity, steps_per_epoch=1, drop_rate=0.5 if sparsity else 0.9, total_steps=10
    )
    optimizer.step(examples(model))
    before = mask_of(optimizer)
    examples(model, seed=2)()
    size = direction(model).abs()
    optimizer.step(examples(model, seed=2))
    after = mask_of(optimizer)
    dropped, grown = (before > after).nonzero().flatten(), (after > before).nonzero().flatten()
    assert len(grown) == len(dropped) == exchanged
    flattest = torch.where(before == 1, size, torch.inf).argsort()[:exchanged]
    assert sorted(dropped.tolist()) == sorted(flattest.tolist())


def test_the_first_mask_is_random_and_the_same_in_every_run() -> None:
    masks = []
    for _ in range(2):
        model = mlp()
        optimizer = SSAMD(sgd(model), steps_per_epoch=1, total_steps=8)
        optimizer.step(examples(model))
        masks.append(mask_of(optimizer))
    assert torch.equal(*masks)
    assert 0 < masks[0][:21].sum() < 21


def test_after_the_run_the_mask_stays() -> None:
    model = mlp()
    optimizer = SSAMD(sgd(model), steps_per_epoch=1, total_steps=3)
    masks = []
    for number in range(6):
        optimizer.step(examples(model, seed=number))
        masks.append(mask_of(optimizer))
    assert not torch.equal(masks[0], masks[1])
    assert torch.equal(masks[3], masks[5])


@pytest.mark.parametrize("options", [{"drop_rate": 1.5}, {"drop_rate": -0.1}, {"total_steps": 0}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="is not allowed"):
        SSAMD(sgd(mlp()), **({"steps_per_epoch": 1, "total_steps": 8} | options))
