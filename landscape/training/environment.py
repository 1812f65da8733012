"""What the bits of a run depend on beside its recipe: threads, versions, and the kind of processor."""

import importlib.metadata
from collections.abc import Mapping

import torch

from landscape.version import __version__

Environment = Mapping[str, str | int]

_PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn")
"""They compute the steps, the pictures and the bundled data."""


def environment(device: torch.device) -> dict[str, str | int]:
    """Threads, versions and the processor of this process, computing on a device."""
    if device.type == "cuda":
        processor = torch.cuda.get_device_name(device)
    else:
        processor = f"{device.type} with {torch.backends.cpu.get_cpu_capability()}"
    return {
        "threads": torch.get_num_threads(),
        "processor": processor,
        "landscape": __version__,
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def difference(old: Environment, new: Environment) -> str | None:
    """What differs, as text; ``None`` if nothing does."""
    names = [name for name in new if old.get(name) != new[name]]
    if not names:
        return None
    was = ", ".join(f"{name}={old.get(name, 'unknown')}" for name in names)
    now = ", ".join(f"{name}={new[name]}" for name in names)
    return f"{was}, and goes on with {now}"
