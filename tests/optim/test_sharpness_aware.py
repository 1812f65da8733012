"""What every optimizer refuses at the door, and the one clip of its final direction."""

import pytest
import torch
from optim.battery import closure, direction, mlp, sgd, weights

from landscape.errors import UsageError
from landscape.optim import ASAM, CRSAM, GSAM, SAM


@pytest.mark.parametrize("rho", [-0.1, float("nan"), float("inf"), "wide"])
@pytest.mark.parametrize("variant", [SAM, ASAM, GSAM, CRSAM])
def test_a_radius_out_of_range_is_refused(variant: type[SAM], rho: float) -> None:
    with pytest.raises(UsageError, match=r"rho=.* is not allowed: rho must be a finite number ≥ 0"):
        variant(sgd(mlp()), rho=rho)


@pytest.mark.parametrize(
    "make",
    [
        lambda base: ASAM(base, eta=-1),
        lambda base: GSAM(base, alpha=-1),
        lambda base: GSAM(base, rho_max=-1),
        lambda base: GSAM(base, rho_max=0.1, rho_min=float("nan")),
        lambda base: GSAM(base, rho_max=0.1, lr_min=-0.1),
        lambda base: GSAM(base, rho_max=0.1, lr_min=0.2),
        lambda base: CRSAM(base, alpha=float("nan")),
        lambda base: CRSAM(base, beta=-0.1),
        lambda base: CRSAM(base, mode="quadratic"),
        lambda base: CRSAM(base, log_policy="ignore"),
        lambda base: ASAM(base, asam_on="biases"),
        lambda base: GSAM(base, adaptive="abs_plus_gamma"),
        lambda base: SAM(base, max_grad_norm=0.0),
    ],
)
def test_other_hyper_parameters_out_of_range_are_refused(make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match="is not allowed"):
        make(sgd(mlp()))


def test_a_radius_of_a_group_out_of_range_is_refused() -> None:
    model = mlp()
    with pytest.raises(UsageError, match="rho=-1"):
        SAM(torch.optim.SGD([{"params": model.parameters(), "rho": -1}], lr=0.1))
    optimizer = SAM(sgd(model))
    optimizer.param_groups[0]["rho"] = float("nan")
    before = weights(model)
    with pytest.raises(UsageError, match="rho=nan"):
        optimizer.step(closure(optimizer, model))
    assert torch.equal(before, weights(model))


@pytest.mark.parametrize(
    "base",
    [
        lambda model: model.parameters(),
        lambda model: torch.optim.SGD,
        lambda model: torch.optim.LBFGS(model.parameters()),
        lambda model: SAM(sgd(model)),
    ],
)
def test_what_cannot_be_a_base_is_refused_with_an_example(base) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=r"write SAM\(torch.optim.SGD"):
        SAM(base(mlp()))


def test_a_model_that_is_not_the_optimized_one_is_refused() -> None:
    with pytest.raises(UsageError, match="none of the parameters"):
        SAM(sgd(mlp()), model=mlp())


def test_a_network_that_is_all_frozen_is_refused() -> None:
    model = mlp().requires_grad_(False)
    with pytest.raises(UsageError, match="requires_grad_"):
        SAM(sgd(model))


def test_only_the_final_direction_is_clipped() -> None:
    free, clipped = mlp(), mlp()
    for model, limit in ((free, None), (clipped, 0.01)):
        optimizer = GSAM(sgd(model), alpha=0.7, max_grad_norm=limit)
        optimizer.step(closure(optimizer, model))
    assert direction(clipped).norm().item() == pytest.approx(0.01, rel=1e-4)
    cosine = torch.cosine_similarity(direction(free), direction(clipped), dim=0)
    assert cosine.item() == pytest.approx(1.0, abs=1e-12)


def test_a_direction_shorter_than_the_limit_is_not_clipped() -> None:
    free, clipped = mlp(), mlp()
    for model, limit in ((free, None), (clipped, 1e6)):
        optimizer = SAM(sgd(model), max_grad_norm=limit)
        optimizer.step(closure(optimizer, model))
    assert torch.equal(direction(free), direction(clipped))
