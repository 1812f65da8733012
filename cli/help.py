"""The layout of ``--help``: two commands that can be pasted, then the description, then the flags in groups."""

import inspect
from typing import Any

import click

from .terminal import switch_notes

GROUPS = {
    "Subject": (
        *("group", "runs", "seed-from", "model", "data", "loss", "task", "weights", "drop", "rename"),
        *("trust-checkpoint", "split", "limit", "batch-size", "batch-norm", "parameters", "expect-accuracy"),
        "merge",
    ),
    "Training": (
        *(
            "train preset",
            "optimizer",
            "base",
            "lr",
            "epochs",
            "train batch-size",
            "warmup-epochs",
            "schedule",
        ),
        *("label-smoothing", "max-grad-norm", "train seed", "label-noise", "augment", "accumulate"),
        *("accumulation", "ema", "precision", "budget", "sync-batch-norm"),
    ),
    "Measuring": (
        *("measure", "measure-every", "measure-names", "measure-limit", "measure-missing", "fail-on"),
        "verify seed",
    ),
    "Comparison": ("by", "baseline", "preset", "against", "interval"),
    "Surface": ("plane", "align", "points", "span", "center", "gradient-norm", "forward", "shard"),
    "Figure": (
        *(
            "turn",
            "kind",
            "title",
            "levels",
            "shared-scale",
            "over",
            "font",
            "venue",
            "width",
            "size",
            "dpi",
            "cmap",
        ),
        *("view", "vmin", "vmax", "log"),
    ),
    "Output": (
        "output",
        "html",
        "every",
        "overwrite",
        "format",
        "label",
        "compare venue",
        "verbose",
        "save-every",
        "track",
    ),
    "Running": (
        *("write-plan", "plan", "index", "launcher", "slurm", "devices", "device", "dtype", "compile"),
        *(
            "processes",
            "shard-weights",
            "recompute",
            "jobs",
            "dry-run",
            "resume",
            "quiet",
            "config",
            "version",
            "help",
        ),
    ),
}
"""The groups of flags in their order: long names, with the command in front where they differ from it."""

_PLACES = {name: (group, place) for group, names in GROUPS.items() for place, name in enumerate(names)}
OTHERS = "Other options"

# What click calls the kinds of numbers.
_KINDS = {"INTEGER RANGE": "N", "INTEGER": "N", "FLOAT RANGE": "X", "FLOAT": "X"}


def place_of(command: str, parameter: click.Parameter) -> tuple[str, int]:
    """The group of a flag in the help of a command, and its place there."""
    names = [flag.removeprefix("--") for flag in parameter.opts if flag.startswith("--")]
    candidates = [*(f"{command} {name}" for name in names), *names]
    return next((_PLACES[name] for name in candidates if name in _PLACES), (OTHERS, 0))


class ExamplesFirst(click.Command):
    """A command whose help begins with the examples of its docstring, the paragraph marked ``\\b``."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes examples, usage, text and flags."""
        paragraphs = inspect.cleandoc(self.help or "").split("\n\n")
        examples = [text for text in paragraphs if text.startswith("\b")]
        for text in examples:
            formatter.write(text.removeprefix("\b").strip("\n") + "\n\n")
        self.format_usage(ctx, formatter)
        for text in paragraphs:
            if text not in examples:
                formatter.write_paragraph()
                with formatter.indentation():
                    formatter.write_text(text)
        self.format_options(ctx, formatter)
        self.format_epilog(ctx, formatter)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the flags in groups, with all help texts in one column."""
        groups: dict[str, list[tuple[int, str, str]]] = {group: [] for group in (*GROUPS, OTHERS)}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                flags, text = record
                for kind, letter in _KINDS.items():
                    flags = flags.replace(kind, letter)
                group, place = place_of(ctx.info_name or "", parameter)
                groups[group].append((place, flags, text))
        widest = max(len(flags) for records in groups.values() for _, flags, _ in records)
        column = min(widest, _WIDEST)
        for group, records in groups.items():
            if records:
                with formatter.section(group):
                    records.sort(key=lambda record: record[0])
                    formatter.write_dl([(flags.ljust(column), text) for _, flags, text in records], column)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; with --quiet, which a file may say, no note is shown."""
        if not isinstance(self, click.Group):
            switch_notes(off=bool(ctx.params.get("quiet")))
        return super().invoke(ctx)


_WIDEST = 26
"""Characters of flags that have their explanation beside them and not below."""


class GroupWithExamples(ExamplesFirst, click.Group):
    """The same for a group of commands."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the flags and the commands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)
