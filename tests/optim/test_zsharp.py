"""ZSharp: both thresholds in numpy, the coordinates that are kept, and SAM where none is left out or all are."""

import numpy as np
import pytest
import torch
from optim import fixture_function
from optim.battery import Watch, closure, mlp, sgd
from optim.numpy_network import Loss, assert_same_run
from optim.twins import end, same

from landscape.errors import UsageError
from landscape.optim import SAM, ZSharp

RHO = 0.2
TENSORS = {
    (0, 20): 2,
    (20, 25): 1,
    (25, 40): 2,
    (40, 43): 1,
}  # the places of W₁, b₁, W₂, b₂ and their dimensions


def of_network(w: np.ndarray, loss: Loss, *, quantile: float, tensors: list[tuple[int, int]]) -> np.ndarray:
    g = loss(w)[1]
    z = np.concatenate([(g[a:b] - g[a:b].mean()) / g[a:b].std() for a, b in tensors])
    kept = np.where(np.abs(z) > np.quantile(np.abs(z), quantile), g, 0.0)
    return loss(w + RHO * kept / np.linalg.norm(kept))[1]


def by_tensor(w: np.ndarray, loss: Loss) -> np.ndarray:
    """The authors' code: a quantile and a radius for each matrix, SAM's displacement for each vector."""
    g = loss(w)[1]
    displacement = RHO * g / np.linalg.norm(g)
    for (a, b), dimensions in TENSORS.items():
        if dimensions == 2:
            z = np.abs((g[a:b] - g[a:b].mean()) / g[a:b].std(ddof=1))
            kept = np.where(z > np.quantile(z, 0.9), g[a:b], 0.0)
            displacement[a:b] = RHO * kept / np.linalg.norm(kept)
    return loss(w + displacement)[1]


def test_direction_at_the_fixture_is_that_of_the_rule() -> None:
    fixture_function.assert_is(
        lambda base: ZSharp(base, rho=RHO, quantile=0.4),
        lambda w, loss: of_network(w, loss, quantile=0.4, tensors=[(0, 3)]),
    )


@pytest.mark.parametrize("quantile", [0.5, 0.95])
def test_twenty_steps_agree_with_the_rule_in_numpy(quantile: float) -> None:
    assert_same_run(
        lambda model, base: ZSharp(base, rho=RHO, quantile=quantile),
        lambda w, loss: of_network(w, loss, quantile=quantile, tensors=list(TENSORS)),
    )


def test_twenty_steps_by_tensor_agree_with_the_authors_code_in_numpy() -> None:
    assert_same_run(lambda model, base: ZSharp(base, rho=RHO, quantile=0.9, threshold="tensor"), by_tensor)


@pytest.mark.parametrize(("quantile", "count"), [(0.95, 3), (0.9, 5), (0.5, 21), (0.0, 42)])
def test_so_many_coordinates_are_displaced_by_rho(quantile: float, count: int) -> None:
    model = mlp()
    optimizer = ZSharp(sgd(model), rho=RHO, quantile=quantile)
    watch = Watch(closure(optimizer, model), model)
    optimizer.step(watch)
    [displacement] = watch.displacements
    assert displacement.norm().item() == pytest.approx(RHO, rel=1e-9)
    assert displacement.count_nonzero() == count  # of 43


def test_groups_that_are_not_perturbed_do_not_count_among_the_scores() -> None:
    model = mlp()
    still = {"params": model[0].parameters(), "perturb": False}
    optimizer = ZSharp(torch.optim.SGD([still, {"params": model[2].parameters()}], lr=0.1), quantile=0.5)
    watch = Watch(closure(optimizer, model), model)
    optimizer.step(watch)
    assert watch.displacements[0][25:].count_nonzero() == 9  # of 18


@pytest.mark.parametrize("threshold", ["network", "tensor"])
def test_where_no_coordinate_stands_out_it_is_sam(threshold: str) -> None:
    parameters = [torch.full((2, 2), value, dtype=torch.float64, requires_grad=True) for value in (1.0, 2.0)]
    ends = []
    for kind, options in ((ZSharp, {"threshold": threshold}), (SAM, {})):
        tensors = [p.detach().clone().requires_grad_() for p in parameters[:1]]
        optimizer = kind(torch.optim.SGD(tensors, lr=0.1), rho=RHO, **options)

        def evaluate(optimizer=optimizer, tensors=tensors):
            optimizer.zero_grad()
            loss = sum((t**4).sum() for t in tensors)
            loss.backward()
            return loss

        optimizer.step(evaluate)
        ends.append(tensors[0].detach())
    assert torch.allclose(*ends, rtol=1e-12)


def test_it_is_not_sam_otherwise() -> None:
    for threshold in ("network", "tensor"):
        assert not same(
            end(lambda b, t=threshold: ZSharp(b, rho=0.1, threshold=t)), end(lambda b: SAM(b, rho=0.1))
        )


@pytest.mark.parametrize("options", [{"quantile": 1.0}, {"rho": -1.0}, {"threshold": "layer"}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="is not allowed"):
        ZSharp(sgd(mlp()), **options)
