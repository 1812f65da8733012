"""XSAM: the authors' rule and search in numpy, the loss of the direction that is found, and SAM."""

import numpy as np
import pytest
import torch
from optim.battery import batch, closure, direction, mlp, sgd, weights
from optim.numpy_network import Loss, assert_same_run, loss_and_gradient
from optim.twins import end
from torch import Tensor

from landscape.errors import UsageError
from landscape.optim import SAM, XSAM
from landscape.optim.sharpness_aware import GradientsAt

RHO, RHO_MAX = 0.5, 1.0


def slerp(v0: np.ndarray, v1: np.ndarray, alpha: float) -> np.ndarray:
    psi = np.arccos(v0 @ v1)
    return (np.sin((1 - alpha) * psi) * v0 + np.sin(alpha * psi) * v1) / np.sin(psi)


def found(w: np.ndarray, loss: Loss) -> tuple[np.ndarray, np.ndarray, float, float]:
    """v₀, v₁, the length of the perturbed gradient, and the α with the highest loss."""
    g = loss(w)[1]
    v0 = g / np.linalg.norm(g)
    p = loss(w + RHO * v0)[1]
    v1 = p / np.linalg.norm(p)
    alphas = np.arange(0.0, 2.0 + 1e-5, 0.1)
    losses = [loss(w + RHO_MAX * slerp(v0, v1, alpha))[0] for alpha in alphas]
    return v0, v1, float(np.linalg.norm(p)), float(alphas[np.argmax(losses)])


@pytest.mark.parametrize("steps_per_epoch", [1, 6])
def test_twenty_steps_agree_with_the_rule_in_numpy(steps_per_epoch: int) -> None:
    chosen: list[float] = []
    step = 0

    def rule(w: np.ndarray, loss: Loss) -> np.ndarray:
        nonlocal step
        v0, v1, size, alpha = found(w, loss)
        if step % steps_per_epoch == 0:
            chosen.append(alpha)
        step += 1
        return size * slerp(v0, v1, chosen[-1])

    options = {"rho": RHO, "rho_max": RHO_MAX, "steps_per_epoch": steps_per_epoch}
    assert_same_run(lambda model, base: XSAM(base, model=model, **options), rule)
    assert len(set(chosen)) > 1


def test_the_direction_is_that_of_the_highest_loss_nearby() -> None:
    model = mlp()
    optimizer = XSAM(sgd(model), rho=RHO, rho_max=RHO_MAX, steps_per_epoch=1)
    w = weights(model).numpy()
    x, y = (t.numpy() for t in batch())
    loss = lambda at: loss_and_gradient(at, x, y)
    optimizer.step(closure(optimizer, model))
    v = direction(model).numpy()
    v0, v1, size, _ = found(w, loss)
    assert np.linalg.norm(v) == pytest.approx(size, rel=1e-9)
    highest = loss(w + RHO_MAX * v / np.linalg.norm(v))[0]
    assert all(highest >= loss(w + RHO_MAX * slerp(v0, v1, a))[0] - 1e-12 for a in np.arange(0, 2.01, 0.1))
    assert highest > loss(w + RHO_MAX * v0)[0]


def test_at_the_end_of_the_perturbed_gradient_it_is_sam_bit_for_bit() -> None:
    class AtOne(XSAM):
        def highest(self, ends: tuple[Tensor, Tensor], psi: Tensor, gradients_at: GradientsAt) -> Tensor:
            return torch.ones_like(psi)

    assert torch.equal(end(lambda b: AtOne(b, rho=0.1, steps_per_epoch=1)), end(lambda b: SAM(b, rho=0.1)))


def test_the_search_takes_a_forward_pass_for_each_place_once_an_epoch() -> None:
    model = mlp()
    optimizer = XSAM(sgd(model), steps_per_epoch=5, alpha_max=1.5)
    for number in range(10):
        optimizer.step(closure(optimizer, model, seed=number))
    assert optimizer.gradient_evaluations == pytest.approx(10 * 2 + 2 * 16 / 3)


def test_groups_that_are_not_perturbed_descend_along_the_perturbed_gradient() -> None:
    ends = []
    for kind, options in ((XSAM, {"steps_per_epoch": 1}), (SAM, {})):
        model = mlp()
        still = {"params": model[0].parameters(), "perturb": False}
        optimizer = kind(
            torch.optim.SGD([still, {"params": model[2].parameters()}], lr=0.1), rho=0.2, **options
        )
        optimizer.step(closure(optimizer, model))
        ends.append(direction(model))
    torch.testing.assert_close(ends[0][:25], ends[1][:25], rtol=1e-12, atol=1e-14)
    assert (ends[0][25:] - ends[1][25:]).norm() > 1e-4


@pytest.mark.parametrize("options", [{"rho_max": -1.0}, {"alpha_max": 0.0}, {"steps_per_epoch": 0}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="is not allowed"):
        XSAM(sgd(mlp()), **{"steps_per_epoch": 1, **options})
