"""Lanczos on matrices with a chosen spectrum."""

import importlib
import math

import problems
import pytest
import torch
from scipy import stats

from landscape.linalg import SymmetricOperator, dense, lanczos
from landscape.linalg.lanczos import SHORT, limits, overlap, tridiagonal


def operator(spectrum: torch.Tensor) -> SymmetricOperator:
    q = problems.orthogonal(len(spectrum))
    return dense(q @ torch.diag(spectrum) @ q.T)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


SPECTRUM = torch.cat([torch.tensor([9.0, 8.5, 7.0, -8.0, -3.0]), torch.linspace(-0.5, 0.5, 195)]).double()


@pytest.mark.parametrize(
    ("end", "expected"),
    [("magnitude", [9, 8.5, -8, 7]), ("largest", [9, 8.5, 7, 0.5]), ("smallest", [-8, -3, -0.5, -0.494845])],
)
def test_it_finds_either_end(end: str, expected: list[float]) -> None:
    found = lanczos(
        operator(SPECTRUM), count=4, end=end, tolerance=1e-8, max_products=400, generator=generator()
    )
    assert found.converged
    assert found.values.tolist() == pytest.approx(expected, rel=1e-5)
    identity = torch.eye(4, dtype=torch.float64)
    assert torch.allclose(found.vectors.T @ found.vectors, identity, atol=1e-10)


@pytest.mark.parametrize("max_basis", [12, 20, 500])
def test_the_residual_is_the_true_one_also_after_restarts(max_basis: int) -> None:
    a = operator(SPECTRUM)
    found = lanczos(a, count=3, tolerance=1e-6, max_products=300, max_basis=max_basis, generator=generator())
    true = (a @ found.vectors - found.vectors * found.values).norm(dim=0)
    assert found.converged
    assert torch.allclose(true, found.residuals, atol=1e-9)
    assert found.values.tolist() == pytest.approx([9, 8.5, -8], rel=1e-9)


def test_a_good_start_costs_fewer_products() -> None:
    a = operator(SPECTRUM)
    top = lanczos(a, tolerance=1e-8, generator=generator()).vectors[:, 0]
    cold = lanczos(a, tolerance=1e-3, generator=generator())
    warm = lanczos(a, tolerance=1e-3, generator=generator(), start=top)
    assert warm.products < cold.products
    assert warm.values[0] == pytest.approx(9.0, rel=1e-4)


def test_a_start_that_is_an_eigenvector_does_not_hide_a_larger_one() -> None:
    a = operator(SPECTRUM)
    fifth = torch.linalg.eigh(a @ torch.eye(200, dtype=torch.float64)).eigenvectors[:, 1]
    found = lanczos(a, tolerance=1e-6, generator=generator(), start=fifth)
    assert found.values[0] == pytest.approx(9.0, rel=1e-8)


def test_small_and_degenerate_operators_are_solved() -> None:
    identity = lanczos(dense(torch.eye(6, dtype=torch.float64)), count=3, generator=generator())
    assert identity.values.tolist() == pytest.approx([1, 1, 1])
    assert lanczos(dense(torch.zeros(4, 4).double()), generator=generator()).values.tolist() == [0]
    one = lanczos(dense(torch.tensor([[-2.0]]).double()), count=5, generator=generator())
    assert one.values.tolist() == [-2]


def test_it_says_when_it_has_not_converged() -> None:
    found = lanczos(operator(SPECTRUM), count=3, tolerance=1e-10, max_products=6, generator=generator())
    assert not found.converged
    assert found.products == 6


def test_a_second_orthogonalisation_keeps_the_basis_orthogonal_in_float32() -> None:
    """With one pass the vectors of this spectrum are 0.06 off orthogonal, and the values 1e-3 off."""
    spectrum = torch.logspace(4, -4, 200, dtype=torch.float64)
    q = problems.orthogonal(200)
    a = dense((q @ torch.diag(spectrum) @ q.T).float())
    pairs = lanczos(a, count=20, tolerance=1e-6, max_products=120, generator=generator())
    assert pairs.converged
    assert torch.allclose(pairs.vectors.T @ pairs.vectors, torch.eye(20), atol=1e-5)
    assert torch.allclose(pairs.values, spectrum[:20], atol=1e-6 * 1e4)


