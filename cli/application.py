"""The command ``landscape``: its sub-commands are imported when they are run, so that ``--help`` is quick."""

import importlib
import os
import sys

import click

from landscape.registry.nearest import did_you_mean
from landscape.version import __version__

from .failures import run_guarded
from .help import GroupWithExamples
from .ranks import Several
from .terminal import note

# The summaries stand here, so that --help imports no command and takes no second for torch.
COMMANDS = {
    "demo": "the first minute: train SGD and SAM, measure and draw both",
    "train": "train with any optimizer of the SAM family, resumable",
    "measure": "measure the loss landscape at checkpoints",
    "compare": "compare runs and seeds in one table",
    "surface": "compute and draw a loss surface around checkpoints",
    "barriers": "the barrier between every two checkpoints, as they are and aligned",
    "plot": "redraw saved surfaces without recomputing them",
    "report": "one page of runs: table, curves, surfaces, recipes, provenance",
    "watch": "draw the curves of runs that are going on, in a terminal",
    "inspect": "show the contents of a checkpoint, and the command to measure it",
    "convert": "convert any checkpoint to safetensors, which cannot hold code",
    "verify": "check the numbers against independent implementations",
    "list": "names, options and defaults",
    "env": "versions and devices, to paste into a bug report",
}

_SILENT = {"-q", "--quiet", "-h", "--help"}
"""Flags that suppress the note at the start."""


class LazyGroup(GroupWithExamples):
    """A group whose commands live in modules of the same name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which a newcomer meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the module of the command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f".{cmd_name}", __package__).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command; raises ``click.UsageError`` with the nearest one for an unknown name."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            known = ", ".join(COMMANDS)
            raise click.UsageError(
                f"unknown command '{name}'{did_you_mean(name, COMMANDS)}; known: {known}", ctx
            )
        if isinstance(ctx.obj, Several):
            ctx.obj.begin(name)
        if not _SILENT & set(args):
            # Before the command is imported, and torch with it, which takes seconds.
            note(f"landscape {name}: starting…")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 80,
        "token_normalize_func": lambda name: name.replace("_", "-"),
    },
    epilog="Exit codes: 0 done, 1 internal error, 2 usage, 3 input, 4 unconverged under --fail-on warn, "
    "5 out of memory, 130 Ctrl-C, 143 SIGTERM.",
)
@click.version_option(__version__, "--version", prog_name="landscape")
def application() -> None:
    """Loss-landscape geometry with error bars.

    \b
      landscape demo
      landscape measure runs/sam/checkpoint.pt
    """


def main() -> None:
    """The entry point; exits with the documented codes."""
    if "_LANDSCAPE_COMPLETE" in os.environ:
        from .completion import complete

        complete(application)
    sys.exit(run_guarded(application))
