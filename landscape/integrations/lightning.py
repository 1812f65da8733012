"""Geometry while Lightning trains."""

from collections.abc import Callable
from typing import Any

from torch import nn

from landscape.errors import UsageError
from landscape.tracking.geometry import Tracker

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError as failure:
    raise UsageError("landscape.integrations.lightning needs lightning: pip install lightning") from failure


class GeometryCallback(Callback):
    """A :class:`landscape.Tracker` as a callback: ``Trainer(callbacks=[GeometryCallback("cross-entropy", probes)])``.

    It counts steps of the optimizer, of which accumulated batches make one, and continues with those of a run that is
    resumed. With several optimizers the first one says directions and thresholds.

    Args:
        loss: As of :class:`landscape.Objective`.
        batches: The probe batches, on any device.
        network: What is measured of the module; by default the module itself, by its ``forward``.
        options: Further arguments of :class:`landscape.Tracker`, such as ``every``, ``measures``, ``budget`` and
            ``output``.

    Attributes:
        tracker: The tracker, from the start of the fit on.
    """

    def __init__(
        self,
        loss: Any,
        batches: Any,
        *,
        network: Callable[[LightningModule], nn.Module] | None = None,
        **options: Any,
    ) -> None:
        self._arguments, self._options, self._network = (loss, batches), options, network
        self.tracker: Tracker | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Makes the tracker, at the weights that training starts from."""
        model = pl_module if self._network is None else self._network(pl_module)
        options = {"steps_done": trainer.global_step, **self._options}
        self.tracker = Tracker(model, *self._arguments, **options)

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Counts a step where the optimizer took one."""
        if self.tracker is not None and trainer.global_step > self.tracker.steps:
            self.tracker.step(trainer.optimizers[0] if trainer.optimizers else None)

    def on_train_end(self, *_: Any) -> None:
        """Ends the loggers."""
        if self.tracker is not None:
            self.tracker.finish()
