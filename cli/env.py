"""``landscape env``: versions and devices, to paste into a bug report."""

import importlib.metadata
import os
import platform

import click

from landscape.version import __version__

from .help import ExamplesFirst

PACKAGES = "torch torchvision numpy scipy scikit-learn matplotlib click rich safetensors".split()


@click.command(name="env", cls=ExamplesFirst)
def command() -> None:
    """Prints versions and devices.

    \b
      landscape env
      landscape env > env.txt
    """
    import torch

    click.echo(f"landscape     {__version__}")
    click.echo(f"python        {platform.python_version()} on {platform.platform()}")
    for name in PACKAGES:  # read from metadata, which a package has even if it cannot be imported
        click.echo(f"{name:13} {importlib.metadata.version(name)}")
    click.echo(f"cpu           {os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            memory = properties.total_memory / 2**30
            click.echo(f"cuda:{index}        {properties.name}, {memory:.0f} GiB, CUDA {torch.version.cuda}")
    else:
        click.echo("cuda          none")
    click.echo(f"mps           {'yes' if torch.backends.mps.is_available() else 'none'}")
