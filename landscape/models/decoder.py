"""A small language model: a causal transformer over token numbers, of about 1 M parameters as it stands."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from landscape.errors import InputError, UsageError

DEEPEST = 1000
"""The largest number of blocks: a checkpoint of unknown origin may name any."""


class Decoder(nn.Module):
    """A transformer that predicts the next token: learned positions, pre-norm blocks, GELU.

    Weights are drawn as those of GPT-2: normal with standard deviation 0.02, and smaller by √(2·``depth``) where a
    block adds to its input.

    Args:
        width: Numbers that stand for a token.
        depth: Blocks of attention and a perceptron of width 4·``width``.
        heads: Of each attention; they divide the width.
        length: Positions, the largest number of tokens of a sequence.
        vocabulary: Tokens; 256 are the bytes of ``text``.
        tied: Whether the scores are computed with the weights of the embedding.
        input_shape: The shape of one input, ``(T,)``.

    Raises:
        UsageError: A number below 1, or heads that do not divide the width.
        InputError: Sequences longer than the positions, or inputs that are no sequences.

    Reference:
        Radford et al. 2019, Language Models are Unsupervised Multitask Learners (GPT-2), without dropout.
    """

    takes_tokens = True  # instead of floats; see build_model

    def __init__(
        self,
        *,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        length: int = 128,
        vocabulary: int = 256,
        tied: bool = False,
        input_shape: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        sizes = {"width": width, "depth": depth, "heads": heads, "length": length, "vocabulary": vocabulary}
        for name, size in sizes.items():
            if size < 1:
                raise UsageError(f"decoder: {name}={size} must be at least 1")
        if depth > DEEPEST:
            raise UsageError(f"decoder: depth={depth} is more than {DEEPEST:,}")
        if width % heads:
            raise UsageError(f"decoder: width={width} is not a multiple of heads={heads}")
        if input_shape is not None and len(input_shape) != 1:
            raise InputError(
                f"decoder takes sequences of token numbers, but one input of this data has the shape {input_shape}; "
                "use -d text, or mlp"
            )
        self.embedding = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self._initialise()
        if tied:
            self.head.weight = self.embedding.weight
        if input_shape is not None:
            self._check_length(input_shape[0])

    def forward(self, tokens: Tensor) -> Tensor:
        """The scores ``(B, T, vocabulary)`` of the token after each of ``tokens``, ``(B, T)``."""
        if tokens.ndim != 2 or tokens.is_floating_point():
            raise InputError(
                f"decoder takes token numbers (B, T), not {tokens.dtype} of the shape {tuple(tokens.shape)}; "
                "use -d text"
            )
        self._check_length(tokens.shape[1])
        hidden = self.embedding(tokens) + self.positions(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            hidden = block(hidden)
        scores: Tensor = self.head(self.norm(hidden))
        return scores

    def _check_length(self, tokens: int) -> None:
        positions = self.positions.num_embeddings
        if tokens > positions:
            raise InputError(
                f"decoder has {positions} positions, but a sequence has {tokens} tokens; use decoder:length={tokens}, "
                f"or shorter sequences, such as -d text:length={positions}"
            )

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        for name, parameter in self.named_parameters():
            if name.endswith(("attn.out.weight", "mlp.2.weight")):
                nn.init.normal_(parameter, std=0.02 / (2 * len(self.blocks)) ** 0.5)


class Block(nn.Module):
    """``x + attention(norm(x))``, then the same with a perceptron."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = CausalAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, hidden: Tensor) -> Tensor:
        """The hidden states ``(B, T, width)`` after the block."""
        hidden = hidden + self.attn(self.norm1(hidden))
        output: Tensor = hidden + self.mlp(self.norm2(hidden))
        return output


class CausalAttention(nn.Module):
    """Attention of each token to itself and those before it, in several heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """What the heads return, mixed: ``(B, T, width)``."""
        queries, keys, values = self.qkv(hidden).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        output: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return output
