"""Losses by name: ``build_loss("cross-entropy:label_smoothing=0.1")``, ``build_loss("./file.py:focal")``."""

from landscape.losses.table import LOSSES, build_loss, cross_entropy_name, loss_name

__all__ = ["LOSSES", "build_loss", "cross_entropy_name", "loss_name"]
