"""What ``benchmarks/curvature.py`` and ``gpu.py`` ask of PyHessian, hessian-eigenthings and curvlinops.

Each is imported where it is used, so that the others can be measured without it.
"""

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse.linalg
import torch
from curvature_cases import LOSS, Case

from landscape.measures import hessian_trace

if TYPE_CHECKING:
    from curvlinops import HessianLinearOperator
    from hessian_eigenthings import HessianOperator

BLOCK = 8
"""Probes between two looks at their standard error."""


def pyhessian_of(case: Case) -> Callable[[], Any]:
    """Builds PyHessian's object, which keeps the graph of the gradient."""
    import pyhessian

    def build() -> Any:
        model = copy.deepcopy(case.model)
        data = case.inputs, case.targets
        return pyhessian.hessian(model, LOSS, data=data, cuda=case.inputs.device.type == "cuda")

    return build


def pyhessian_probes(build: Callable[[], Any]) -> Callable[[], Sequence[float]]:
    """Draws further probes; its graph is built within the first draw."""
    kept: list[Any] = []

    def draw() -> Sequence[float]:
        if not kept:
            kept.append(build())
        found: Sequence[float] = kept[0].trace(maxIter=BLOCK, tol=0.0)
        return found

    return draw


def power(build: Callable[[], Any], tol: float, count: int, seed: int) -> Sequence[float]:
    """PyHessian's power iteration with deflation."""
    torch.manual_seed(seed)
    values, _ = build().eigenvalues(maxIter=1000, tol=tol, top_n=count)
    return sorted(values, key=abs, reverse=True)


def eigenthings_of(case: Case) -> "HessianOperator":
    """Its operator on all examples in one batch."""
    import hessian_eigenthings

    loss = hessian_eigenthings.supervised_loss(LOSS)
    return hessian_eigenthings.HessianOperator(case.model, case.batches(), loss)


def eigenthings_probes(operator: "HessianOperator") -> Callable[[], Sequence[float]]:
    """Draws further probes."""
    import hessian_eigenthings

    drawn: list[int] = []

    def draw() -> Sequence[float]:
        drawn.append(len(drawn))
        found = hessian_eigenthings.trace(operator, num_matvecs=BLOCK, method="hutchinson", seed=drawn[-1])
        samples: Sequence[float] = found.samples.tolist()
        return samples

    return draw


def hutch_plus_plus(operator: "HessianOperator", products: int, seed: int) -> float:
    """Its default estimator of the trace."""
    import hessian_eigenthings

    return hessian_eigenthings.trace(operator, num_matvecs=products, method="hutch++", seed=seed).estimate


def lanczos(operator: "HessianOperator", steps: int, count: int, seed: int) -> Sequence[float]:
    """Its Lanczos, with full reorthogonalisation."""
    import hessian_eigenthings

    found = hessian_eigenthings.lanczos(operator, k=count, max_iter=steps, reorthogonalize=True, seed=seed)
    values: Sequence[float] = sorted(found.eigenvalues.tolist(), key=abs, reverse=True)
    return values


def curvlinops_of(case: Case) -> "HessianLinearOperator":
    """Its operator on all examples in one batch."""
    from curvlinops import HessianLinearOperator

    weights = list(case.model.parameters())
    return HessianLinearOperator(case.model, LOSS, weights, case.batches(), check_deterministic=False)


def xtrace(operator: "HessianLinearOperator", products: int, seed: int) -> float:
    """Its best estimator of the trace."""
    from curvlinops.trace.epperly2024xtrace import xtrace as their_xtrace

    torch.manual_seed(seed)
    return float(their_xtrace(operator, products))


def arpack(operator: "HessianLinearOperator", tol: float, count: int, seed: int) -> Sequence[float]:
    """Scipy's ``eigsh`` on curvlinops' operator."""
    start = np.random.default_rng(seed).standard_normal(operator.shape[0])
    found = scipy.sparse.linalg.eigsh(
        operator.to_scipy(dtype=np.float64), k=count, which="LM", tol=tol, v0=start, return_eigenvectors=False
    )
    return sorted((float(value) for value in found), key=abs, reverse=True)


def warm_up(case: Case) -> None:
    """Everything once on four examples, so that imports and first calls are in nobody's time."""
    few = Case(case.name, case.model, case.inputs[:4], case.targets[:4])
    hessian_trace(few.objective(2), max_probes=8)
    few = few.for_peers()
    build = pyhessian_of(few)
    build().trace(maxIter=2)
    hutch_plus_plus(eigenthings_of(few), 3, 0)
    xtrace(curvlinops_of(few), 2, 0)
    lanczos(eigenthings_of(few), 3, 1, 0)
    arpack(curvlinops_of(few), 0.1, 1, 0)
