"""The networks, data and truths of ``benchmarks/curvature.py``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import scipy.sparse.linalg
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape.curvature import hessian
from landscape.curvature.example_probes import pairs_of_passes
from landscape.curvature.gauss_newton_trace import gauss_newton_traces, plan
from landscape.curvature.trace import quadratic_forms
from landscape.data import load_data
from landscape.draws import Draws
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
    """

    name: str
    model: nn.Module
    inputs: Tensor
    targets: Tensor

    @property
    def images(self) -> bool:
        """Whether the inputs are images, so that everything takes longer."""
        return self.inputs.ndim == 4

    def batches(self, size: int | None = None) -> list[tuple[Tensor, Tensor]]:
        """The examples in batches; all in one by default."""
        width = size or len(self.inputs)
        return list(zip(self.inputs.split(width), self.targets.split(width), strict=True))

    def objective(self, size: int | None = None, dtype: torch.dtype | None = None) -> Objective:
        """With an empty cache."""
        return Objective(self.model, LOSS, self.batches(size), dtype=dtype)


class SmallViT(nn.Module):
    """Patches of 8 × 8, two blocks of attention of width 48, the mean of the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 48, 8, stride=8)
        self.positions = nn.Parameter(0.02 * torch.randn(1, 16, 48))
        blocks = [
            nn.TransformerEncoderLayer(
                48, 4, 96, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(2)
        ]
        self.blocks, self.norm, self.head = nn.Sequential(*blocks), nn.LayerNorm(48), nn.Linear(48, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores ``(B, 10)`` of images ``(B, 3, 32, 32)``."""
        tokens = self.patches(images).flatten(2).mT + self.positions
        with sdpa_kernel(
            SDPBackend.MATH
        ):  # without it the peers fail: the fused kernel has no second derivative
            scores: Tensor = self.head(self.norm(self.blocks(tokens)).mean(1))
        return scores


def cases(*, quick: bool, data: str | None) -> Iterator[Case]:
    """The networks, trained here and now for a little while.

    Args:
        quick: Fewer images.
        data: Images by a name such as ``imagefolder:root=DIR``; otherwise the digits, enlarged.
    """
    digits = load_digits()
    inputs, targets = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
    for activation in ("relu", "tanh"):
        torch.manual_seed(0)
        model = MLP(width=256, depth=2, activation=activation, input_shape=(64,))  # type: ignore[arg-type]
        _train(model, inputs, targets, epochs=10, lr=0.05)
        yield Case(f"MLP 64-256-256-10, {activation}, digits", model, inputs, targets)
    kind, (inputs, targets) = (
        ("enlarged digits", enlarged_digits(digits)) if data is None else ("images", _read(data))
    )
    few = 32 if quick else 256
    torch.manual_seed(0)
    resnet = resnet20()
    _train(resnet, inputs[:1797], targets[:1797], epochs=3, lr=0.05)
    yield Case(f"ResNet-20, {few} {kind}", resnet, inputs[:few], targets[:few])
    torch.manual_seed(0)
    transformer = SmallViT()
    _train(transformer, inputs, targets, epochs=5, lr=0.02)
    yield Case(
        f"ViT, 2 blocks of width 48, {4 * few} {kind}", transformer, inputs[: 4 * few], targets[: 4 * few]
    )


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


def enlarged_digits(digits: Any | None = None) -> tuple[Tensor, Tensor]:
    """The digits as 3×32×32 images, shuffled."""
    digits = load_digits() if digits is None else digits
    small = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    images = nn.functional.interpolate(small, size=32, mode="bilinear").expand(-1, 3, -1, -1)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return images[order].contiguous(), torch.tensor(digits.target)[order]


def _read(given: str) -> tuple[Tensor, Tensor]:
    data = load_data(given if "size=" in given else f"{given},size=32").train
    chosen = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:2048]  # type: ignore[arg-type]
    pairs = [data[int(i)] for i in chosen]
    return torch.stack([image for image, _ in pairs]), torch.tensor([int(label) for _, label in pairs])


def true_trace(case: Case, accuracy: float) -> tuple[float, float]:
    """Tr H and its standard error, 0 where it is a sum of squares.

    Where the proof holds, the exact sum in float64 (tests hold it against dense Hessians); else Tr G in float64 and
    Tr (H − G), until the standard error is small enough: by products with fresh probes for every few examples, or,
    where attention makes that far too slow, with probes for every example (tests hold both against dense Hessians).
    """
    objective = case.objective(dtype=torch.float64)
    chosen = plan(objective)
    inner = float(gauss_newton_traces(objective, chosen).sum())
    if chosen.affine.proved:
        return inner, 0.0
    forms, seed = torch.empty(0, dtype=torch.float64), 10**6
    fine = case.objective(max(1, len(case.inputs) // 40), torch.float64)
    while True:
        seed += 1
        if chosen.by_example:
            draws = [Draws(seed).fold(number) for number in range(4)]
            pairs = pairs_of_passes(objective, draws=draws, less_gauss_newton=True, apart=True)
            drawn = torch.stack([pair.means.sum() for pair in pairs])
        else:
            drawn = quadratic_forms(fine, draws=Draws(seed), numbers=range(4), less_gauss_newton=True).sum(1)
        forms = torch.cat([forms, drawn])
        value, error = inner + float(forms.mean()), float(forms.std() / len(forms) ** 0.5)
        if len(forms) >= 16 and error <= accuracy * abs(value):
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
