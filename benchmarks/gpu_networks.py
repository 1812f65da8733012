"""The networks of ``benchmarks/gpu.py``, on random data."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from curvature_cases import LOSS, Case
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from landscape.models.cifar_resnet import CifarResNet


class Decoder(nn.Module):
    """A decoder in the shape of GPT-2, whose smallest has 124,439,808 parameters: the embedding is the last layer too.

    Of numbers of tokens ``(B, T)`` it gives scores ``(B, words, T)``, which is what cross-entropy takes.
    """

    def __init__(self, words: int, length: int, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(words, width), nn.Embedding(length, width)
        layer = partial(nn.TransformerEncoderLayer, width, heads, 4 * width, dropout=0.0, activation="gelu")
        self.blocks = nn.ModuleList(layer(batch_first=True, norm_first=True) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.words.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """The scores of the next token at every place."""
        x = self.words(tokens) + self.positions.weight[: tokens.shape[1]]
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1], tokens.device, x.dtype)
        for block in self.blocks:
            x = block(x, src_mask=mask, is_causal=True)
        return nn.functional.linear(self.norm(x), self.words.weight).mT


@dataclass(frozen=True)
class Network:
    """A network, and the shape of one of its examples: an image, or a row of tokens."""

    name: str
    build: Callable[[], nn.Module]
    batch: int
    shape: tuple[int, ...]
    classes: int

    def case(self, device: torch.device, batch: int) -> Case:
        """It after a few steps of training on one random batch, so that batch-norm statistics and slopes are usual."""
        torch.manual_seed(0)
        model = self.build().to(device)
        if len(self.shape) == 1:
            inputs = torch.randint(self.classes, (batch, *self.shape)).to(device)
            targets = inputs.roll(-1, 1)
        else:
            inputs = torch.randn(batch, *self.shape).to(device)
            targets = torch.randint(self.classes, (batch,)).to(device)
        optimizer = torch.optim.SGD(model.train().parameters(), lr=0.01)
        for _ in range(8):
            optimizer.zero_grad()
            LOSS(model(inputs), targets).backward()
            optimizer.step()
        optimizer.zero_grad()
        return Case(self.name, model.eval(), inputs, targets)


def networks(*, tiny: bool) -> list[Network]:
    """The most common first; with ``tiny`` so small that one thread of a CPU takes milliseconds."""
    residual = partial(CifarResNet, 3, 10)
    if tiny:
        vision = partial(VisionTransformer, 16, 8, 2, 2, 16, 32, num_classes=10)
        return [
            Network("ResNet-18", partial(residual, widths=(4, 6), blocks=1), 8, (3, 8, 8), 10),
            Network("WideResNet", partial(residual, widths=(8, 12), blocks=1), 8, (3, 8, 8), 10),
            Network("ViT", vision, 8, (3, 16, 16), 10),
            Network("GPT-2", partial(Decoder, 31, 8, 16, 2, 2), 8, (8,), 31),
        ]
    # The wide network has its activations after the sums, as a ResNet: the same work as in the order of its authors.
    return [
        Network("ResNet-18", partial(residual, widths=(64, 128, 256, 512), blocks=2), 128, (3, 32, 32), 10),
        Network(
            "WideResNet-28-10", partial(residual, widths=(160, 320, 640), blocks=4), 128, (3, 32, 32), 10
        ),
        Network("ViT-S/16", partial(VisionTransformer, 224, 16, 12, 6, 384, 1536), 64, (3, 224, 224), 1000),
        Network("GPT-2, 124 M", partial(Decoder, 50257, 1024, 768, 12, 12), 4, (512,), 50257),
    ]
