"""Tilted SAM: the authors' rule in numpy with the noise of a step, both ends of t, and SAM without noise."""

import math

import numpy as np
import pytest
import torch
from optim.battery import Watch, closure, mlp, sgd, weights
from optim.numpy_network import Loss, assert_same_run
from optim.twins import end, same
from torch import Tensor

from landscape.errors import UsageError
from landscape.optim import SAM, TiltedSAM

RHO, TILT = 0.1, 4.0


def noise_of(optimizer: TiltedSAM) -> np.ndarray:
    return torch.stack(list(optimizer.displacements())).numpy()


def test_twenty_steps_agree_with_the_rule_in_numpy() -> None:
    optimizer: TiltedSAM | None = None
    noises: list[np.ndarray] = []

    class Noted(TiltedSAM):
        def first_displacement(self) -> Tensor:
            noises.append(noise_of(self))
            return super().first_displacement()

    def make(model: torch.nn.Module, base: torch.optim.Optimizer) -> TiltedSAM:
        nonlocal optimizer
        optimizer = Noted(base, rho=RHO, tilt=TILT, noise=0.5)
        return optimizer

    def rule(w: np.ndarray, loss: Loss) -> np.ndarray:
        losses, gradients = [], []
        for delta in noises[-1]:
            g = loss(w + delta)[1]
            climbed = loss(w + delta + RHO * g / np.linalg.norm(g))
            losses.append(climbed[0])
            gradients.append(climbed[1])
        shares = np.exp(TILT * (np.array(losses) - max(losses)))
        return shares / shares.sum() @ np.array(gradients)

    assert_same_run(make, rule, reported=lambda w, loss: loss(w + noises[-1][0])[0])
    assert len(noises) == 20
    assert np.abs(noises[0] - noises[1]).min() > 0


def test_the_noise_is_normal_and_no_longer_than_it_may_be() -> None:
    model = torch.nn.Linear(100, 100, bias=False).double()
    long, short = (noise_of(TiltedSAM(sgd(model), samples=8, noise=size)) for size in (1e3, 2.0))
    lengths = np.linalg.norm(long, axis=1)
    # The squared length of 10,000 standard normal numbers is 10,000 ± 141.
    assert np.abs(lengths**2 - 1e4).max() < 5 * math.sqrt(2e4)
    np.testing.assert_allclose(np.linalg.norm(short, axis=1), 2.0, rtol=1e-9)
    np.testing.assert_allclose(short, long / lengths[:, None] * 2.0, rtol=1e-9)


@pytest.mark.parametrize(("tilt", "of"), [(0.0, "mean"), (1e8, "worst")])
def test_without_tilt_it_is_the_mean_and_with_much_the_worst_place(tilt: float, of: str) -> None:
    model = mlp()
    optimizer = TiltedSAM(torch.optim.SGD(model.parameters(), lr=1.0), rho=RHO, tilt=tilt, samples=4)
    before, gradients = weights(model), []
    note = lambda _: gradients.append(torch.cat([p.grad.flatten().clone() for p in model.parameters()]))
    optimizer.step(Watch(closure(optimizer, model), model, before=note))
    places = torch.stack(gradients[1::2])
    worst = torch.stack(optimizer.losses[1::2]).argmax()
    expected = places.mean(0) if of == "mean" else places[worst]
    torch.testing.assert_close(before - weights(model), expected, rtol=1e-9, atol=1e-12)
    assert optimizer.gradient_evaluations == 8


def test_without_noise_and_with_one_place_it_is_sam() -> None:
    assert same(end(lambda b: TiltedSAM(b, rho=0.1, noise=0.0, samples=1)), end(lambda b: SAM(b, rho=0.1)))
    assert same(end(lambda b: TiltedSAM(b, rho=0.1, noise=0.0)), end(lambda b: SAM(b, rho=0.1)))


@pytest.mark.parametrize("options", [{"samples": 0}, {"tilt": -1.0}, {"noise": -1.0}, {"rho": -1.0}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="is not allowed"):
        TiltedSAM(sgd(mlp()), **options)
