"""Hessian products for the dominant eigenvalue with short bases of Lanczos, beside a basis of all vectors.

    python benchmarks/restarts.py        # a few minutes on one core

A short basis bounds the peak memory, and a restart gives up a part of what was learned. Each row is one network after
some steps of training; the digits, 512 examples, or four sequences of random tokens. To a relative residual of 1e-3;
``!`` marks a search that did not converge within 200 products.
"""

from collections.abc import Callable, Iterator

import torch
from memory_cases import problem, token_loss
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from landscape.curvature import hessian
from landscape.curvature.eigenpairs import start_of
from landscape.linalg import lanczos
from landscape.objective import Objective

ROWS = (6, 8, 10, 300)


def perceptron(activation: type[nn.Module]) -> nn.Module:
    """An MLP for the digits, 85 k parameters."""
    hidden = nn.Linear(64, 256), activation(), nn.Linear(256, 256), activation()
    return nn.Sequential(*hidden, nn.Linear(256, 10))


def convolutional() -> nn.Module:
    """A small convolutional network for the digits."""
    first = nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 16, 3, padding=1), nn.ReLU()
    second = nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    return nn.Sequential(*first, *second, nn.Linear(512, 10))


def trained(
    model: nn.Module, steps: int, inputs: Tensor, targets: Tensor, loss: Callable[..., Tensor]
) -> nn.Module:
    """After some steps of Adam."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(steps):
        chosen = torch.randint(len(inputs), (64,))
        optimizer.zero_grad()
        loss(model(inputs[chosen]), targets[chosen]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.eval()


def objectives() -> Iterator[tuple[str, Objective]]:
    """Networks of several kinds, untrained and trained."""
    images, classes = load_digits(return_X_y=True)
    inputs, targets = torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(classes)
    makes: dict[str, Callable[[], nn.Module]] = {
        "MLP, ReLU": lambda: perceptron(nn.ReLU),
        "MLP, tanh": lambda: perceptron(nn.Tanh),
        "CNN": convolutional,
    }
    for name, make in makes.items():
        for steps in (0, 20, 300, 1500):
            torch.manual_seed(1)
            model = trained(make(), steps, inputs, targets, functional.cross_entropy)
            yield f"{name}, {steps} steps", Objective(model, "cross-entropy", (inputs[:512], targets[:512]))
    for steps in (0, 20):
        case = problem("1M", 4, 64, "cpu")
        model = trained(case.model, steps, case.inputs, case.targets, token_loss)
        yield f"decoder, {steps} steps", Objective(model, token_loss, (case.inputs, case.targets))


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    print(f"{'rows of the basis':<32}" + "".join(f"{rows if rows < 300 else 'all':>6}" for rows in ROWS))
    for name, objective in objectives():
        matrix, start = hessian(objective), start_of(objective)
        cells = []
        for rows in ROWS:
            draws = torch.Generator().manual_seed(0)
            pairs = lanczos(matrix, tolerance=1e-3, generator=draws, start=start, max_basis=rows)
            cells.append(f"{pairs.products}{'' if pairs.converged else '!'}")
        print(f"{name:<32}" + "".join(f"{cell:>6}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
