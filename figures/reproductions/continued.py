"""The network of a checkpoint, to train it further: ``-m ./continued.py:network:checkpoint=FILE``.

With other data this is fine-tuning.
"""

from torch import nn

from landscape import load_checkpoint


def network(*, checkpoint: str) -> nn.Module:
    """The network with its weights, in training mode."""
    return load_checkpoint(checkpoint, trust=True).model.train()
