"""``landscape env``: versions and devices, to paste into a bug report."""

import contextlib
import importlib.metadata
import os
import platform
import re
import textwrap
from pathlib import Path

import click

from landscape.tables import WIDTH
from landscape.version import __version__

from . import options
from .help import ExamplesFirst

PACKAGES = "torch torchvision numpy scipy scikit-learn matplotlib click rich safetensors".split()


@click.command(name="env", cls=ExamplesFirst)
@options.form("table", "json", "jsonl")
def command(form: str) -> None:
    """Prints versions and devices.

    \b
      landscape env
      landscape env --format json > env.json
    """
    versions = described()
    if form != "table":
        click.echo(options.json_forms(form, versions))
        return
    for name, text in versions.items():
        click.echo(textwrap.fill(text, WIDTH, initial_indent=f"{name:13} ", subsequent_indent=" " * 14))


def described() -> dict[str, str]:
    """Versions and devices by name."""
    import torch

    from landscape.isolation.precision import float32_settings
    from landscape.objective.arguments import devices

    described = {
        "landscape": __version__,
        "python": f"{platform.python_version()} on {platform.platform()}",
        # Read from metadata, which a package has even if it cannot be imported.
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }
    cores = f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads"
    described |= devices() | {"cpu": cores}
    if torch.cuda.is_available():
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        described["cuda"] = f"driver {_driver()}, torch built for CUDA {torch.version.cuda}, cuDNN {cudnn}"
    described.setdefault("cuda", "none")
    described.setdefault("mps", "none")
    described["processes"] = _backends()
    described["float32"] = f"{float32_settings()}; measured in full precision in any case"
    return described


def _backends() -> str:
    """What several processes exchange their numbers by."""
    import torch.distributed as dist

    if not dist.is_available():
        return "one: this torch has no torch.distributed"
    names = [name for name in ("gloo", "nccl", "mpi") if dist.is_backend_available(name)]
    return f"torch.distributed with {', '.join(names)}"


def _driver() -> str:
    """The version of NVIDIA's kernel module."""
    with contextlib.suppress(OSError, IndexError):
        return str(re.findall(r"\b\d{3}\.[\d.]+", Path("/proc/driver/nvidia/version").read_text())[0])
    return "unknown"