REPEATED = torch.cat(
    [torch.tensor([2.0, 2.0, 2.0, -1.8, -1.8, 1.5]), torch.linspace(-0.6, 0.6, 394)]
).double()


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("magnitude", [2, 2, 2, -1.8, -1.8]),
        ("largest", [2, 2, 2, 1.5, 0.6]),
        ("smallest", [-1.8, -1.8, -0.6]),
    ],
)
def test_an_eigenvalue_is_found_as_often_as_it_occurs(end: str, expected: list[float]) -> None:
    a = operator(REPEATED)
    for seed in range(3):
        start = torch.linspace(1, 2, 400, dtype=torch.float64)
        found = lanczos(
            a,
            count=len(expected),
            end=end,
            tolerance=1e-4,
            max_products=400,
            generator=torch.Generator().manual_seed(seed),
            start=start,
        )
        assert found.converged
        assert found.confirmed
        assert found.values.tolist() == pytest.approx(expected, rel=1e-4)
        true = (a @ found.vectors - found.vectors * found.values).norm(dim=0)
        assert torch.allclose(true, found.residuals, atol=1e-9)


@pytest.mark.thorough
def test_hidden_eigenvectors_escape_no_more_often_than_said() -> None:
    """The start has nothing of a second eigenvector, so that only the confirmation can find it."""
    spectrum = torch.cat([torch.tensor([1.0, 0.9, 0.9, 0.8]), torch.linspace(0, 0.75, 96)]).double()
    start = torch.ones(100, dtype=torch.float64)
    missed = 0
    for seed in range(100):
        generator = torch.Generator().manual_seed(seed)
        found = lanczos(dense(torch.diag(spectrum)), count=3, generator=generator, start=start)
        assert found.converged
        missed += abs(float(found.values[-1]) - 0.9) > 0.01
    assert missed <= 4  # at most 1 of 100 is expected


def test_a_confirmation_is_cheap_where_nothing_is_repeated() -> None:
    distinct = torch.cat([torch.tensor([9.0, 7.0, 5.0, 4.0]), torch.linspace(-0.5, 0.5, 396)]).double()
    one = lanczos(operator(distinct), count=1, generator=generator())
    four = lanczos(operator(distinct), count=4, generator=generator())
    assert one.confirmed is None
    assert four.confirmed
    assert four.products <= 16


@pytest.mark.parametrize(
    ("end", "last", "expected"),
    [
        ("largest", -5.0, (-math.inf, -4.9)),
        ("largest", 5.0, (-math.inf, 5.1)),
        ("smallest", 2.0, (1.96, math.inf)),
        ("smallest", -2.0, (-2.04, math.inf)),
        ("magnitude", -3.0, (-3.06, 3.06)),
    ],
)
def test_only_what_exceeds_the_last_value_by_two_per_cent_must_not_escape(
    end: str, last: float, expected: tuple[float, float]
) -> None:
    assert limits(end, last) == pytest.approx(expected)


@pytest.mark.parametrize("dimension", [2, 10, 100, 1000])
def test_an_overlap_is_smaller_than_allowed_in_one_case_of_a_hundred(dimension: int) -> None:
    """The square of one component of a random unit vector has a beta distribution."""
    share = stats.beta(0.5, (dimension - 1) / 2).cdf(overlap(dimension) ** 2)
    assert share == pytest.approx(0.01, rel=1.1 / dimension)
    assert overlap(0) == overlap(1) > 0


def test_every_product_is_told_with_the_largest_relative_residual() -> None:
    told: list[tuple[int, float, float]] = []
    spectrum = torch.cat([torch.tensor([0.09, 0.05]), torch.linspace(-0.02, 0.02, 60)]).double()
    found = lanczos(operator(spectrum), generator=generator(), on_step=lambda *step: told.append(step))
    assert [products for products, _, _ in told] == list(range(1, found.products + 1))
    assert told[-1][1] == float(found.values[0])
    assert told[-1][2] == pytest.approx(float(found.residuals[0] / found.values[0].abs()), rel=1e-9)
    assert all(residual > 1e-3 for _, _, residual in told[:-1])


def test_what_could_not_be_confirmed_is_not_converged() -> None:
    a = operator(REPEATED)
    short = lanczos(a, count=3, max_products=20, generator=generator())
    assert not short.converged
    assert short.confirmed is False
    assert bool((short.residuals <= 1e-3 * short.values.abs()).all())
    narrow = lanczos(a, count=3, max_products=300, max_basis=10, generator=generator())
    assert narrow.converged is bool(narrow.confirmed)
    if narrow.confirmed:
        assert narrow.values.tolist() == pytest.approx([2, 2, 2], rel=1e-4)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_small_spectra_are_complete(size: int) -> None:
    spectrum = torch.tensor([3.0, 3.0, 3.0, -3.0, 1.0, 0.0, 0.0]).double()[:size]
    found = lanczos(operator(spectrum), count=size, generator=generator())
    assert sorted(found.values.tolist()) == pytest.approx(sorted(spectrum.tolist()), abs=1e-10)


