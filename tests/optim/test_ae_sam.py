"""AE-SAM: published statistics, the rule in numpy, its bounds and shares, and the steps it is told."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from optim.battery import closure, mlp, sgd
from optim.numpy_network import Loss, Rule, assert_same_run
from optim.twins import end

from landscape.draws import Draws
from landscape.errors import UsageError
from landscape.optim import AESAM, ERM, OPTIMIZERS, SAM, LongGradient, build_optimizer
from landscape.optim.policy import Memory
from landscape.training import Recipe
from landscape.training.session import Session
from landscape.training.subject import subject_of

RHO, TOTAL = 0.1, 20


def ae_rule(lambda1: float, lambda2: float, counts: list[int]) -> Rule:
    mean, variance = 0.0, math.exp(-10)

    def rule(w: np.ndarray, loss: Loss) -> np.ndarray:
        nonlocal mean, variance
        g = loss(w)[1]
        s = g @ g
        mean = 0.9 * mean + 0.1 * s
        variance = 0.9 * variance + 0.1 * (s - mean) ** 2
        c = len(counts) / TOTAL * lambda1 + (1 - len(counts) / TOTAL) * lambda2
        counts.append(int(s >= mean + c * math.sqrt(variance)))
        return loss(w + RHO * g / np.linalg.norm(g))[1] if counts[-1] else g

    return rule


def test_twenty_steps_agree_with_the_rule_in_numpy() -> None:
    counts: list[int] = []
    assert_same_run(lambda model, base: AESAM(base, total_steps=TOTAL, rho=RHO), ae_rule(-1.0, 1.0, counts))
    assert 3 < sum(counts) < 17


def _scores(policy: LongGradient, squares: list[float]) -> list[float]:
    memory: Memory = {}
    found = []
    for step, s in enumerate(squares):
        gradient = torch.tensor([math.sqrt(s)], dtype=torch.float64)
        policy.looks_around(gradient, memory, step=step, draws=Draws(0))
        found.append((s - float(memory["mean"])) / math.sqrt(float(memory["variance"])))
    return found


def test_the_statistics_are_the_published_ones() -> None:
    policy = LongGradient(10, delta=0.9, lambda1=-1.0, lambda2=1.0)
    expected = [3.16148, 1.228327, 2.799602, -0.356284]
    assert _scores(policy, [1.0, 0.5, 2.0, 0.1]) == pytest.approx(expected, abs=1e-5)


def test_a_gradient_is_never_further_from_the_mean_than_its_own_share_in_it_allows() -> None:
    squares = np.random.default_rng(0).lognormal(sigma=3.0, size=2000).tolist()
    for delta in (0.5, 0.9, 0.99):
        scores = _scores(LongGradient(10, delta=delta, lambda1=0.0, lambda2=0.0), squares)
        assert max(map(abs, scores)) <= 1 / math.sqrt(1 - delta) + 1e-12
        assert max(scores) > 0.95 / math.sqrt(1 - delta)


def _share(lambda1: float, lambda2: float, steps: int = 8000) -> float:
    """The share of SAM steps where ‖g‖² is normally distributed around one."""
    policy = LongGradient(steps, delta=0.9, lambda1=lambda1, lambda2=lambda2)
    memory: Memory = {}
    squares = torch.from_numpy(np.random.default_rng(1).normal(1.0, 0.1, steps)).sqrt().unsqueeze(1)
    taken = [policy.looks_around(s, memory, step=i, draws=Draws(0)) for i, s in enumerate(squares)]
    return sum(taken) / steps


def test_the_default_thresholds_give_the_shares_that_the_authors_report() -> None:
    assert _share(-1.0, 1.0) == pytest.approx(0.5, abs=0.02)
    assert _share(0.0, 2.0) == pytest.approx(0.197, abs=0.02)


def test_the_higher_the_threshold_the_fewer_sam_steps() -> None:
    shares = [_share(c, c, steps=1000) for c in (-3.2, -2.0, -1.0, 0.0, 1.0, 2.0, 3.2)]
    assert shares[0] == 1.0
    assert shares[-1] == 0.0
    assert all(a > b for a, b in itertools.pairwise(shares))


def test_the_threshold_goes_in_a_line_from_lambda2_to_lambda1_and_stays() -> None:
    policy = LongGradient(10, delta=0.9, lambda1=-1.0, lambda2=2.0)
    assert [policy.threshold(t) for t in (0, 5, 10, 25)] == pytest.approx([2.0, 0.5, -1.0, -1.0])


@pytest.mark.parametrize(("threshold", "other"), [(-4.0, lambda b: SAM(b, rho=0.1)), (4.0, ERM)])
def test_with_a_threshold_out_of_reach_it_is_sam_or_its_base(
    threshold: float, other: Callable[[torch.optim.Optimizer], SAM | ERM]
) -> None:
    def make(base: torch.optim.Optimizer) -> AESAM:
        return AESAM(base, total_steps=6, rho=0.1, lambda1=threshold, lambda2=threshold)

    assert torch.equal(end(make), end(other))


def test_clipping_does_not_change_which_steps_are_sams() -> None:
    taken = []
    for max_grad_norm in (None, 1e-3):
        model = mlp()
        optimizer = AESAM(
            torch.optim.SGD(model.parameters(), lr=0.0), total_steps=12, max_grad_norm=max_grad_norm
        )
        passes = []
        for number in range(12):
            optimizer.step(closure(optimizer, model, seed=number))
            passes.append(len(optimizer.losses))
        taken.append(passes)
    assert taken[0] == taken[1]
    assert set(taken[0]) == {1, 2}


def test_a_gradient_too_long_to_square_skips_the_step_and_is_not_remembered() -> None:
    w = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    optimizer = AESAM(torch.optim.SGD([w], lr=0.1), total_steps=5)

    def huge() -> torch.Tensor:
        loss = 1e200 * w.sum()
        loss.backward()
        return loss

    optimizer.step(huge)
    assert (optimizer.steps, optimizer.skipped_steps, optimizer.memory) == (0, 1, {})


def test_the_number_of_steps_is_asked_for_by_name() -> None:
    with pytest.raises(UsageError, match="'ae-sam' needs total_steps="):
        build_optimizer(mlp(), optimizer="ae-sam")
    for optimizer, steps in (
        (build_optimizer(mlp(), optimizer="ae-sam", total_steps=7), 7),
        (build_optimizer(mlp(), optimizer="ae-sam:total_steps=3", total_steps=7), 3),
    ):
        assert isinstance(optimizer.policy, LongGradient)
        assert optimizer.policy.total_steps == steps


@pytest.mark.parametrize("name", ["ae-sam", "ae-looksam"])
def test_the_trainer_tells_the_number_of_steps(name: str) -> None:
    recipe = Recipe(model="mlp:width=8", data="moons:samples=100", optimizer=name, epochs=3, batch_size=16)
    session = Session(recipe, subject_of(recipe), torch.device("cpu"))
    assert isinstance(session.optimizer.policy, LongGradient)
    assert session.optimizer.policy.total_steps == session.steps == 15


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delta": 1.0}, "delta must be a finite number ≥ 0 and < 1"),
        ({"delta": -0.1}, "delta must be"),
        ({"lambda1": math.inf}, "lambda1 must be a finite number"),
        ({"lambda2": math.nan}, "lambda2 must be a finite number"),
        ({"total_steps": 0}, "total_steps must be a whole number above 0"),
        ({"total_steps": 2.5}, "total_steps must be a whole number above 0"),
    ],
)
@pytest.mark.parametrize("name", ["ae-sam", "ae-looksam"])
def test_options_outside_their_range_are_refused(name: str, options: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        OPTIMIZERS[name].build(sgd(mlp()), **{"total_steps": 10, **options})
