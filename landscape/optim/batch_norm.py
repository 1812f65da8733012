"""Batch norm in the passes that are not at the weights: batch statistics are used, running ones left alone.

A sharpness-aware step evaluates the network at weights that are thrown away. Their activations must be
normalised with the batch, as in training, but must not enter the running statistics. Setting ``momentum=0``
is the common trick; it still counts ``num_batches_tracked``, and entering it twice loses the momentum for good.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase


def tracking_modules(model: nn.Module | None) -> list[nn.Module]:
    """The modules of a model that keep running statistics: batch norms, and instance norms that track."""
    if model is None:
        return []
    return [m for m in model.modules() if isinstance(m, _NormBase) and m.track_running_stats]


@contextmanager
def frozen_statistics(modules: Sequence[nn.Module]) -> Iterator[None]:
    """No running statistic nor counter of the modules changes inside; what they compute does not change.

    Modules in evaluation mode are left as they are. Contexts can be nested.

    Args:
        modules: What :func:`tracking_modules` returned.
    """
    before: list[tuple[dict[str, object], str, object]] = []
    try:
        for module in modules:
            if not module.training:
                continue
            # Straight into the dictionaries: a module's own attribute setter costs more than a small layer.
            if isinstance(module, _BatchNorm):
                _replace(before, vars(module), "track_running_stats", False)
            else:  # an instance norm ignores the flag while it holds statistics
                _replace(before, vars(module)["_buffers"], "running_mean", None)
                _replace(before, vars(module)["_buffers"], "running_var", None)
        yield
    finally:
        for where, name, value in before:
            where[name] = value


def _replace(
    before: list[tuple[dict[str, object], str, object]], where: dict[str, object], name: str, value: object
) -> None:
    before.append((where, name, where[name]))
    where[name] = value
