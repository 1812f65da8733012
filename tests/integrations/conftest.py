"""The installed command in an empty folder, and second derivatives by autograd alone."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from command_line import Result
from command_line import landscape as landscape
from torch import Tensor, nn

from landscape.checkpoints import load_checkpoint


def derivatives(model: nn.Module, loss: Callable[[nn.Module], Tensor], vector: Tensor) -> tuple[Tensor, ...]:
    """Loss, gradient and Hessian product of the user's own model, in float64, by autograd and nothing of ours."""
    model = model.double().eval()
    parameters = [p for p in model.parameters() if p.requires_grad]
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        value = loss(model)
        gradient = torch.autograd.grad(value, parameters, create_graph=True)
        flat = torch.cat([g.flatten() for g in gradient])
        product = torch.autograd.grad(flat @ vector.double(), parameters)
    return value.detach(), flat.detach(), torch.cat([p.flatten() for p in product])


@pytest.fixture
def agrees(landscape):
    """A function that measures a checkpoint by the command and in Python, and compares with autograd.

    Both get the same names; ``loss(model)`` is the mean over the same examples, whose
    pictures are normalised in single precision.
    """

    def check(
        path: str, model: nn.Module, loss: Callable[[nn.Module], Tensor], /, *flags: str, **named: Any
    ) -> Result:
        result = landscape(
            "measure", path, *flags, "-M", "loss", "-M", "gradient-norm", "--dtype", "float64",
            "--format", "jsonl",
        )  # fmt: skip
        assert result.code == 0, result.err
        found = {r["measure"]: r["value"] for r in map(json.loads, result.out.splitlines())}
        generator = torch.Generator().manual_seed(0)
        size = sum(p.numel() for p in model.parameters() if p.requires_grad)
        vector = torch.randn(size, generator=generator, dtype=torch.float64)
        value, gradient, product = derivatives(model, loss, vector)
        assert found["loss"] == pytest.approx(float(value), rel=1e-6)
        assert found["gradient-norm"] == pytest.approx(float(gradient.norm()), rel=1e-6)
        objective = load_checkpoint(path, **named).objective("train", dtype=torch.float64)
        assert float((objective.hessian_product(vector) - product).norm() / product.norm()) < 1e-6
        assert float((objective.gradient - gradient).norm() / gradient.norm()) < 1e-6
        return result

    return check
