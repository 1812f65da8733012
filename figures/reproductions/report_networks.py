"""The networks, losses and data of the Adaptive-GSAM report, as its TensorFlow notebook has them.

Weights start as in Keras: uniform after Glorot, biases at zero. The loss of MNIST is the binary cross-entropy of the
softmax probabilities, averaged over the ten classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Moons(nn.Module):
    """2-32-32-32-1 with ReLU; the sigmoid is in the loss."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU()]
        self.layers = as_keras(nn.Sequential(*layers, nn.Linear(32, 1)))

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores ``(B,)``."""
        scores: Tensor = self.layers(inputs)[:, 0]
        return scores


class Pictures(nn.Module):
    """Convolutions of 32 and 64 filters 3×3, each with a maximum over 2×2, and layers of 128 and 10.

    The report does not print the pooling; it is that of the usual Keras example.
    """

    def __init__(self) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU()]
        dense = [nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1600, 128), nn.ReLU(), nn.Linear(128, 10)]
        self.layers = as_keras(nn.Sequential(*convolutions, *dense))

    def forward(self, inputs: Tensor) -> Tensor:
        """Class scores ``(B, 10)`` of raw pixels from 0 to 255."""
        scores: Tensor = self.layers(inputs)
        return scores


def as_keras(model: nn.Sequential) -> nn.Sequential:
    """The network with its weights drawn as Keras draws them."""
    for module in model:
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            nn.init.xavier_uniform_(module.weight)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    return model


def moons_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy."""
    return functional.binary_cross_entropy_with_logits(scores, targets.to(scores.dtype))


def pictures_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy of the softmax, its probabilities kept 1e-7 away from 0 and 1 as in Keras."""
    shares = scores.softmax(1).clamp(1e-7, 1 - 1e-7)
    return functional.binary_cross_entropy(shares, functional.one_hot(targets, 10).to(shares.dtype))


def moons_correct(scores: Tensor, targets: Tensor) -> int:
    """How many are on the right side of one half."""
    return int(((scores > 0) == (targets > 0)).sum())


def pictures_correct(scores: Tensor, targets: Tensor) -> int:
    """How many have their class on top."""
    return int((scores.argmax(1) == targets).sum())


def moons_data(samples: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The report's two moons: noise 0.3, seed 10; 30 % are held out with seed 42; standardised."""
    from sklearn.datasets import make_moons
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    points, labels = make_moons(samples, noise=0.3, random_state=10)
    train, test, train_labels, test_labels = train_test_split(points, labels, test_size=0.3, random_state=42)
    scaler = StandardScaler().fit(train)
    inputs = [torch.from_numpy(scaler.transform(part)).float() for part in (train, test)]
    return inputs[0], torch.from_numpy(train_labels), inputs[1], torch.from_numpy(test_labels)
