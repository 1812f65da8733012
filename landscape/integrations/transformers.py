"""Geometry while the Trainer of transformers trains."""

from typing import Any

import torch

from landscape.errors import UsageError
from landscape.tracking.geometry import Tracker

try:
    from transformers import TrainerCallback
except ImportError as failure:
    raise UsageError(
        "landscape.integrations.transformers needs transformers: pip install transformers"
    ) from failure


class GeometryCallback(TrainerCallback):
    """A :class:`landscape.Tracker` as a callback: ``Trainer(callbacks=[GeometryCallback("next-token", probes)])``.

    It counts steps of the optimizer, of which accumulated batches make one, and continues with those of a run that is
    resumed. Weights in bfloat16 or float16 are measured in single precision.

    Args:
        loss: As of :class:`landscape.Objective`: ``"next-token"``, or ``"model"`` for the model's own.
        batches: The probe batches, such as dictionaries of tensors.
        options: Further arguments of :class:`landscape.Tracker`, such as ``every``, ``measures``, ``budget`` and
            ``output``.

    Attributes:
        tracker: The tracker, from the start of the training on.
    """

    def __init__(self, loss: Any, batches: Any, **options: Any) -> None:
        self._arguments, self._options = (loss, batches), options
        self.tracker: Tracker | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Makes the tracker, at the weights that training starts from."""
        model = given["model"]
        options: dict[str, Any] = {"steps_done": state.global_step, **self._options}
        if all(p.dtype.itemsize < 4 for p in model.parameters()):
            options.setdefault("dtype", torch.float32)
        self.tracker = Tracker(model, *self._arguments, **options)

    def on_step_end(self, args: Any, state: Any, control: Any, *, optimizer: Any = None, **_: Any) -> None:
        """Counts a step of the optimizer."""
        if self.tracker is not None:
            self.tracker.step(optimizer)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ends the loggers."""
        if self.tracker is not None:
            self.tracker.finish()