@pytest.mark.parametrize("size", [-2.0, -1e-3, 5.0])
def test_a_multiple_of_the_identity_has_its_eigenvalue_as_often_as_asked(size: float) -> None:
    """Every image lies in the space already: what is left of it is no direction, also below zero."""
    found = lanczos(dense(size * torch.eye(6).double()), count=3, generator=generator())
    assert found.converged
    assert found.values.tolist() == pytest.approx([size] * 3, rel=1e-12)
    assert torch.allclose(found.vectors.T @ found.vectors, torch.eye(3).double(), atol=1e-12)


def test_either_end_is_confirmed_with_the_products_that_the_magnitude_takes() -> None:
    """Above zero the largest are those of largest magnitude, and nothing hides at the other end."""
    spectrum = torch.cat([torch.tensor([9.0, 7.0, 5.0, 4.0]), torch.linspace(2.5, 3.5, 196)]).double()
    magnitude = lanczos(operator(spectrum), count=4, generator=generator())
    largest = lanczos(operator(spectrum), count=4, end="largest", generator=generator())
    smallest = lanczos(operator(-spectrum), count=4, end="smallest", generator=generator())
    assert magnitude.confirmed
    assert largest.confirmed
    assert smallest.confirmed
    assert largest.products == smallest.products == magnitude.products <= 30


@pytest.mark.parametrize("max_basis", [1, 7, 9])
@pytest.mark.parametrize("end", ["magnitude", "largest", "smallest"])
def test_the_shortest_basis_still_finds_the_pairs(max_basis: int, end: str) -> None:
    spectrum = torch.cat([torch.tensor([9.0, -8.0, 7.0, -6.0]), torch.linspace(-0.5, 0.5, 36)]).double()
    a = operator(spectrum)
    found = lanczos(a, count=2, end=end, max_products=300, max_basis=max_basis, generator=generator())
    expected = {"magnitude": [9, -8], "largest": [9, 7], "smallest": [-8, -6]}[end]
    assert found.values.tolist() == pytest.approx(expected, rel=1e-4)
    true = (a @ found.vectors - found.vectors * found.values).norm(dim=0)
    assert torch.allclose(true, found.residuals, atol=1e-9)


def test_products_told_below_zero_have_residuals_above_it() -> None:
    told: list[tuple[int, float, float]] = []
    lanczos(operator(-SPECTRUM.abs()), generator=generator(), on_step=lambda *step: told.append(step))
    assert all(value < 0 < residual for _, value, residual in told)


@pytest.mark.parametrize("count", [1, 3])
def test_a_first_product_that_is_not_finite_leaves_one_unit_vector_and_no_value(count: int) -> None:
    a = dense(torch.full((5, 5), math.nan).double())
    found = lanczos(a, count=count, generator=generator())
    assert (found.values.shape, found.vectors.shape, found.residuals.shape) == ((1,), (5, 1), (1,))
    assert bool(found.values.isnan().all())
    assert float(found.vectors.norm()) == pytest.approx(1.0)
    assert (found.products, found.converged) == (1, False)


def test_a_later_product_that_is_not_finite_leaves_no_value() -> None:
    a, told = operator(SPECTRUM), list[torch.Tensor]()

    def failing(vector: torch.Tensor) -> torch.Tensor:
        told.append(vector)
        return a @ vector if len(told) < 4 else torch.full_like(vector, math.inf)

    failing_later = SymmetricOperator(failing, a.dimension, a.device, a.dtype)
    found = lanczos(failing_later, count=2, generator=generator())
    assert found.values.isnan().tolist() == [True, True]
    assert (found.products, found.converged) == (4, False)


def test_no_products_are_no_values() -> None:
    found = lanczos(operator(SPECTRUM), max_products=0, generator=generator())
    assert found.values.isnan().tolist() == [True]
    assert (found.products, found.converged) == (0, False)


