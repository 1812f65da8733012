"""The same numbers from PyHessian and scipy on the same fixed batch."""

import copy

import numpy as np
import problems
import pytest
import scipy.sparse.linalg
import torch
from torch import nn

from landscape.curvature import hessian
from landscape.measures import dominant_eigenvalue, hessian_trace
from landscape.objective import Objective

CE = nn.CrossEntropyLoss()


def conv_case() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A convolution net after a few steps of training, so that its dominant eigenvalue stands apart."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 1, 8, 8, generator=generator)
    y = (x.mean((1, 2, 3)) > 0).long()
    model = problems.network(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(54, 2), dtype=torch.float32
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(30):
        optimizer.zero_grad()
        CE(model(x), y).backward()
        optimizer.step()
    return model.eval(), x, y


def test_the_dominant_eigenvalue_agrees_with_eigsh() -> None:
    model, x, y = conv_case()
    objective = Objective(model, CE, [(x[:40], y[:40]), (x[40:], y[40:])])
    double = Objective(model, CE, [(x, y)], dtype=torch.float64)
    operator = hessian(double)
    linear = scipy.sparse.linalg.LinearOperator(
        (operator.dimension,) * 2,
        matvec=lambda v: (operator @ torch.from_numpy(np.ravel(v).copy())).numpy(),
        dtype=float,
    )
    (truth,) = scipy.sparse.linalg.eigsh(linear, k=1, which="LM", return_eigenvectors=False, tol=1e-10)
    assert dominant_eigenvalue(objective).value == pytest.approx(float(truth), rel=1e-3)


def test_pyhessian_agrees_on_eigenvalue_and_trace() -> None:
    import pyhessian

    model, x, y = conv_case()
    objective = Objective(model, CE, [(x, y)])
    peer = pyhessian.hessian(copy.deepcopy(model), CE, data=(x, y), cuda=False)
    torch.manual_seed(0)
    (value,), _ = peer.eigenvalues(maxIter=1000, tol=1e-8)
    assert dominant_eigenvalue(objective).value == pytest.approx(value, rel=1e-3)
    samples = np.array(peer.trace(maxIter=400, tol=0.0))
    ours = hessian_trace(objective, tolerance=0.01, max_probes=4000)
    doubt = np.hypot(samples.std() / np.sqrt(len(samples)), ours.standard_error or 0.0)
    assert abs(samples.mean() - ours.value) <= 4 * doubt
