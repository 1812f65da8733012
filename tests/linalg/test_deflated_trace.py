"""The deflated trace on known spectra: unbiased, exact parts, and an interval that holds."""

import math

import problems
import pytest
import torch
from scipy.special import stdtrit
from torch import Tensor

from landscape.draws import Draws
from landscape.linalg import SymmetricOperator, dense
from landscape.linalg.deflated_trace import FIRST, DeflatedTrace
from landscape.linalg.hutchinson import mean_of_draws

SPECTRUM = torch.cat([torch.tensor([50.0, 20.0, -10.0, 5.0]), torch.linspace(-0.2, 0.4, 49)]).double()
BASIS = problems.orthogonal(53)
MATRIX = BASIS @ torch.diag(SPECTRUM) @ BASIS.T


def halves(x: Tensor, y: Tensor) -> Tensor:
    return torch.stack([(x[:20] * y[:20]).sum(0), (x[20:] * y[20:]).sum(0)], dim=1)


def grown(blocks: int, seed: int = 0, a: Tensor = MATRIX) -> DeflatedTrace:
    deflated = DeflatedTrace(dense(a), Draws(seed), halves)
    for _ in range(blocks):
        deflated.grow()
    return deflated


def test_draws_are_unbiased_part_by_part() -> None:
    runs = torch.stack([grown(3, seed).draw(range(12)).mean(0) for seed in range(100)])
    truth = torch.stack([MATRIX.diag()[:20].sum(), MATRIX.diag()[20:].sum()])
    assert bool(((runs.mean(0) - truth).abs() <= 4 * runs.std(0) / 10).all())
    assert float(runs.sum(1).std()) < 2  # plain probes have 19 after 12


def test_a_column_costs_a_product_and_so_does_a_draw() -> None:
    products = list[int]()

    def product(vectors: Tensor) -> Tensor:
        products.append(vectors.shape[1])
        return MATRIX @ vectors

    deflated = DeflatedTrace(SymmetricOperator(product, 53, torch.device("cpu"), torch.float64), Draws(0))
    for _ in range(4):
        deflated.grow()
    seen = deflated.forms()
    assert sum(products) == FIRST + deflated.columns == 16
    drawn = deflated.draw(range(6, 11))[:, 0]
    assert len(drawn) == 5
    assert sum(products) == 16 + 5
    # The forms by which the space has grown are no draws: where it stopped because they agree, so would the draws.
    assert not set(seen.tolist()) & set(deflated.draw(range(FIRST))[:, 0].tolist())


def test_what_a_column_spares_is_the_fall_of_the_variance() -> None:
    deflated = grown(4)
    assert deflated.spared() == math.inf
    before = norm_of_the_rest(deflated)
    deflated = grown(8)
    assert deflated.spared() == pytest.approx(2 * (before - norm_of_the_rest(deflated)) / 8, rel=1e-8)


def norm_of_the_rest(deflated: DeflatedTrace) -> float:
    q = torch.cat(deflated._blocks, dim=1)
    assert torch.allclose(q.T @ q, torch.eye(q.shape[1]).double(), atol=1e-12)
    rest = torch.eye(53).double() - q @ q.T
    return float((rest @ MATRIX @ rest).square().sum())


@pytest.mark.parametrize("n", [1, 5, 30])
def test_a_space_without_further_directions_is_exact(n: int) -> None:
    deflated = DeflatedTrace(dense(MATRIX[:n, :n]), Draws(0))
    while deflated.grow():
        assert deflated.columns <= n
    assert torch.allclose(deflated.draw(range(3)), MATRIX[:n, :n].trace().expand(3, 1), rtol=1e-9)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """200 seeds of an estimate that stops on its standard error; 95 % nominal, of which 92 to 98 % are within 2σ."""
    truth, covered = float(SPECTRUM.sum()), 0
    for seed in range(200):
        deflated = grown(4, seed)
        found = mean_of_draws(
            lambda numbers, d=deflated: d.draw(numbers).sum(1), block=4, limit=200, minimum=8, tolerance=0.005
        )
        covered += abs(found.value - truth) <= stdtrit(len(found.samples) - 1, 0.975) * found.standard_error
    assert 184 <= covered <= 196
