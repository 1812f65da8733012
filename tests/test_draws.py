"""Random numbers as a function: published vectors, the definition bit by bit, divisions, statistics."""

import itertools
import math
from collections.abc import Callable
from functools import partial
from statistics import NormalDist

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from landscape import draws
from landscape.draws import Draws, Rows

# Counter, key and result, from Random123's tests/kat_vectors (the lines "threefry2x64 20"; D. E. Shaw Research).
VECTORS = [
    ((0, 0), (0, 0), (0xC2B6E3A8C2C69865, 0x6F81ED42F350084D)),
    ((2**64 - 1,) * 2, (2**64 - 1,) * 2, (0xE02CB7C4D95D277A, 0xD06633D0893B8B68)),
    (
        (0x243F6A8885A308D3, 0x13198A2E03707344),
        (0xA4093822299F31D0, 0x082EFA98EC4E6C89),
        (0x263C7D30BB0F0AF1, 0x56BE8361D3311526),
    ),
]
LIKE = torch.empty(0)
KINDS: dict[str, Callable[..., Tensor]] = {
    "signs": Draws.signs,
    "normals": Draws.normals,
    "uniforms": Draws.uniforms,
}


def word(key: tuple[int, int], block: int, row: int, number: int) -> int:
    """A word of the generator, from the published function for single counters."""
    return draws._block(key, (block, row))[number]


@pytest.mark.parametrize(("counter", "key", "result"), VECTORS)
def test_published_vectors(counter: tuple[int, int], key: tuple[int, int], result: tuple[int, int]) -> None:
    assert draws._block(key, counter) == result
    pair = [torch.tensor([draws._signed(value)] * 3) for value in counter]
    draws.threefry(key, *pair)
    assert [(value & 2**64 - 1) for tensor in pair for value in tensor.tolist()] == [
        value for value in result for _ in range(3)
    ]
    pair = [torch.tensor([draws._signed(value)]) for value in counter]  # as on devices other than the CPU
    draws._rounds(key, *pair, int)
    assert tuple(int(tensor) & 2**64 - 1 for tensor in pair) == result


