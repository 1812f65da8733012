"""Networks by name: ``build_model("resnet20", classes=10)``, ``build_model("torchvision:resnet18")``."""

from landscape.models.table import MODELS, build_model

__all__ = ["MODELS", "build_model"]
