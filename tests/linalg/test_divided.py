"""Solvers on vectors that several processes divide, against the same solver with all coordinates in one process."""

from collections.abc import Callable
from typing import Any

import problems
import pytest
import torch
from divided_vectors import by_processes, divided
from torch import Tensor

from landscape.draws import Draws
from landscape.linalg import (
    SymmetricOperator,
    dense,
    hutchinson,
    hutchpp,
    lanczos,
    power_iteration,
    stochastic_lanczos_quadrature,
)
from landscape.linalg.deflated_trace import DeflatedTrace

SIZES = (37, 1, 10, 5)  # the parts of a tensor of one weight are one range of one weight, and empty ones
SPECTRUM = torch.cat([torch.tensor([9.0, 8.5, -8.0, 7.0, 7.0]), torch.linspace(-0.5, 0.5, 48)]).double()
BASIS = problems.orthogonal(53)
MATRIX = BASIS @ torch.diag(SPECTRUM) @ BASIS.T


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def eigenpairs(a: SymmetricOperator, **options: Any) -> dict[str, Any]:
    pairs = lanczos(a, generator=generator(), tolerance=1e-9, **options)
    # Of their signs rounding decides.
    return {"values": pairs.values, "vectors": pairs.vectors.abs(), "products": pairs.products}


def started(a: SymmetricOperator) -> dict[str, Any]:
    whole = torch.linspace(1, 2, 53).double()
    parts = a.ranges or (range(53),)
    return eigenpairs(a, start=torch.cat([whole[part.start : part.stop] for part in parts]))


def power(a: SymmetricOperator) -> dict[str, Any]:
    pair = power_iteration(a, generator=generator(), max_iterations=12)
    return {"value": pair.value, "vectors": pair.vector, "residual": pair.residual}


def trace(a: SymmetricOperator, solve: Callable[..., Any], **options: Any) -> dict[str, Any]:
    estimate = solve(a, generator=generator(), tolerance=1e-12, **options)
    return {"value": estimate.value, "error": estimate.standard_error, "samples": estimate.samples}


def deflated(a: SymmetricOperator) -> dict[str, Any]:
    trace = DeflatedTrace(a, Draws(3))
    for _ in range(3):
        trace.grow()
    return {"columns": trace.columns, "draws": trace.draw(range(10))}


def quadrature(a: SymmetricOperator) -> dict[str, Any]:
    result = stochastic_lanczos_quadrature(a, probes=2, steps=9, generator=generator())
    return {"nodes": result.nodes, "weights": result.weights}


SOLVERS: dict[str, Callable[[SymmetricOperator], dict[str, Any]]] = {
    "lanczos": lambda a: eigenpairs(a, count=1),
    # A repeated eigenvalue has no vectors of its own.
    "several": lambda a: eigenpairs(a, count=5) | {"vectors": torch.zeros(a.length)},
    "restarted": lambda a: eigenpairs(a, count=2, max_basis=9),
    "started": started,
    "power": power,
    "hutchinson": lambda a: trace(a, hutchinson, max_probes=24),
    "hutch++": lambda a: trace(a, hutchpp, max_products=40, sketch=8),
    "deflated": deflated,
    "quadrature": quadrature,
}


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("name", SOLVERS)
def test_a_divided_vector_gives_the_numbers_of_a_whole_one(name: str, world: int) -> None:
    solve = SOLVERS[name]
    whole = solve(dense(MATRIX))
    for here, parts in by_processes(MATRIX, SIZES, world, solve):
        for key, expected in whole.items():
            expected = torch.as_tensor(expected, dtype=torch.float64)
            if key == "vectors":
                expected = expected[here]
            assert torch.allclose(
                torch.as_tensor(parts[key], dtype=torch.float64), expected, rtol=1e-12, atol=1e-12
            ), key


@pytest.mark.parametrize("world", [2, 3])
def test_a_matrix_smaller_than_the_sketch_is_exact_in_every_process(world: int) -> None:
    matrix = MATRIX[:5, :5]
    results = by_processes(
        matrix, (4, 1), world, lambda a: hutchpp(a, generator=torch.Generator().manual_seed(0)).value
    )
    for _, value in results:
        assert value == pytest.approx(float(matrix.trace()), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_process_draws_its_coordinates_of_the_same_vectors(dtype: torch.dtype) -> None:
    whole, draws = dense(torch.eye(53, dtype=dtype)), Draws(5)

    def drawn(a: SymmetricOperator) -> tuple[Tensor, Tensor]:
        assert a.length == sum(map(len, a.ranges or ()))
        return a.normal(draws, 2), a.rademacher(draws, range(1, 4))

    for here, (normal, signs) in by_processes(torch.eye(53, dtype=dtype), SIZES, 3, drawn):
        assert torch.equal(normal, whole.normal(draws, 2)[here])
        assert torch.equal(signs, whole.rademacher(draws, range(1, 4))[here])


def test_the_parts_of_all_processes_are_every_coordinate_once() -> None:
    parts = [i for rank in range(3) for part in divided(SIZES, 3, rank) for i in part]
    assert sorted(parts) == list(range(53))
