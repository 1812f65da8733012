"""The networks, data and truths of ``benchmarks/curvature.py``."""

import contextlib
import copy
import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import scipy.sparse.linalg
import torch
from plain_trace import plain_trace
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape.curvature import hessian
from landscape.data import load_data
from landscape.losses import build_loss
from landscape.measures import hessian_trace
from landscape.models.cifar_resnet import resnet20
from landscape.models.decoder import Decoder
from landscape.models.mlp import MLP
from landscape.objective import Objective

LOSS = nn.CrossEntropyLoss()
GROUPS = 8
"""Parts of the examples that have probes of their own in the true trace of a transformer."""


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
    def slow(self) -> bool:
        """Whether the inputs are images or text, so that everything takes longer."""
        return self.images or self.tokens

    @property
    def transformer(self) -> bool:
        """Whether it has attention, so that its trace is random however it is computed."""
        return self.tokens or "ViT" in self.name

    @property
    def images(self) -> bool:
        """Whether the inputs are images."""
        return self.inputs.ndim == 4

    def batches(self, size: int | None = None) -> list[tuple[Tensor, Tensor]]:
        """The examples in batches; all in one by default."""
        if size is None:
            return [(self.inputs, self.targets)]
        return list(zip(self.inputs.split(size), self.targets.split(size), strict=True))

    def objective(self, size: int | None = None, dtype: torch.dtype | None = None) -> Objective:
        """With an empty cache."""
        loss = build_loss("next-token") if self.tokens else LOSS
        return Objective(self.model, loss, self.batches(size), dtype=dtype)

    @property
    def tokens(self) -> bool:
        """Whether it is a language model."""
        return not self.inputs.is_floating_point()

    def for_peers(self) -> "Case":
        """The same with one row of scores a target, which is all that peers know."""
        if not self.tokens or isinstance(self.model, Rows):
            return self
        return Case(self.name, Rows(self.model), self.inputs, self.targets.flatten())


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


def cases(*, quick: bool, data: str | None, only: str = "") -> Iterator[Case]:
    """The networks, trained here and now for a little while.

    Args:
        quick: Fewer images.
        only: Those whose name holds this; others are not trained where they can be left out.
        data: Images by a name such as ``imagefolder:root=DIR``; otherwise the digits, enlarged.
    """
    if only.startswith("decoder"):
        yield from _decoders(quick)
        return
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
    if not only.startswith("ViT"):
        torch.manual_seed(0)
        resnet = resnet20()
        _train(resnet, inputs[:1797], targets[:1797], epochs=3, lr=0.05)
        yield Case(f"ResNet-20, {few} {kind}", resnet, inputs[:few], targets[:few])
    torch.manual_seed(0)
    transformer = SmallViT()
    with _kept(transformer, f"vit-{kind.replace(' ', '-')}") as train:
        if train:
            _train(transformer, inputs, targets, epochs=5, lr=0.02)
    for count in (128, 512) if quick else (1024,):
        name = f"ViT, 2 blocks of width 48, {count} {kind}"
        yield Case(name, transformer, inputs[:count], targets[:count])
    if not only.startswith("ViT"):
        yield from _decoders(quick)


class Rows(nn.Module):
    """A language model whose scores are one row a token, as plain cross-entropy takes them: for the peers."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        """``(B·T, V)``."""
        with sdpa_kernel(SDPBackend.MATH):
            scores: Tensor = self.model(tokens)
        return scores.flatten(0, 1)


def _decoders(quick: bool) -> Iterator[Case]:
    """A decoder of 0.9 M parameters after 150 steps of Adam on the text that comes with Python."""
    data = load_data("text").train
    torch.manual_seed(0)
    model = Decoder()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    with _kept(model, "decoder") as train:
        for _ in range(150 if train else 0):
            tokens, targets = _sequences(data, torch.randint(len(data), (16,)).tolist())  # type: ignore[arg-type]
            optimizer.zero_grad()
            LOSS(model(tokens).flatten(0, 1), targets.flatten()).backward()
            optimizer.step()
    optimizer.zero_grad()
    for count in (8, 32) if quick else (8, 64):
        tokens, targets = _sequences(data, range(0, 40 * count, 40))
        yield Case(f"decoder, {count} sequences of text", model.eval(), tokens, targets)


@contextlib.contextmanager
def _kept(model: nn.Module, name: str) -> Iterator[bool]:
    """Says whether a network is to be trained inside, and keeps its weights in a file for the next run."""
    file = Path(tempfile.gettempdir()) / f"landscape-trained-{name}-torch-{torch.__version__}.pt"
    yield not file.exists()
    if file.exists():
        model.load_state_dict(torch.load(file))
    else:
        torch.save(model.state_dict(), file)
    model.eval()


def _sequences(data: Any, rows: Iterable[int]) -> tuple[Tensor, Tensor]:
    pairs = [data[row] for row in rows]
    return torch.stack([tokens for tokens, _ in pairs]), torch.stack([targets for _, targets in pairs])


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
    """Tr H and its standard error, 0 where it is a sum of squares; kept in a file for the next run.

    Of transformers by plain probes that share no code with ours. Of the others by our own estimator in float64, which
    tests hold against dense Hessians: a sum without random numbers for ReLU.
    """
    weights = b"".join(p.detach().numpy().tobytes() for p in case.model.parameters())
    key = hashlib.sha256(weights + case.inputs.numpy().tobytes() + repr(accuracy).encode()).hexdigest()[:16]
    file = Path(tempfile.gettempdir()) / f"landscape-true-trace-{key}.json"
    if file.exists():
        value, error = json.loads(file.read_text())
        return value, error
    if case.transformer:
        theirs = case.for_peers()
        rows, size = len(theirs.targets) // len(case.inputs), -(-len(case.inputs) // GROUPS)
        groups = zip(case.inputs.split(size), theirs.targets.split(rows * size), strict=True)
        value, error, _ = plain_trace(copy.deepcopy(theirs.model), list(groups), accuracy=accuracy)
    else:
        objective = case.objective(dtype=torch.float64)
        estimate = hessian_trace(objective, tolerance=accuracy, max_probes=10**5, seed=10**6)
        value, error = estimate.value, estimate.standard_error or 0.0
    file.write_text(json.dumps([value, error]))
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
