"""Cross-entropy of language models: each token is predicted from those before it."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from landscape.errors import InputError
from landscape.losses.cross_entropy import CrossEntropy
from landscape.losses.loss_functions import IGNORED, label_weights
from landscape.losses.outputs import labelled, scores


class NextToken(CrossEntropy):
    """``−log p(token t+1 | tokens ≤ t)``, averaged over the predicted tokens of all sequences.

    A batch is ``(B, T)`` token numbers, a pair or triple that begins with them, or a dictionary with ``input_ids``.
    The targets are its ``labels`` if it has some (−100 leaves a token out), else the tokens themselves. With an
    ``attention_mask``, padding is neither predicted nor predicted from, so that it changes no number.

    An example is a sequence. It counts with the number of its predicted tokens, so that every token counts the same;
    or with 1, for the mean over sequences of each one's own mean.

    Args:
        mean: Over all tokens, or over sequences.
    """

    averages_examples = True

    def __init__(self, *, mean: Literal["token", "sequence"] = "token") -> None:
        super().__init__()
        self.by_sequence = mean == "sequence"
        # The name in records.
        self.__name__ = "next-token:mean=sequence" if self.by_sequence else "next-token"

    @property
    def weighting(self) -> str:
        """What the mean is over, for the reader of a number."""
        over = "sequences, of each one's own mean" if self.by_sequence else "all predicted tokens"
        return f"next-token is the mean over {over}"

    def forward(self, outputs: Any, targets: Tensor) -> Tensor:
        """The mean over a batch of scores ``(B, T, V)`` and the tokens that they predict, ``(B, T)``."""
        logits, _ = scores(outputs)
        if logits.ndim != 3 or logits.shape[:2] != targets.shape:
            raise InputError(
                f"next-token: the model returns scores {tuple(logits.shape)} for tokens {tuple(targets.shape)}; "
                "it must return (texts, tokens, vocabulary)"
            )
        if self.by_sequence:
            return self.each(logits, targets).mean()
        mean = super().forward(logits, targets)
        return torch.where((targets != IGNORED).any(), mean, 0.0)  # the mean of no token is NaN

    def each(self, outputs: Any, targets: Tensor) -> Tensor:
        """The share of every sequence in that mean, times their number: ``(B,)``, of which it is the mean."""
        logits, rule = scores(outputs)[0], label_weights(self)
        assert rule is not None
        losses = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        weights = rule.every(targets)
        mean = weights.sum() / len(targets)
        shares = weights / torch.where(mean > 0, mean, 1.0)
        return (losses.view_as(targets) * shares.to(losses.dtype)).sum(1)

    def size(self, batch: Any) -> int:
        """The number of sequences in a batch of inputs and targets."""
        return len(labelled(batch)[1])

    def inputs_and_targets(self, batch: Any) -> tuple[Any, Tensor]:
        """The network's inputs, and the token that each position predicts, ``(B, T)``; −100 where none counts."""
        tokens = _tokens(batch)
        inputs: Any = tokens
        targets, mask = tokens, None
        if isinstance(batch, Mapping):
            inputs = {key: value for key, value in batch.items() if key != "labels"}
            labels, mask = batch.get("labels"), batch.get("attention_mask")
            targets = labels if isinstance(labels, Tensor) else tokens
        if targets.shape != tokens.shape:
            raise InputError(
                f"next-token: labels are {tuple(targets.shape)} for tokens {tuple(tokens.shape)}; pass one for each "
                "token, −100 where none counts: they are shifted here"
            )
        following = torch.full_like(targets, IGNORED)
        following[:, :-1] = targets[:, 1:]
        if isinstance(mask, Tensor) and mask.shape == tokens.shape:
            real = mask != 0
            following[:, :-1].masked_fill_(~(real[:, :-1] & real[:, 1:]), IGNORED)
        return inputs, following

    def refuse_inputs(self, model: nn.Module, batches: Iterable[tuple[Any, Tensor]]) -> None:
        """Raises an :class:`InputError` for token numbers beyond all embeddings of the network."""
        sizes = [module.num_embeddings for module in model.modules() if isinstance(module, nn.Embedding)]
        for index, (inputs, targets) in enumerate(batches if sizes else ()):
            tokens = _tokens(inputs)
            limits = [
                part.aminmax() for part in (tokens, targets.where(targets != IGNORED, 0)) if part.numel()
            ]
            low, high = min(int(part.min) for part in limits), max(int(part.max) for part in limits)
            if low < 0 or high >= max(sizes):
                raise InputError(
                    f"next-token: batch {index} of the data has tokens {low} to {high}, and the network has embeddings "
                    f"of {max(sizes)}: is it another tokenizer?"
                )


def _tokens(batch: Any) -> Tensor:
    if isinstance(batch, Mapping):
        tokens = batch.get("input_ids")
    else:
        tokens = batch[0] if isinstance(batch, (tuple, list)) and batch else batch
    if not isinstance(tokens, Tensor) or tokens.ndim != 2 or tokens.is_floating_point():
        raise InputError(
            "next-token: a batch must be token numbers (texts, tokens), or a dictionary with them under input_ids"
        )
    return tokens
