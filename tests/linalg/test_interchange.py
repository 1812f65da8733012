"""Operators of scipy and curvlinops in our solvers, and ours in scipy's."""

import types

import numpy as np
import problems
import pytest
import scipy.sparse
import torch
from scipy.sparse import linalg as sparse
from torch import nn

from landscape.curvature import hessian
from landscape.errors import UsageError
from landscape.linalg import (
    SymmetricOperator,
    as_operator,
    dense,
    from_scipy,
    hutchinson,
    hutchpp,
    lanczos,
    power_iteration,
    stochastic_lanczos_quadrature,
    to_scipy,
)

SPECTRUM = torch.cat([torch.tensor([9.0, -4.0]), torch.linspace(-0.5, 0.5, 28)]).double()


def matrix() -> torch.Tensor:
    q = problems.orthogonal(len(SPECTRUM))
    return q @ torch.diag(SPECTRUM) @ q.T


class Foreign:
    """The interface of curvlinops' operators: shape, device, dtype, and ``@`` on tensors."""

    def __init__(self, a: torch.Tensor) -> None:
        self._a, self.shape, self.device, self.dtype = a, tuple(a.shape), a.device, a.dtype

    def __matmul__(self, vectors: torch.Tensor) -> torch.Tensor:
        assert isinstance(vectors, torch.Tensor)
        return self._a @ vectors


KINDS = {
    "ours": dense,
    "tensor": lambda a: a,
    "foreign": Foreign,
    "numpy": lambda a: a.numpy(),
    "scipy sparse": lambda a: scipy.sparse.csr_array(a.numpy()),
    "scipy operator": lambda a: sparse.aslinearoperator(a.numpy()),
    "through scipy and back": lambda a: from_scipy(to_scipy(dense(a))),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_solver_takes_it(kind: str) -> None:
    given, truth = KINDS[kind](matrix()), float(SPECTRUM.sum())
    options = {"generator": torch.Generator().manual_seed(0)}
    assert power_iteration(given, tolerance=1e-6, **options).value == pytest.approx(9.0, rel=1e-9)
    assert lanczos(given, count=2, tolerance=1e-8, **options).values.tolist() == pytest.approx([9, -4])
    for estimate in (hutchinson(given, tolerance=0.05, **options), hutchpp(given, sketch=4, **options)):
        assert abs(estimate.value - truth) <= 4 * estimate.standard_error
    found = stochastic_lanczos_quadrature(given, probes=4, steps=8, **options)
    assert float(found.nodes.max()) == pytest.approx(9.0, rel=1e-6)


def test_scipy_solves_ours() -> None:
    objective, truth = problems.tiny_case()
    linear = to_scipy(hessian(objective))
    spectrum = torch.linalg.eigvalsh(truth)
    values, vectors = sparse.eigsh(linear, k=3, which="LA", v0=np.ones(objective.dimension))
    assert sorted(values) == pytest.approx(spectrum[-3:].tolist(), rel=1e-8)
    assert np.allclose(linear @ vectors, vectors * values, atol=1e-8)
    assert linear.dtype == np.float64


def test_single_precision_stays_single() -> None:
    linear = to_scipy(dense(matrix().float()))
    assert linear.dtype == np.float32
    assert (linear @ np.ones(30)).dtype == np.float32
    back = from_scipy(linear)
    assert (back.dtype, (back @ torch.ones(30)).dtype) == (torch.float32, torch.float32)
    assert as_operator(linear, dtype=torch.float64).dtype == torch.float64


@pytest.mark.parametrize("given", [torch.ones(3, 4), torch.ones(3), 7])
def test_what_is_not_an_operator_is_said(given: object) -> None:
    with pytest.raises(UsageError, match="is not an operator here: a square shape"):
        as_operator(given)  # type: ignore[arg-type]


def test_a_hessian_of_curvlinops_has_our_eigenvalues_and_trace() -> None:
    import curvlinops

    x, y = problems.classification(40)
    model = problems.network(nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 4))
    theirs = curvlinops.HessianLinearOperator(
        model, nn.CrossEntropyLoss(), list(model.parameters()), problems.batches(x, y, 25)
    )
    objective, truth = problems.tiny_case()
    options = {"generator": torch.Generator().manual_seed(0)}
    spectrum = torch.linalg.eigvalsh(truth)
    assert float(lanczos(theirs, tolerance=1e-6, **options).values[0]) == pytest.approx(
        float(spectrum[spectrum.abs().argmax()]), rel=1e-8
    )
    found = hutchpp(theirs, tolerance=0.05, **options)
    assert abs(found.value - float(truth.trace())) <= 4 * found.standard_error
    v = torch.ones(objective.dimension, dtype=torch.float64)
    assert torch.allclose(as_operator(theirs) @ v, objective.hessian_product(v), atol=1e-12)


def test_what_has_a_square_shape_but_no_product_is_not_an_operator() -> None:
    with pytest.raises(UsageError, match="is not an operator here"):
        as_operator(types.SimpleNamespace(shape=(3, 3)))  # type: ignore[arg-type]


def test_the_precision_is_that_of_the_matrix_unless_another_is_asked_for() -> None:
    eye = np.eye(3)
    bare = Foreign(matrix().float())
    del bare.dtype, bare.device
    for given, kind in (
        (torch.eye(3), torch.float32),
        (torch.eye(3).double(), torch.float64),
        (torch.eye(3, dtype=torch.int64), torch.float32),
        (bare, torch.float32),
        (eye, torch.float64),
        (eye.astype(np.float32), torch.float32),
        (eye.astype(np.int64), torch.float64),
    ):
        found = as_operator(given)
        assert (found.dtype, found.device) == (kind, torch.device("cpu"))
        for other in (torch.float32, torch.float64):
            assert as_operator(given, dtype=other).dtype == other
        assert as_operator(given, device="meta").device == torch.device("meta")
    halves = torch.tensor([0.5, 1.5, -2.5]).double()
    assert torch.equal(as_operator(eye.astype(np.int64)) @ halves, halves)


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_scipy_multiplies_columns_with_ours(columns: int) -> None:
    shapes: list[torch.Size] = []

    def product(vectors: torch.Tensor) -> torch.Tensor:
        shapes.append(vectors.shape)
        return matrix() @ vectors

    linear = to_scipy(SymmetricOperator(product, 30, torch.device("cpu"), torch.float64))
    block = np.random.default_rng(0).standard_normal((30, columns))
    assert np.allclose(linear @ block, matrix().numpy() @ block, rtol=1e-12)
    assert np.allclose(linear.H @ block[:, 0], matrix().numpy() @ block[:, 0], rtol=1e-12)
    # A single column is the cheaper product with a vector.
    assert [tuple(shape) for shape in shapes] == [(30,) if columns == 1 else (30, columns), (30,)]
