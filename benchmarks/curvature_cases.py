"""The networks, data and truths of ``benchmarks/curvature.py``."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import scipy.sparse.linalg
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from landscape.curvature import hessian
from landscape.curvature.gauss_newton_trace import gauss_newton_traces, plan
from landscape.curvature.quadratic_forms import quadratic_forms
from landscape.data import load_data
from landscape.models.cifar_resnet import resnet20
from landscape.models.mlp import MLP
from landscape.objective import Objective

LOSS = nn.CrossEntropyLoss()


@dataclass(frozen=True)
class Case:
    """A trained network on fixed examples.

    Attributes:
        name: As printed.
        model: In evaluation mode.
        inputs: All in one batch, the quickest way for every peer.
        targets: Class numbers.
        micro: Examples a batch for ours, where each batch has probes of its own; ``None`` for one batch.
    """

    name: str
    model: nn.Module
    inputs: Tensor
    targets: Tensor
    micro: int | None

    def batches(self, size: int | None = None) -> list[tuple[Tensor, Tensor]]:
        """The examples in batches; all in one by default."""
        width = size or len(self.inputs)
        return list(zip(self.inputs.split(width), self.targets.split(width), strict=True))

    def objective(self, size: int | None = None, dtype: torch.dtype | None = None) -> Objective:
        """With nothing remembered."""
        return Objective(self.model, LOSS, self.batches(size), dtype=dtype)


def cases(*, quick: bool, cifar: Path | None) -> Iterator[Case]:
    """The networks, trained here and now for a little while."""
    digits = load_digits()
    inputs, targets = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
    micro = {"relu": None, "tanh": 225}
    for activation in micro:
        torch.manual_seed(0)
        model = MLP(width=256, depth=2, activation=activation, input_shape=(64,))  # type: ignore[arg-type]
        _train(model, inputs, targets, epochs=10, lr=0.05)
        yield Case(f"MLP 64-256-256-10, {activation}, digits", model, inputs, targets, micro[activation])
    torch.manual_seed(0)
    kind, (inputs, targets) = ("synthetic", _patterns(1024)) if cifar is None else ("CIFAR-10", _read(cifar))
    resnet = resnet20()
    _train(resnet, inputs, targets, epochs=2, lr=0.05)
    few = 32 if quick else 256
    yield Case(f"ResNet-20, {few} {kind} images", resnet, inputs[:few], targets[:few], None)


def _train(model: nn.Module, inputs: Tensor, targets: Tensor, *, epochs: int, lr: float) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    model.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(inputs)).split(64):
            optimizer.zero_grad()
            LOSS(model(inputs[chosen]), targets[chosen]).backward()
            optimizer.step()
    optimizer.zero_grad()
    model.eval()


def _patterns(count: int) -> tuple[Tensor, Tensor]:
    """Ten smooth patterns under noise, as 3×32×32 images."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 10, (count,), generator=generator)
    coarse = torch.randn(10, 3, 8, 8, generator=generator)
    smooth = nn.functional.interpolate(coarse, size=32, mode="bilinear")
    return smooth[targets] + torch.randn(count, 3, 32, 32, generator=generator), targets


def _read(folder: Path) -> tuple[Tensor, Tensor]:
    data = load_data(f"imagefolder:root={folder},size=32").train
    chosen = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:2048]  # type: ignore[arg-type]
    pairs = [data[int(i)] for i in chosen]
    return torch.stack([image for image, _ in pairs]), torch.tensor([int(label) for _, label in pairs])


def true_trace(case: Case) -> tuple[float, float]:
    """Tr H and its standard error, 0 where it is a sum of squares.

    Where the proof holds, the exact sum in float64 (tests hold it against dense Hessians); else Tr G in
    float64 and fresh probes for every few examples until the standard error is 0.2 %.
    """
    objective = case.objective(dtype=torch.float64)
    chosen = plan(objective)
    inner = float(gauss_newton_traces(objective, chosen).sum())
    if chosen.affine.proved:
        return inner, 0.0
    generator, forms = torch.Generator().manual_seed(1000), torch.empty(0, dtype=torch.float64)
    fine = case.objective((case.micro or len(case.inputs)) // 5)
    while True:
        drawn = quadratic_forms(fine, columns=4, generator=generator, less_gauss_newton=True).sum(dim=1)
        forms = torch.cat([forms, drawn])
        value, error = inner + float(forms.mean()), float(forms.std() / len(forms) ** 0.5)
        if len(forms) >= 16 and error <= 0.002 * value:
            return value, error


def true_eigenvalues(case: Case, count: int) -> list[float]:
    """The largest in magnitude, by ARPACK in float64."""
    operator = hessian(case.objective(dtype=torch.float64))
    linear = scipy.sparse.linalg.LinearOperator(
        (operator.dimension,) * 2,
        matvec=lambda v: (operator @ torch.from_numpy(v.reshape(-1).copy())).numpy(),
        dtype=float,
    )
    found = scipy.sparse.linalg.eigsh(linear, k=count, which="LM", tol=1e-6, return_eigenvectors=False)
    return sorted((float(value) for value in found), key=abs, reverse=True)
