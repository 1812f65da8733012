"""Probes of their own for every example: unbiased, with the standard error that is said, whatever the batches are."""

import math

import problems
import pytest
import torch
from torch import nn

from landscape.curvature.example_probes import pairs_of_passes, pooled
from landscape.curvature.trace import MIN_FREEDOM, hessian_trace
from landscape.draws import Draws
from landscape.objective import Objective

CE = nn.CrossEntropyLoss()


@pytest.mark.parametrize("apart", [False, True], ids=["together", "one by one"])
@pytest.mark.parametrize("less", [False, True], ids=["H", "H - G"])
def test_means_and_standard_errors_are_those_of_many_repetitions(less: bool, apart: bool) -> None:
    objective, dense = problems.tiny_case()
    if less:
        dense = dense - objective.gauss_newton_product(torch.eye(objective.dimension, dtype=torch.float64))
    truth = torch.stack([part.sum() for part in objective.layout.split(dense.diag())])
    draws = [Draws(seed) for seed in range(150)]
    pairs = pairs_of_passes(objective, draws=draws, less_gauss_newton=less, apart=apart)
    drawn = torch.stack([pair.means for pair in pairs])
    spread = drawn.std(0) / math.sqrt(len(pairs))
    assert bool(((drawn.mean(0) - truth).abs() <= 4 * spread + 1e-12).all())
    said = torch.stack([pair.variances for pair in pairs]).mean(0)
    assert torch.allclose(said, drawn.var(0), rtol=0.3, atol=1e-15)  # 150 draws: ± 12 % and tails
    whole = sum(pair.variance for pair in pairs) / len(pairs)
    assert whole == pytest.approx(float(drawn.sum(1).var()), rel=0.3)
    means, errors, error, freedom = pooled(pairs)
    assert torch.allclose(means, drawn.mean(0))
    assert torch.allclose(errors, (said / len(pairs)).sqrt())
    assert error == pytest.approx(math.sqrt(whole / len(pairs)), rel=1e-12)
    assert MIN_FREEDOM < freedom <= 2 * len(pairs) * objective.num_examples


@pytest.mark.parametrize("size", [128, 17, 7, 1])
def test_batches_do_not_matter(size: int) -> None:
    x, y = problems.classification()
    whole, split = (Objective(problems.small_net(), CE, problems.batches(x, y, n)) for n in (60, size))
    (a,), (b,) = (pairs_of_passes(one, draws=[Draws(7)], less_gauss_newton=True) for one in (whole, split))
    assert torch.allclose(a.means, b.means, rtol=1e-9)
    assert torch.allclose(a.variances, b.variances, rtol=1e-9)
    assert (a.variance, a.squares) == pytest.approx((b.variance, b.squares), rel=1e-9)


def test_a_batch_that_is_visited_again_in_parts_has_the_same_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    from landscape.curvature import example_probes

    objective = problems.small_objective(batch=60)
    (plain,) = pairs_of_passes(objective, draws=[Draws(7)], less_gauss_newton=False)
    curvature, failures = example_probes.OutputCurvature, []

    class Short(curvature):  # type: ignore[misc, valid-type]
        def forms(self, moves, *, keep, apart):  # type: ignore[no-untyped-def]
            if len(moves[0]) > 20:
                failures.append(len(moves[0]))
                raise MemoryError("no memory left")
            return super().forms(moves, keep=keep, apart=apart)

    monkeypatch.setattr(example_probes, "OutputCurvature", Short)
    (again,) = pairs_of_passes(problems.small_objective(batch=60), draws=[Draws(7)], less_gauss_newton=False)
    assert failures
    assert torch.allclose(plain.means, again.means, rtol=1e-9)


def test_layers_add_up_and_few_examples_take_more_passes() -> None:
    objective = problems.small_objective()
    found = hessian_trace(objective, tolerance=0.05, max_passes=100, draws=Draws(0))
    assert found.way == "example-probes"
    assert float(found.layers.sum()) == found.value
    assert found.passes < 20
    x, y = problems.classification(3)
    few = Objective(problems.small_net(), CE, [(x, y)])
    found = hessian_trace(few, tolerance=1.0, max_passes=100, draws=Draws(0))
    assert found.passes > 2
    assert found.draws > MIN_FREEDOM


def test_a_tolerance_that_cannot_be_met_is_not_converged() -> None:
    found = hessian_trace(problems.small_objective(), tolerance=1e-9, max_passes=6, draws=Draws(0))
    assert (found.passes, found.converged) == (6, False)
