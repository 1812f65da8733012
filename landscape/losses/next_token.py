"""Cross-entropy of language models: each token is predicted from those before it."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import InputError
from landscape.losses.loss_functions import IGNORED, BatchLoss, in_float64
from landscape.losses.outputs import scores


class NextToken(BatchLoss):
    """``−log p(token t+1 | tokens ≤ t)``, averaged over all predicted tokens of all texts.

    A batch is ``(B, T)`` token numbers, a pair or triple that begins with them, or a dictionary with ``input_ids``.
    The targets are its ``labels`` if it has some (−100 leaves a token out), else the tokens themselves where
    ``attention_mask`` is not 0. An example, in every number, is one predicted token.
    """

    averages_examples = True

    def __init__(self) -> None:
        super().__init__(self._mean, size=lambda batch: int((_targets(batch) != IGNORED).sum()))
        self.__name__ = "next-token"  # the name in records

    def refuse_labels(self, model: nn.Module, batches: Iterable[Any]) -> None:
        """Raises an :class:`InputError` for token numbers beyond all embeddings of the network."""
        sizes = [module.num_embeddings for module in model.modules() if isinstance(module, nn.Embedding)]
        for index, batch in enumerate(batches if sizes else ()):
            tokens, targets = _tokens(batch), _targets(batch)
            limits = [
                part.aminmax() for part in (tokens, targets.where(targets != IGNORED, 0)) if part.numel()
            ]
            low, high = min(int(part.min) for part in limits), max(int(part.max) for part in limits)
            if low < 0 or high >= max(sizes):
                raise InputError(
                    f"next-token: batch {index} of the data has tokens {low} to {high}, and the network has embeddings "
                    f"of {max(sizes)}: is it another tokenizer?"
                )

    @staticmethod
    def _mean(model: nn.Module, batch: Any) -> Tensor:
        if isinstance(batch, Mapping):
            returned = model(**{key: value for key, value in batch.items() if key != "labels"})
        else:
            returned = model(_tokens(batch))
        logits, targets = scores(returned)[0], _targets(batch)
        if logits.ndim != 3 or logits.shape[:2] != (targets.shape[0], targets.shape[1] + 1):
            raise InputError(
                f"next-token: the model returns scores {tuple(logits.shape)} for tokens {tuple(_tokens(batch).shape)}; "
                "it must return (texts, tokens, vocabulary)"
            )
        # The scores at a token are for the next one, so that those at the last have no target.
        mean = in_float64(nn.functional.cross_entropy, logits[:, :-1].flatten(0, 1), targets.flatten())
        return torch.where((targets != IGNORED).any(), mean, 0.0)  # the mean of no token is NaN


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


def _targets(batch: Any) -> Tensor:
    """The token that follows each token but the last, ``(B, T − 1)``; −100 where no prediction counts."""
    tokens = _tokens(batch)
    if isinstance(batch, Mapping):
        labels, mask = batch.get("labels"), batch.get("attention_mask")
        if isinstance(labels, Tensor):
            return labels[:, 1:]
        if isinstance(mask, Tensor):
            tokens = tokens.masked_fill(mask == 0, IGNORED)
    return tokens[:, 1:]
