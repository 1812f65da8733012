"""Sparse SAM: the published value of a given mask, and what both ways to choose the mask have to keep."""

from itertools import pairwise

import pytest
import torch
from optim import fixture_function
from optim.battery import Watch, batch, direction, mlp, sgd, weights
from optim.twins import same
from torch import Tensor, nn

from landscape.errors import UsageError
from landscape.optim import ERM, SAM, SSAMD, SSAMF, BatchClosure, SharpnessAware
from landscape.optim.ssam import SparseSAM

SPARSE: list[type[SSAMF] | type[SSAMD]] = [SSAMF, SSAMD]
both = pytest.mark.parametrize("variant", SPARSE)


def examples(model: nn.Module, seed: int = 1) -> BatchClosure:
    x, y = batch(seed)
    return BatchClosure(model, nn.CrossEntropyLoss(reduction="none"), inputs=x, targets=y)


def sparse(
    variant: type[SSAMF] | type[SSAMD], base: torch.optim.Optimizer, **options: object
) -> SSAMF | SSAMD:
    """The variant in a run of five epochs, an epoch of two steps."""
    run = {"total_steps": 10} if variant is SSAMD else {}
    return variant(base, steps_per_epoch=2, **run, **options)  # type: ignore[arg-type]


def mask_of(optimizer: SparseSAM) -> Tensor:
    mask = optimizer.memory["mask"]
    assert isinstance(mask, Tensor)
    return mask


def test_direction_at_the_fixture_is_the_published_one() -> None:
    def make(base: torch.optim.Optimizer) -> SSAMD:
        optimizer = SSAMD(base, rho=0.1, steps_per_epoch=5, total_steps=50)
        optimizer.steps = 1
        optimizer.memory["mask"] = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
        return optimizer

    handed, _ = fixture_function.step(make)
    assert fixture_function.close(handed, (2.0933116131, -1.8016002976, 2.2478737431))


@both
@pytest.mark.parametrize(("sparsity", "limit"), [(0.0, SAM), (1.0, ERM)])
def test_with_nothing_masked_it_is_sam_and_with_everything_its_base(
    variant: type[SSAMD], sparsity: float, limit: type[SharpnessAware]
) -> None:
    models = [mlp(), mlp()]
    radius = {"rho": 0.1} if limit is SAM else {}
    optimizers = [
        sparse(variant, sgd(models[0]), rho=0.1, sparsity=sparsity),
        limit(sgd(models[1]), **radius),
    ]
    for number in range(5):
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.step(examples(model, seed=number))
    assert same(weights(models[0]), weights(models[1]))


@both
@pytest.mark.parametrize(("sparsity", "live"), [(0.2, 34), (0.5, 21), (0.9, 4)])
def test_the_mask_has_as_many_ones_in_every_step(variant: type[SSAMD], sparsity: float, live: int) -> None:
    model = mlp()
    optimizer = sparse(variant, sgd(model), sparsity=sparsity)
    masks = []
    for number in range(7):
        optimizer.step(examples(model, seed=number))
        masks.append(mask_of(optimizer))
    assert all(set(mask.tolist()) == {0.0, 1.0} and mask.sum() == live for mask in masks)
    assert [torch.equal(a, b) for a, b in pairwise(masks)][::2] == [True] * 3
    assert not all(torch.equal(mask, masks[0]) for mask in masks)


@both
def test_masked_coordinates_are_the_very_weights_and_the_norm_is_of_the_whole_gradient(
    variant: type[SSAMD],
) -> None:
    model = mlp()
    optimizer = sparse(variant, sgd(model), rho=0.3, sparsity=0.5)
    optimizer.step(examples(model))
    before = weights(model)
    examples(model)()
    gradient = direction(model)
    watch = Watch(examples(model), model)
    optimizer.needs_batch = False
    optimizer.step(watch)
    mask = mask_of(optimizer)
    assert torch.equal(watch.points[1][mask == 0], before[mask == 0])
    torch.testing.assert_close(
        watch.displacements[0], mask * 0.3 * gradient / gradient.norm(), rtol=1e-9, atol=1e-12
    )


@both
def test_only_what_may_be_perturbed_is_counted(variant: type[SSAMD]) -> None:
    model = mlp()
    groups = [{"params": model[0].parameters(), "perturb": False}, {"params": model[2].parameters()}]
    optimizer = sparse(variant, torch.optim.SGD(groups, lr=0.1), sparsity=0.5)
    for number in range(3):
        optimizer.step(examples(model, seed=number))
        assert mask_of(optimizer)[:25].sum() == 0
        assert mask_of(optimizer)[25:].sum() == 9


@both
def test_the_mask_grows_with_the_groups_and_leaves_those_that_are_held_back(variant: type[SSAMD]) -> None:
    model = mlp()
    optimizer = sparse(variant, torch.optim.SGD(model[2].parameters(), lr=0.1), sparsity=0.5)
    optimizer.step(examples(model))
    assert mask_of(optimizer).sum() == 9
    optimizer.add_param_group({"params": model[0].parameters()})
    for number in range(2):
        optimizer.step(examples(model, seed=number))
    assert mask_of(optimizer).sum() == 21
    optimizer.param_groups[1]["perturb"] = False
    for number in range(2):
        optimizer.step(examples(model, seed=number))
    assert mask_of(optimizer)[:18].sum() == 9
    assert mask_of(optimizer)[18:].sum() == 0


def test_masks_come_anew_every_few_epochs() -> None:
    model = mlp()
    optimizer = SSAMF(sgd(model), steps_per_epoch=2, update_every=2)
    masks = []
    for number in range(9):
        optimizer.step(examples(model, seed=number))
        masks.append(mask_of(optimizer))
    assert [i for i, (a, b) in enumerate(pairwise(masks), 1) if a is not b] == [4, 8]


@both
@pytest.mark.parametrize("options", [{"sparsity": 1.1}, {"sparsity": -0.1}, {"update_every": 0}])
def test_options_out_of_range_are_refused(variant: type[SSAMD], options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="is not allowed"):
        sparse(variant, sgd(mlp()), **options)
