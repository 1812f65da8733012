"""Cross-entropy of language models: each token predicted from those before it."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from landscape.errors import InputError
from landscape.objective.loss_functions import IGNORED, BatchLoss, in_float64
from landscape.objective.outputs import scores


class NextToken(BatchLoss):
    """``−log p(token t+1 | tokens ≤ t)``, averaged over all tokens of all texts that are predicted.

    A batch is ``(B, T)`` token numbers, a pair or triple that begins with them, or a dictionary with ``input_ids``.
    What is predicted are its ``labels`` where it has some (−100 leaves a token out), else the tokens themselves
    where ``attention_mask`` is not 0. An example, in every number, is one predicted token.
    """

    averages_examples = True

    def __init__(self) -> None:
        super().__init__(self._mean, size=lambda batch: int((_wanted(batch) != IGNORED).sum()))
        self.__name__ = "next-token"

    @staticmethod
    def _mean(model: nn.Module, batch: Any) -> Tensor:
        inputs = {k: v for k, v in batch.items() if k != "labels"} if isinstance(batch, Mapping) else None
        logits, _ = scores(model(_tokens(batch)) if inputs is None else model(**inputs))
        wanted = _wanted(batch)
        if logits.ndim != 3 or logits.shape[:2] != (wanted.shape[0], wanted.shape[1] + 1):
            raise InputError(
                f"next-token: the model returns scores {tuple(logits.shape)} for tokens {tuple(_tokens(batch).shape)}; "
                "it must return (texts, tokens, vocabulary)"
            )
        return in_float64(nn.functional.cross_entropy, logits[:, :-1].flatten(0, 1), wanted.flatten())


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


def _wanted(batch: Any) -> Tensor:
    """What each token but the last is followed by, ``(B, T − 1)``; −100 where nothing is asked."""
    tokens = _tokens(batch)
    if isinstance(batch, Mapping) and isinstance(batch.get("labels"), Tensor):
        labels: Tensor = batch["labels"]
        return labels[:, 1:]
    if isinstance(batch, Mapping) and isinstance(batch.get("attention_mask"), Tensor):
        tokens = tokens.masked_fill(batch["attention_mask"] == 0, IGNORED)
    return tokens[:, 1:]
