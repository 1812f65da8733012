"""Geodesic sharpness: metric and geodesics against their definitions, and invariance in several kinds of attention."""

import math

import problems
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from landscape.draws import Draws
from landscape.measures import adaptive_sharpness, geodesic_sharpness
from landscape.measures.attention_symmetry import Chart, moved_along_symmetry, pairs_of
from landscape.objective import Objective

METRICS = ["inv", "mix"]
WIDTH, TOKENS = 6, 5


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pair(seed: int = 0) -> tuple[Tensor, Tensor]:
    return random(5, 3, seed=seed), random(4, 3, seed=seed + 1)


def inner(
    metric: str, point: tuple[Tensor, Tensor], a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]
) -> Tensor:
    """The metric as the paper prints it."""
    p, q = (each.T @ each for each in point)
    left, right = (p.inverse(), q.inverse()) if metric == "inv" else (q, p)
    return (left @ a[0].T @ b[0]).trace() + (right @ a[1].T @ b[1]).trace()


@pytest.mark.parametrize("metric", METRICS)
def test_lengths_do_not_change_under_the_symmetry(metric: str) -> None:
    point, direction, a = pair(), pair(2), random(3, 3, seed=9)
    moved = [(g @ a.inverse(), h @ a.T) for g, h in (point, direction)]
    before, after = (
        Chart(point, metric).squared_norm(direction),
        Chart(moved[0], metric).squared_norm(moved[1]),
    )
    assert float(before) == pytest.approx(float(inner(metric, point, direction, direction)), rel=1e-9)
    assert float(after) == pytest.approx(float(before), rel=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_the_horizontal_part_is_orthogonal_to_the_symmetry_and_is_its_own(metric: str) -> None:
    point, direction = pair(), pair(2)
    chart = Chart(point, metric)
    part = chart.horizontal(direction)
    for seed in range(9):
        b = random(3, 3, seed=20 + seed)
        vertical = point[0] @ b, -point[1] @ b.T
        assert abs(float(inner(metric, point, part, vertical))) < 1e-9
        assert max(float(each.abs().max()) for each in chart.horizontal(vertical)) < 1e-9
    for once, twice in zip(part, chart.horizontal(part), strict=True):
        torch.testing.assert_close(twice, once, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_the_gradient_of_a_function_of_the_product_is_horizontal(metric: str) -> None:
    point = tuple(each.requires_grad_() for each in pair())
    target = random(5, 4, seed=7)
    slopes = torch.autograd.grad((point[0] @ point[1].T - target).square().sum(), point)
    chart = Chart(tuple(each.detach() for each in point), metric)
    gradient, direction = chart.gradient(slopes), pair(3)
    along = sum((a * b).sum() for a, b in zip(slopes, direction, strict=True))
    assert float(inner(metric, chart_point(chart), gradient, direction)) == pytest.approx(
        float(along), rel=1e-9
    )
    for part, whole in zip(chart.horizontal(gradient), gradient, strict=True):
        torch.testing.assert_close(part, whole, rtol=1e-8, atol=1e-8)


def chart_point(chart: Chart) -> tuple[Tensor, Tensor]:
    return chart.g, chart.h


@pytest.mark.parametrize("metric", METRICS)
def test_the_acceleration_is_that_of_the_christoffel_symbols_of_the_metric(metric: str) -> None:
    """Γᵢ(ξ, ξ) = g⁻¹(∂_ξ g ξ − ½ ∂(ξᵀgξ)), from a dense metric by autograd."""
    point, velocity = pair(), pair(2)
    flat, xi = (torch.cat([each.flatten() for each in both]) for both in (point, velocity))

    def split(vector: Tensor) -> tuple[Tensor, Tensor]:
        return vector[:15].view(5, 3), vector[15:].view(4, 3)

    def dense(at: Tensor) -> Tensor:
        eye = torch.eye(27, dtype=torch.float64)
        return torch.func.vmap(
            lambda a: torch.func.vmap(lambda b: inner(metric, split(at), split(a), split(b)))(eye)
        )(eye)

    change = torch.func.jacfwd(dense)(flat)  # ∂ₖ gᵢⱼ in the last dimension
    lowered = torch.einsum("ijk,k,j->i", change, xi, xi) - 0.5 * torch.einsum("jki,j,k->i", change, xi, xi)
    expected = flat + xi - 0.5 * torch.linalg.solve(dense(flat), lowered)
    found = torch.cat([each.flatten() for each in Chart(point, metric).along(velocity)])
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_of_numbers_geodesics_are_those_of_the_papers_toy_model() -> None:
    g, h, b = (torch.full((1, 1), value, dtype=torch.float64) for value in (2.0, -3.0, 1e-3))
    for metric, exact in (("inv", math.exp(1e-3)), ("mix", math.sqrt(1 + 2e-3))):
        ends = Chart((g, h), metric).along((b * g, b * h))
        assert [float(end) for end in ends] == pytest.approx([2 * exact, -3 * exact], rel=1e-9)


class Attention(nn.Module):
    """Softmax attention of some heads that may share keys and values, or have queries of length one."""

    def __init__(self, heads: int = 2, groups: int = 2, *, unit: bool = False, bias: bool = True) -> None:
        super().__init__()
        self.num_heads, self.num_kv_heads, self.unit = heads, groups, unit
        self.size = 3
        self.q_proj = nn.Linear(WIDTH, heads * self.size, bias=bias)
        self.k_proj = nn.Linear(WIDTH, groups * self.size, bias=bias)
        self.v_proj = nn.Linear(WIDTH, groups * self.size, bias=bias)
        self.o_proj = nn.Linear(heads * self.size, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            projection(x).unflatten(-1, (-1, self.size)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        k, v = (each.repeat_interleave(self.num_heads // self.num_kv_heads, dim=1) for each in (k, v))
        q = functional.normalize(q, dim=-1) if self.unit else q
        mixed = (q @ k.transpose(-1, -2)).softmax(-1) @ v
        return self.o_proj(mixed.transpose(1, 2).flatten(2))


class Torchs(nn.MultiheadAttention):
    """Of torch, with one tensor of queries, keys and values."""

    def __init__(self) -> None:
        super().__init__(WIDTH, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x, x, x, need_weights=False)[0]


class Classifier(nn.Module):
    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention, self.norm, self.head = attention, nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(x + self.attention(x)).mean(1))


KINDS = {
    "separate": (Attention, 4),
    "no biases": (lambda: Attention(bias=False), 4),
    "shared": (lambda: Attention(heads=4, groups=2), 4),
    "joint": (Torchs, 4),
}


def objective(attention: nn.Module, **options: object) -> Objective:
    torch.manual_seed(0)
    model = problems.network(Classifier(attention))
    x, y = random(12, TOKENS, WIDTH, seed=3), torch.arange(12) % 3
    return Objective(model, nn.CrossEntropyLoss(), problems.batches(x, y, 7), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_it_does_not_change_under_the_symmetry_and_adaptive_sharpness_does(kind: str, metric: str) -> None:
    build, count = KINDS[kind]
    plain = objective(build())
    pairs = pairs_of(plain)
    assert len(pairs) == count
    moved = plain.at(moved_along_symmetry(plain, pairs, Draws(5)))
    assert moved.loss == pytest.approx(plain.loss, rel=1e-12)
    before, after = (geodesic_sharpness(each, rho=0.3, steps=4, metric=metric) for each in (plain, moved))
    assert before.value > 0
    assert after.value == pytest.approx(before.value, rel=1e-7)
    assert after.details["one_step"] == pytest.approx(before.details["one_step"], rel=1e-7)
    others = [adaptive_sharpness(each, rho=0.3, steps=4).value for each in (plain, moved)]
    assert abs(others[1] / others[0] - 1) > 1e-5


@pytest.mark.parametrize("metric", METRICS)
def test_within_a_small_radius_it_is_the_length_of_the_gradient(metric: str) -> None:
    """ρ‖grad L‖, with the dual of the metric: Σ wᵢ²gᵢ², and Tr(P g_Gᵀg_G) + … of each pair."""
    point = objective(Attention())
    slope, others = point.gradient, torch.ones(point.dimension, dtype=torch.bool)
    total = torch.zeros((), dtype=torch.float64)
    for each in pairs_of(point):
        (g, h), (of_g, of_h) = each.of(point.point), each.of(slope)
        p, q = g.T @ g, h.T @ h
        left, right = (p, q) if metric == "inv" else (q.inverse(), p.inverse())
        total += (of_g @ left * of_g).sum() + (of_h @ right * of_h).sum()
        others[each.left] = others[each.right] = False
    total += (point.point * slope)[others].square().sum()
    found = geodesic_sharpness(point, rho=1e-6, steps=2, metric=metric)
    assert found.value / 1e-6 == pytest.approx(float(total.sqrt()), rel=1e-4)


def test_without_attention_it_is_adaptive_sharpness() -> None:
    point = problems.small_objective()
    assert geodesic_sharpness(point, rho=0.5).value == pytest.approx(
        adaptive_sharpness(point, rho=0.5, eta=1e-12).value, rel=1e-6
    )


def test_heads_that_are_not_free_are_left_to_the_other_weights() -> None:
    some = objective(Attention(), parameters=["attention.q_proj.*", "attention.k_proj.*"])
    assert geodesic_sharpness(some, steps=2).details["pairs"] == 2
    none = objective(Attention(), parameters=["attention.q_proj.*", "head.*"])
    assert geodesic_sharpness(none, steps=2).details["pairs"] == 0


def test_a_network_without_the_symmetry_is_said() -> None:
    found = geodesic_sharpness(objective(Attention(unit=True)))
    assert math.isnan(found.value)
    assert "positions are rotated, or queries normalised" in str(found.details["undefined"])


def test_a_stationary_point_is_said() -> None:
    found = geodesic_sharpness(problems.quadratic([1.0, 2.0], torch.zeros(2))[0])
    assert found.details["undefined"] == "the gradient is zero: the ascent has no direction"
