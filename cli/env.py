"""``landscape env``: versions and devices, to paste into a bug report."""

import importlib.metadata
import os
import platform

import click

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
        click.echo(f"{name:13} {text}")


def described() -> dict[str, str]:
    """Versions and devices by name."""
    import torch

    described = {
        "landscape": __version__,
        "python": f"{platform.python_version()} on {platform.platform()}",
        # Read from metadata, which a package has even if it cannot be imported.
        **{name: importlib.metadata.version(name) for name in PACKAGES},
        "cpu": f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads",
    }
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = properties.total_memory / 2**30
        described[f"cuda:{index}"] = f"{properties.name}, {memory:.0f} GiB, CUDA {torch.version.cuda}"
    if not torch.cuda.is_available():
        described["cuda"] = "none"
    described["mps"] = "yes" if torch.backends.mps.is_available() else "none"
    return described
