"""GNP: published values, the rule in numpy, quadratics, and its two ends."""

import numpy as np
import pytest
import torch
from optim import fixture_function
from optim.battery import mlp, sgd
from optim.numpy_network import Loss, assert_same_run
from optim.twins import end, same
from torch import Tensor, nn

from landscape.errors import UsageError
from landscape.optim import CRSAM, ERM, GNP, SAM, SharpnessAware

RHO, ALPHA = 0.1, 0.8


def rule(w: np.ndarray, loss: Loss) -> np.ndarray:
    g = loss(w)[1]
    return (1 - ALPHA) * g + ALPHA * loss(w + RHO * g / np.linalg.norm(g))[1]


def test_twenty_steps_agree_with_the_rule_in_numpy() -> None:
    assert_same_run(lambda model, base: GNP(base, rho=RHO, alpha=ALPHA), rule)


def test_direction_at_the_fixture_is_the_published_one() -> None:
    handed, _ = fixture_function.step(lambda base: GNP(base, rho=0.1, alpha=0.8))
    assert fixture_function.close(handed, (2.0352682986, -2.0442560343, 2.1015672790))


def test_with_the_clean_gradient_normalised_it_is_the_rule_of_the_authors_code() -> None:
    g = torch.tensor(fixture_function.GRADIENT, dtype=torch.float64)
    perturbed, _ = fixture_function.step(lambda base: SAM(base, rho=0.1))
    handed, _ = fixture_function.step(lambda base: GNP(base, rho=0.1, alpha=0.8, normalize_clean=True))
    torch.testing.assert_close(handed, 0.2 * g / g.norm() + 0.8 * perturbed, rtol=1e-11, atol=0)


def test_with_all_of_the_clean_gradient_it_is_its_base_and_with_none_sam_bit_for_bit() -> None:
    assert torch.equal(end(lambda b: GNP(b, alpha=0.0)), end(ERM))
    assert torch.equal(end(lambda b: GNP(b, alpha=1.0)), end(lambda b: SAM(b, rho=0.1)))


def _on_a_quadratic(make: type[GNP] | type[CRSAM], **options: float) -> tuple[Tensor, Tensor, Tensor]:
    """d, g and H of ½ w'Hw, whose H has a negative eigenvalue."""
    a = torch.randn(5, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    hessian = a + a.T
    w = nn.Parameter(torch.arange(1.0, 6.0, dtype=torch.float64))
    gradient = hessian @ w.detach()
    optimizer: SharpnessAware = make(torch.optim.SGD([w], lr=0.1), **options)  # type: ignore[arg-type]

    def evaluate() -> Tensor:
        w.grad = None
        loss = 0.5 * w @ hessian @ w
        loss.backward()
        return loss

    optimizer.step(evaluate)
    assert w.grad is not None
    return w.grad, gradient, hessian


def test_on_a_quadratic_it_is_the_gradient_of_the_penalised_loss() -> None:
    d, g, hessian = _on_a_quadratic(GNP, rho=0.3, alpha=0.7)
    torch.testing.assert_close(d, g + 0.21 * hessian @ g / g.norm(), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 3.0])
def test_on_a_quadratic_it_is_cr_sam_whatever_the_weight_of_the_curvature(alpha: float) -> None:
    d, _, _ = _on_a_quadratic(CRSAM, rho=0.3, alpha=alpha, beta=0.25)
    torch.testing.assert_close(d, _on_a_quadratic(GNP, rho=0.3, alpha=1.5)[0], rtol=1e-10, atol=1e-10)


def test_direction_is_linear_in_alpha() -> None:
    handed = [fixture_function.step(lambda b, a=a: GNP(b, alpha=a))[0] for a in (0.0, 0.3, 0.6)]
    torch.testing.assert_close(handed[1] - handed[0], handed[2] - handed[1])
    assert not same(handed[0], handed[1])


@pytest.mark.parametrize("alpha", [-0.1, float("nan"), float("inf")])
def test_a_share_outside_its_range_is_refused(alpha: float) -> None:
    with pytest.raises(UsageError, match="alpha must be a finite number ≥ 0"):
        GNP(sgd(mlp()), alpha=alpha)