@pytest.mark.parametrize(("held", "length"), [(30, 30), (17, 17), (3, 14)])
def test_the_default_basis_is_what_the_memory_holds_and_room_for_restarts(
    held: int, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = operator(SPECTRUM)
    monkeypatch.setattr(importlib.import_module("landscape.linalg.lanczos"), "BASIS_BYTES", held * 8 * 200)
    options = {"count": 3, "end": "smallest", "tolerance": 1e-6, "max_products": 150}
    default = lanczos(a, generator=generator(), **options)  # type: ignore[arg-type]
    for given in (length - 1, length, length + 1):
        found = lanczos(a, generator=generator(), max_basis=given, **options)  # type: ignore[arg-type]
        same = torch.equal(found.vectors, default.vectors) and found.products == default.products
        assert same is (given == length)


def test_the_basis_of_one_pair_is_short_however_much_memory_there_is() -> None:
    a, options = operator(SPECTRUM), {"end": "smallest", "tolerance": 1e-8}
    default = lanczos(a, generator=generator(), **options)  # type: ignore[arg-type]
    assert default.converged
    for given in (SHORT - 1, SHORT, SHORT + 1):
        found = lanczos(a, generator=generator(), max_basis=given, **options)  # type: ignore[arg-type]
        assert torch.equal(found.vectors, default.vectors) is (given == SHORT)


def test_a_short_basis_costs_few_products_where_eigenvalues_decay() -> None:
    """As those of networks do, which benchmarks/restarts.py shows."""
    spectrum = 0.9 ** torch.arange(400, dtype=torch.float64)
    short, long = (lanczos(operator(spectrum), max_basis=rows, generator=generator()) for rows in (None, 400))
    assert short.converged
    assert long.products > SHORT
    assert short.products <= 1.15 * long.products
    assert float(short.values[0]) == pytest.approx(1, rel=1e-5)


def test_the_matrix_of_the_recurrence_is_symmetric() -> None:
    assert tridiagonal([2.0], []).tolist() == [[2]]
    expected = [[1, 4, 0], [4, 2, 5], [0, 5, 3]]
    assert tridiagonal([1.0, 2.0, 3.0], [4.0, 5.0]).tolist() == expected


def test_a_norm_beyond_the_largest_number_leaves_no_value() -> None:
    """The coefficients of the first image are finite, its norm is not."""
    found = lanczos(operator(1e200 * SPECTRUM), generator=generator())
    assert found.values.isnan().tolist() == [True]
    assert (found.products, found.converged) == (1, False)


def test_one_product_is_enough_for_an_eigenvector() -> None:
    found = lanczos(dense(5 * torch.eye(6).double()), generator=generator())
    assert (found.products, found.converged) == (1, True)


@pytest.mark.parametrize("most", [3, 6, 9])
def test_up_to_the_last_product_a_short_search_is_the_beginning_of_a_long_one(most: int) -> None:
    """Nothing is given up by a restart while the products that are left fit into the basis."""
    short, long = list[tuple[int, float, float]](), list[tuple[int, float, float]]()
    for told, products in ((short, most), (long, 20)):
        lanczos(
            operator(SPECTRUM),
            tolerance=1e-14,
            max_products=products,
            generator=generator(),
            on_step=lambda *step, told=told: told.append(step),
        )
    assert len(short) == most
    assert short[-1] == pytest.approx(long[most - 1], rel=1e-9)


def test_a_confirmation_stops_as_soon_as_it_meets_what_was_missed() -> None:
    start = torch.linspace(1, 2, 400, dtype=torch.float64)
    found = lanczos(operator(REPEATED), count=5, max_products=400, generator=generator(), start=start)
    assert found.confirmed
    assert found.products <= 60


def test_the_last_direction_of_a_small_space_completes_the_spectrum() -> None:
    spectrum = torch.tensor([100.0, 50.0, 2e-4, 1e-4]).double()
    found = lanczos(dense(torch.diag(spectrum)), count=2, generator=generator())
    assert (found.products, found.confirmed, found.converged) == (4, True, True)
    assert found.values.tolist() == pytest.approx([100, 50], rel=1e-12)


def test_a_budget_that_ends_one_product_before_the_whole_spectrum_ends_the_search() -> None:
    matrix = torch.diag(torch.tensor([100.0, 50.0, 1e-4, 2e-4], dtype=torch.float64))
    pairs = lanczos(dense(matrix), count=2, max_products=3, generator=generator())
    assert pairs.products == 3
    assert not pairs.converged
    assert sorted(abs(float(value)) for value in pairs.values) == pytest.approx([50.0, 100.0])


def test_a_copy_above_the_last_requested_value_is_looked_for() -> None:
    # The first run meets one copy of 5, and 4; a bound taken from the 5 would let the second copy escape.
    spectrum = torch.cat([torch.tensor([5.0, 5.0, 4.0]), torch.linspace(-0.5, 0.5, 37)]).double()
    for seed in range(3):
        draws = torch.Generator().manual_seed(seed)
        pairs = lanczos(operator(spectrum), count=2, end="largest", tolerance=1e-6, generator=draws)
        assert pairs.confirmed
        assert pairs.values.tolist() == pytest.approx([5, 5], rel=1e-6)