def test_bits_and_quantiles_are_those_of_the_definition() -> None:
    key, rows, first = (7, 2**64 - 3), torch.tensor([5, 2**40]), 121
    made = Draws(7, -3)
    signs = made.signs(rows, 140, first=first, like=LIKE)
    normals = made.normals(rows, 140, first=first, like=LIKE.double())
    uniforms = made.uniforms(rows, 140, first=first, like=LIKE)
    levels = [NormalDist().inv_cdf((i + 0.5) / 2**16) for i in range(2**16)]
    quantiles = np.round(np.array(levels) * 2**20)
    scale = 1 / math.sqrt(2 * np.mean(quantiles**2))
    for i, row in enumerate(rows.tolist()):
        for j in range(140):
            c = first + j
            bit = word(key, c // 128, row, c // 64 % 2) >> c % 64 & 1
            assert signs[i, j] == 2 * bit - 1
            half = word(key, (1 << 60) + c // 4, row, c // 2 % 2) >> 32 * (c % 2) & 2**32 - 1
            total = quantiles[half & 0xFFFF] + quantiles[half >> 16]
            assert normals[i, j].item() == pytest.approx(total * scale, rel=1e-14)
            half = word(key, (2 << 60) + c // 4, row, c // 2 % 2) >> 32 * (c % 2) & 2**32 - 1
            assert uniforms[i, j] == (half >> 8) / 2**24


def test_the_numbers_of_a_seed_stay_those_of_today() -> None:
    table = draws._quantiles()
    assert (int(table.abs().sum()), int(table[0])) == (54830059342, -4535006)
    some = Draws(1).fold(2)
    assert some == Draws(*draws._block((1, 0), (2, -1)))
    assert some.signs(1, 8, like=LIKE).tolist() == [[-1, 1, -1, 1, -1, 1, -1, -1]]
    assert some.normals(1, 3, like=LIKE).tolist()[0] == [
        -0.4447508454322815,
        -1.201188564300537,
        1.4733115434646606,
    ]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(
    columns=st.integers(0, 700),
    first=st.integers(0, 10**6),
    cuts=st.lists(st.integers(0, 700), max_size=4),
    rows=st.lists(st.integers(0, 2**62), min_size=1, max_size=9),
    data=st.data(),
)
def test_any_division_gives_the_same_numbers(
    kind: str, columns: int, first: int, cuts: list[int], rows: list[int], data: st.DataObject
) -> None:
    draw, made = KINDS[kind], Draws(11, 4)
    whole = draw(made, torch.tensor(rows), columns, first=first, like=LIKE)
    ends = sorted({0, columns, *(cut for cut in cuts if cut < columns)})
    parts = [
        draw(made, torch.tensor(rows), b - a, first=first + a, like=LIKE) for a, b in itertools.pairwise(ends)
    ]
    assert whole.is_contiguous()
    assert torch.equal(whole, torch.cat([whole[:, :0], *parts], dim=1))
    order = data.draw(st.permutations(range(len(rows))))
    assert torch.equal(
        whole[order], draw(made, torch.tensor([rows[i] for i in order]), columns, first=first, like=LIKE)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_of_any_size_and_all_forms_of_rows(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    generate, counters = draws.threefry, [0]

    def counted(key: tuple[int, int], low: Tensor, high: Tensor) -> None:
        counters.append(low.numel())
        generate(key, low, high)

    monkeypatch.setattr(draws, "threefry", counted)

    def drawn(rows: Rows, size: int, first: int = 0) -> Tensor:
        monkeypatch.setattr(draws, "_CPU_BLOCK", size)
        counters.clear()
        values = KINDS[kind](Draws(5), rows, 401, first=first, like=LIKE)
        assert max(counters) <= size  # which bounds the memory
        return values

    expected = drawn(6, 1 << 13)
    for size in (1, 17, 50):
        assert torch.equal(drawn(6, size), expected)
        assert torch.equal(drawn(range(1, 6, 2), size), expected[1:6:2])
    assert torch.equal(drawn(torch.arange(6), 64, 7)[:, :394], expected[:, 7:])


@pytest.mark.parametrize("kind", KINDS)
def test_dtypes(kind: str) -> None:
    def drawn(dtype: torch.dtype) -> Tensor:
        return KINDS[kind](Draws(8), 3, 5000, like=torch.empty(0, dtype=dtype))

    double = drawn(torch.float64)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        values = drawn(dtype)
        assert values.dtype == dtype
        allowed = {"signs": 0.0, "normals": 8.0, "uniforms": 1.0}[kind] * torch.finfo(dtype).eps
        assert (values.double() - double).abs().max() <= allowed
        assert kind != "uniforms" or (values.min() >= 0 and values.max() < 1)
        assert kind == "normals" or dtype != torch.float32 or torch.equal(values.double(), double)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_device_draws_the_bits_of_the_cpu(
    kind: str, dtype: torch.dtype, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draws, "_DEVICE_BLOCK", 40)
    monkeypatch.setattr(draws, "_LARGE_PAGES", 0)
    here = torch.empty(0, dtype=dtype)
    for rows in (torch.tensor([3, 2**40, 0]), range(2, 5)):
        there = KINDS[kind](Draws(6, 1), rows, 700, first=5, like=here.to(device))
        assert (there.device.type, there.dtype) == (device.type, dtype)
        assert torch.equal(there.cpu(), KINDS[kind](Draws(6, 1), rows, 700, first=5, like=here))


def test_neither_defaults_nor_modes_nor_generators_matter(request: pytest.FixtureRequest) -> None:
    before, expected = torch.get_rng_state(), Draws(2).normals(1, 50, like=LIKE)
    generator = torch.Generator().manual_seed(3)
    for cache in (draws._table, draws._normal_scale):
        cache.cache_clear()
    request.addfinalizer(partial(torch.set_default_dtype, torch.get_default_dtype()))
    torch.set_default_dtype(torch.float64)
    with torch.device("meta"), torch.inference_mode():
        assert torch.equal(Draws(2).normals(1, 50, like=LIKE), expected)
        large = Draws(2).signs(1, 1 << 21, like=LIKE)  # whose memory is numpy's
        seeds = [Draws.of(generator).seed for _ in range(2)]
    assert (large.device, large.dtype) == (LIKE.device, LIKE.dtype)
    weights = torch.ones_like(expected[0], requires_grad=True)  # tables made in inference mode serve here too
    (weights * Draws(2).normals(1, 50, like=weights)[0]).sum().backward()
    assert torch.equal(weights.grad if weights.grad is not None else LIKE, expected[0])
    assert seeds == [Draws.of(generator.manual_seed(3)).seed, Draws.of(generator).seed]
    assert torch.equal(torch.get_rng_state(), before)


def largest_correlation(vectors: Tensor) -> float:
    """The largest correlation of two of the rows, in standard errors."""
    products = vectors.double() @ vectors.double().T / math.sqrt(vectors.shape[1])
    return float(products.fill_diagonal_(0).abs().max())


@pytest.mark.parametrize("kind", ["signs", "normals"])
def test_rows_columns_seeds_streams_and_folds_are_uncorrelated(kind: str) -> None:
    def drawn(made: Draws, rows: int = 1, columns: int = 1 << 14) -> Tensor:
        return KINDS[kind](made, rows, columns, like=LIKE)

    groups = {
        "rows": drawn(Draws(1), 64),
        "columns": drawn(Draws(1), 1 << 14, 130).T,
        "seeds": torch.cat([drawn(Draws(seed)) for seed in range(64)]),
        "streams": torch.cat([drawn(Draws(0, stream)) for stream in range(64)]),
        "folds": torch.cat([drawn(Draws(0).fold(number)) for number in range(-1, 63)]),
        "folded twice": torch.cat([drawn(Draws(0).fold(i).fold(j)) for i in range(8) for j in range(8)]),
        "kinds": torch.cat([Draws(3).signs(1, 1 << 14, like=LIKE), Draws(3).normals(1, 1 << 14, like=LIKE)]),
    }
    for name, vectors in groups.items():  # the largest of 8385 normal numbers is above 5.5 once in 3000
        assert largest_correlation(vectors) < 5.5, name


def test_signs_are_balanced_in_every_bit() -> None:
    signs = Draws(9).signs(1, 1 << 21, like=LIKE.double())[0]
    assert abs(signs.sum()) < 4 * math.sqrt(len(signs))
    by_bit = signs.view(-1, 128).sum(0) / math.sqrt(len(signs) / 128)
    assert by_bit.abs().max() < 4.5
    assert 70 < by_bit.square().sum() < 200  # χ² with 128 degrees of freedom, standard deviation 16
    runs = (signs[1:] != signs[:-1]).double().sum()  # the number of changes is binomial
    assert abs(runs - (len(signs) - 1) / 2) < 4 * math.sqrt(len(signs)) / 2


def test_normals_and_uniforms_have_their_distributions() -> None:
    normals = Draws(10).normals(40, 5000, like=LIKE.double()).flatten().numpy()
    uniforms = Draws(10).uniforms(40, 5000, like=LIKE.double()).flatten().numpy()
    assert stats.kstest(normals, "norm").pvalue > 0.01
    assert stats.kstest(uniforms, "uniform").pvalue > 0.01
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(np.mean(normals**power) - moment) < 4 * math.sqrt(variance / len(normals))


def test_the_exact_distribution_of_normals_is_what_the_docstring_claims() -> None:
    integers = draws._quantiles().double().numpy()
    scale = draws._normal_scale()
    assert np.array_equal(integers, -integers[::-1])
    second, fourth, sixth = (np.mean((integers * scale) ** power) for power in (2, 4, 6))
    assert 2 * second == pytest.approx(1, rel=1e-12)
    assert 2 * fourth + 6 * second**2 == pytest.approx(2.9996, abs=5e-5)
    assert 2 * sixth + 30 * fourth * second == pytest.approx(14.990, abs=5e-4)
    assert 2 * integers.max() * scale < 6.12
    assert 2 * integers.max() < 2**24  # so that sums are exact in float32
    points = np.concatenate([[0, 1e-6, 1e-5, 1e-4], np.linspace(1e-3, 6.1, 100)])
    for point in points:  # P(X ≤ x) is the mean over one quantile of the distribution function of the other
        below = np.searchsorted(integers, point / scale - integers, side="right").mean() / 2**16
        assert abs(below - NormalDist().cdf(point)) < (3e-6 if point > 1e-5 else 8e-6)


def test_chances_are_uniform_and_their_own() -> None:
    chances = [Draws(3).chance(number) for number in range(4000)]
    assert stats.kstest(chances, "uniform").pvalue > 0.01
    assert chances[7] == Draws(3).chance(7) != Draws(4).chance(7)


@pytest.mark.parametrize("columns", [1, 3, 1 << 17, 1 << 18])
def test_rows_one_by_one_are_those_drawn_together(columns: int) -> None:
    together, sizes = Draws(5).signs(4, columns, like=LIKE), []

    def draw(rows: range, columns: int, *, like: Tensor) -> Tensor:
        sizes.append(len(rows) * columns)
        return Draws(5).signs(rows, columns, like=like)

    assert torch.equal(torch.stack(list(draws.one_by_one(draw, 4, columns, like=LIKE))), together)
    assert max(sizes) <= 1 << 18  # which bounds the memory
